"""The database lets public money into a pool or a voucher only as rows say that two persons released."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from tests.subsidies.factories import (
    NOW,
    YUAN,
    account,
    make_founder,
    make_voucher,
    maker,
    programme_text,
    released,
    yuan_on,
)

from mosu.ledger.models import JournalEntry
from mosu.ledger.services import Move, open_account, post_entry
from mosu.subsidies import services


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
