"""TEMPORARY stand-in until subsidies has landed."""

from collections import defaultdict
from datetime import timedelta
from uuid import UUID

from tests.conftest import NOW

from mosu.kernel.ids import uuid7
from mosu.ledger import services as ledger
from mosu.subsidies import rules
from mosu.subsidies import services as subsidies
from mosu.subsidies.rules import Candidate, Source

_candidates: dict[UUID, list[Candidate]] = defaultdict(list)
_holds: dict[UUID, dict[UUID, tuple[UUID, UUID]]] = defaultdict(dict)


def account(voucher_id):
    return ledger.open_account(kind="voucher", owner_id=voucher_id, currency="CNY", floor_micros=0)


def give_voucher(world, *, rate="0.4", amount_micros=1000_000_000, mode="checkout"):
    voucher = uuid7()
    pool = ledger.open_account(kind="funder", owner_id=voucher, currency="CNY", floor_micros=None)
    ledger.post_entry(
        key=f"v:{voucher}",
        kind="voucher",
        moves=[ledger.Move(pool, account(voucher), amount_micros)],
        subject_id=voucher,
        now=NOW,
    )
    _candidates[world.buyer.id].append(
        Candidate(
            voucher_id=voucher,
            source=Source.VOUCHER if mode == "checkout" else Source.REFUND,
            left_micros=amount_micros,
            expires_at=NOW + timedelta(days=3000),
            programme_id=uuid7(),
            programme_code="p",
            programme_version=1,
            rate=rate,
            title_zh="券",
            title_en="Voucher",
        )
    )
    return voucher


def best_split(*, spend, choice, now):
    return rules.best_split(spend, _candidates[spend.organisation_id] if choice != "none" else [], year=2026)


def _vs(split):
    return [s for s in split.shares if s.source is Source.VOUCHER]


def accounts_of(split, *, now):
    return [account(s.voucher_id) for s in _vs(split)]


def redeem(*, order_id, split, now, evidence=()):
    for s in _vs(split):
        _holds[order_id][s.voucher_id] = ledger.place_hold(
            key=f"r:{order_id}:{s.voucher_id}",
            account_id=account(s.voucher_id),
            amount_micros=s.limit_micros,
            subject_id=order_id,
            now=now,
        )


def accounts_of_order(order_id):
    return [account(v) for v in _holds[order_id]]


def capture_redemptions(*, order_id, frozen, charge_micros, payee_account_id, now):
    actual = rules.split_at(frozen, charge_micros)
    for s in _vs(actual):
        h = _holds[order_id][s.voucher_id]
        if s.amount_micros:
            ledger.capture_hold(
                key=f"c:{order_id}:{s.voucher_id}",
                hold_id=h,
                destination_id=payee_account_id,
                amount_micros=s.amount_micros,
                kind="voucher.capture",
                now=now,
            )
        ledger.release_hold(hold_id=h, now=now)
    return actual


def release_redemptions(*, order_id, now):
    for h in _holds[order_id].values():
        ledger.release_hold(hold_id=h, now=now)


from mosu.market.services import quotes as _q

_q.best_split = best_split
for f in (accounts_of, redeem, accounts_of_order, capture_redemptions, release_redemptions):
    setattr(subsidies, f.__name__, f)
