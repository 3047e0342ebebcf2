"""The database lets public money into a pool or a voucher only as rows say that two persons released."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from tests.subsidies.factories import (
    NOW,
    YUAN,
    account,
    checker,
    make_founder,
    make_payee,
    make_spend,
    make_voucher,
    maker,
    programme_text,
    released,
    yuan_on,
)

from mosu.ledger.models import JournalEntry
from mosu.ledger.services import Move, capture_hold, lock_accounts, open_account, post_entry
from mosu.platform.actors import SYSTEM
from mosu.platform.models import AuditRecord, Organisation
from mosu.platform.services import record_audit
from mosu.subsidies import services
from mosu.subsidies.models import Claim, Disbursement, Redemption


def post(kind: str, key: str, subject_id: UUID, *moves: Move) -> None:
    with transaction.atomic():
        post_entry(key=key, kind=kind, moves=moves, subject_id=subject_id, now=NOW)


def test_a_pool_is_filled_once_by_a_released_version(fresh_db: Any) -> None:
    with transaction.atomic():
        funder = open_account(kind="funder", owner_id=uuid4(), currency="CNY", floor_micros=None)
        other = open_account(kind="pool", owner_id=uuid4(), currency="CNY", floor_micros=0)
    version = released(id="first")
    draft, unreleased = (
        services.propose_programme(actor=maker(), text=programme_text(**terms), now=NOW)
        for terms in ({"id": "first", "version": 2, "pool": "2000"}, {"id": "second"})
    )
    programme_id = version.programme_id
    pool = account("pool", programme_id)
    entries = JournalEntry.objects.count()
    for key, subject, to in (
        ("more", programme_id, pool),
        (f"programme:{draft.id}:pool", programme_id, pool),
        (f"programme:{unreleased.id}:pool", unreleased.programme_id, other),
        (f"programme:{version.id}:pool2", programme_id, pool),
    ):
        with pytest.raises(IntegrityError, match="fills no pool"):
            post("pool.filled", key, subject, Move(funder, to, YUAN))
    assert yuan_on(pool) == (1000, 0)
    assert JournalEntry.objects.count() == entries


def test_a_voucher_gets_what_its_row_says(fresh_db: Any) -> None:
    with transaction.atomic():
        _, organisation = make_founder()
    version = released()
    voucher = make_voucher(version, organisation.id, 100)
    waiting = services.issue_voucher(
        actor=maker(),
        organisation_id=organisation.id,
        programme_id=version.programme_id,
        amount_micros=50 * YUAN,
        now=NOW,
    )
    with transaction.atomic():
        its_own = open_account(kind="voucher", owner_id=waiting.id, currency="CNY", floor_micros=0)
    assert voucher.account_id is not None
    pool = account("pool", version.programme_id)
    for key, subject, to, amount in (
        (f"voucher:{voucher.id}:released2", voucher.id, voucher.account_id, 100),
        (f"voucher:{waiting.id}:released", waiting.id, its_own, 50),
        (f"voucher:{waiting.id}:released", voucher.id, its_own, 50),
        ("more", voucher.id, voucher.account_id, 1),
    ):
        with pytest.raises(IntegrityError, match="not that of a released voucher"):
            post("voucher.released", key, subject, Move(pool, to, amount * YUAN))
    assert (yuan_on(pool), yuan_on(voucher.account_id)) == ((900, 0), (100, 0))


@pytest.mark.parametrize(
    "forged", ["no claim", "approved", "its organisation", "the disbursement", "the key"]
)
def test_a_vouchers_money_reaches_a_balance_by_a_claim_of_two_persons(fresh_db: Any, forged: str) -> None:
    """Each step of a disbursement by hand, as the application's role may, with one thing wrong."""
    organisation, claim, redemption = _claimed()
    with transaction.atomic():
        _, other = make_founder()
        own = open_account(kind="balance", owner_id=organisation.id, currency="CNY", floor_micros=0)
        others = open_account(kind="balance", owner_id=other.id, currency="CNY", floor_micros=0)
    voucher = account("voucher", redemption.voucher_id)
    services.approve_claim(actor=maker(), claim_id=claim.id, now=NOW)
    before = _figures()
    with (
        pytest.raises(IntegrityError, match="not that of a claim that two persons decided"),
        transaction.atomic(),
    ):
        claim = Claim.objects.get()
        if forged != "approved":
            state(claim, "disbursed", checker_id=checker().id)
        entry = capture_hold(
            key=f"redemption:{redemption.id}:{'paid' if forged == 'the key' else 'captured'}",
            hold_id=redemption.voucher_hold_id,
            destination_id=others if forged == "its organisation" else own,
            amount_micros=redemption.amount_micros or 0,
            kind="voucher.captured",
            now=NOW,
        )
        state(redemption, "captured")
        if forged != "no claim":
            Disbursement.objects.create(
                claim=claim,
                redemption=redemption,
                amount_micros=(redemption.amount_micros or 0) + (forged == "the disbursement"),
                entry_id=entry,
                disbursed_at=NOW,
            )
    assert _figures() == before
    assert yuan_on(voucher) == (100, 20)
    services.disburse_claim(actor=checker(), claim_id=Claim.objects.get().id, now=NOW)
    assert (yuan_on(voucher), yuan_on(own), yuan_on(others)) == ((80, 0), (20, 0), (0, 0))


def _figures() -> list[Any]:
    return [
        JournalEntry.objects.count(),
        Disbursement.objects.count(),
        AuditRecord.objects.count(),
        *Claim.objects.values_list("state", "checker_id"),
        *Redemption.objects.values_list("state", "amount_micros"),
    ]


def _claimed() -> tuple[Organisation, Claim, Redemption]:
    """A refund of 20 yuan on an order of 100, claimed."""
    version = released(mode="reimbursement", rate="0.20", more="claim_days: 10")
    with transaction.atomic():
        owner, organisation = make_founder()
    make_voucher(version, organisation.id, 100)
    split = services.best_split(spend=make_spend(organisation.id, 100), choice="auto", now=NOW)
    order_id = uuid4()
    with transaction.atomic():
        services.redeem(order_id=order_id, drawing=services.drawing_of(split, now=NOW), now=NOW)
    with transaction.atomic():
        payee = make_payee()
        lock_accounts([payee, *services.accounts_of_order(order_id)])
        services.capture_redemptions(
            order_id=order_id, frozen=split, charge_micros=100 * YUAN, payee_account_id=payee, now=NOW
        )
    claim = services.submit_claim(actor=owner, order_id=order_id, evidence=["ab" * 32], now=NOW)
    return organisation, claim, Redemption.objects.get()


def state(row: Claim | Redemption, to: str, **changes: Any) -> None:
    """What the service would write, without its checks."""
    record_audit(
        actor=SYSTEM, action="forged", subject_id=row.id, before=row.state, after=to, now=NOW, why="by hand"
    )
    type(row).objects.filter(id=row.id).update(state=to, **changes)
