"""What the residents of a made-up hub did: money in, vouchers, orders run and settled, refunds claimed."""

# ruff: noqa: PLC0415, PLR0917 - Django is set up before these are called; made-up business needs no secrecy
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import psycopg
from psycopg.types.json import Jsonb
from psycopg.types.range import TimestamptzRange

from benchmarks.seeded.books import CURRENCY, ZONE, Books
from benchmarks.seeded.rows import Ids, Table
from benchmarks.seeded.world import People, Programme, Resident, VoucherHeld
from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import typeid
from mosu.kernel.money import MICROS, decimal_of, floored
from mosu.kernel.time import month_in

_GIB: Final = 1 << 30
_NAMES: Final = ("train", "finetune", "评测", "embed", "预处理", "serve", "sweep", "")
_ENDINGS: Final = ("succeeded", "failed", "cancelled", "timed_out", "platform_failure")
_ENDING_WEIGHTS: Final = (88, 6, 3, 2, 1)
_CURVE_OF_LAST: Final = 200
"""So many of the latest runs have samples and a log."""


@dataclass(frozen=True, slots=True)
class Goods:
    """An offer that is bought, with what is needed of its supplier and pool."""

    offer_id: UUID
    supplier_id: UUID
    supplier_name: str
    pool_id: UUID
    node_ids: Sequence[UUID]
    device_ids: Sequence[UUID]
    accelerator: str | None
    title_zh: str
    title_en: str
    unit_price_micros: int
    max_units: int


@dataclass(slots=True)
class _Sale:
    """One order on its way."""

    order_id: UUID
    number: str
    quote_id: UUID
    line_id: UUID
    buyer: Resident
    goods: Goods
    placed_at: datetime
    units: int
    wall_s: int
    total_max: int
    split: Any
    run_id: UUID
    attempt_id: UUID
    redemption_id: UUID | None = None
    voucher: VoucherHeld | None = None
    own_hold: UUID | None = None
    voucher_hold: UUID | None = None
    cap_hold: UUID | None = None


class Business:
    """Played in the order of time; `book` and the tables get its rows."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        chance: random.Random,
        ids: Ids,
        book: Books,
        people: People,
        *,
        now: datetime,
        usage_parts: Sequence[int],
    ) -> None:
        self._chance, self._ids, self._book, self._people, self._now = chance, ids, book, people, now
        self._usage_parts = usage_parts
        self._agenda: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._turn = itertools.count()
        self._receipts: Counter[int] = Counter()
        self.orders = 0
        self._busy_devices: set[UUID] = set()
        self.t = _Tables(connection)

    def run(
        self, residents: Sequence[Resident], goods: Sequence[Goods], programmes: Sequence[Programme], *,
        orders: int, since: datetime,
    ) -> None:  # fmt: skip
        """All of it: grants and deposits first, then the orders as they come."""
        for programme in programmes:
            self._fill(programme, at=since)
        for buyer in residents:
            self._fund(buyer, at=since + timedelta(hours=1), orders=orders // len(residents))
        for buyer in residents:
            if self._chance.random() < 0.6:
                self._grant(buyer, self._chance.choice(programmes), at=since + timedelta(hours=2))
        self._grant_more(residents[0], programmes, at=since + timedelta(hours=3))
        weights = [1 / (1 + rank / 40) for rank in range(len(residents))]
        buyers = self._chance.choices(residents, weights=weights, k=orders)
        begin = since + timedelta(days=1)
        span = (self._now - begin).total_seconds() - 60
        times = sorted(self._chance.random() for _ in range(orders))
        for rank, (share, buyer) in enumerate(zip(times, buyers, strict=True)):
            at = begin + timedelta(seconds=span * share)
            self._play_until(at)
            last = rank >= orders - _CURVE_OF_LAST
            self._place(buyer, self._chance.choice(goods), at, open_end=last and rank % 4 == 0, curve=last)
        self._play_until(self._now)
        self._noticed(residents)
        self._proposed(residents, programmes)
        self._found()

    def _play_until(self, until: datetime) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            at, _, act = heapq.heappop(self._agenda)
            act(at)

    def _later(self, at: datetime, act: Callable[[datetime], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._turn), act))

    def _audit(
        self, subject_id: UUID, action: str, before: str | None, after: str, at: datetime, *,
        organisation_id: UUID | None = None, by: UUID | None = None, why: str = "",
    ) -> None:  # fmt: skip
        kind, label = ("user", "somebody@seeded.example") if by else ("system", "mosu")
        self.t.audit.add(
            self._ids.at(at), at, kind, by, label, action, organisation_id, subject_id, before, after, why
        )

    # Money in

    def _fill(self, programme: Programme, *, at: datetime) -> None:
        pool = self._book.account("pool", programme.id, at=at)
        self._book.post(
            key=f"programme:{programme.version_id}:pool", kind="pool.filled",
            source=self._book.account("funder", programme.id, at=at), destination=pool,
            amount=programme.pool_micros, subject_id=programme.id, at=at, memo=f"{programme.code} v1",
        )  # fmt: skip
        self._audit(
            programme.version_id,
            "programmeversion.released",
            "draft",
            "released",
            at,
            by=self._people.checker_id,
        )

    def _fund(self, buyer: Resident, *, at: datetime, orders: int) -> None:
        amount = (2_000_000 + orders * 50_000) * MICROS
        deposit, reference = self._ids.at(at), f"SEED-{buyer.name[-4:]}"
        bank, balance = self._book.account("bank", at=at), self._book.account("balance", buyer.id, at=at)
        entry = self._book.post(
            key=f"deposit:{deposit}", kind="deposit", source=bank, destination=balance, amount=amount,
            subject_id=deposit, at=at, memo=reference,
        )  # fmt: skip
        self.t.deposit.add(
            deposit, buyer.id, amount, CURRENCY, reference, "confirmed", self._people.operator_id,
            self._people.checker_id, entry, at, at,
        )  # fmt: skip
        self._audit(
            deposit, "deposit.confirmed", "proposed", "confirmed", at, organisation_id=buyer.id,
            by=self._people.checker_id,
        )  # fmt: skip

    def _grant_more(self, buyer: Resident, programmes: Sequence[Programme], *, at: datetime) -> None:
        """The resident whose pages are looked at has a voucher of each programme."""
        held = {voucher.programme.id for voucher in buyer.vouchers}
        for programme in programmes:
            if programme.id not in held:
                self._grant(buyer, programme, at=at)

    def _grant(self, buyer: Resident, programme: Programme, *, at: datetime) -> None:
        amount = 200_000 * MICROS
        voucher, cap = self._ids.at(at), self._ids.at(at)
        account = self._book.account("voucher", voucher, at=at)
        self._book.post(
            key=f"voucher:{voucher}:released", kind="voucher.released",
            source=self._book.account("pool", programme.id, at=at), destination=account, amount=amount,
            subject_id=voucher, at=at,
        )  # fmt: skip
        cap_account = self._book.account("cap", uuid5(programme.id, f"{buyer.id}:{at.year}"), at=at)
        entry = self._book.post(
            key=f"cap:{cap}", kind="cap.opened", source=self._book.account("cap_source", programme.id, at=at),
            destination=cap_account, amount=2_000_000 * MICROS, subject_id=cap, at=at, memo=str(at.year),
        )  # fmt: skip
        expires_at = at + timedelta(days=365)
        self.t.voucher.add(
            voucher, buyer.id, programme.version_id, amount, at, expires_at, "released", self._people.operator_id,
            self._people.checker_id, account, at, at,
        )  # fmt: skip
        self.t.cap.add(cap, buyer.id, programme.id, at.year, 2_000_000 * MICROS, cap_account, entry)
        self._audit(
            voucher, "voucher.released", "issued", "released", at, organisation_id=buyer.id, by=self._people.checker_id
        )  # fmt: skip
        buyer.vouchers.append(VoucherHeld(voucher, programme, account, cap, cap_account, expires_at))

    # An order

    def _place(self, buyer: Resident, goods: Goods, at: datetime, *, open_end: bool, curve: bool) -> None:
        from mosu.market import rules

        self.orders += 1
        units = (
            self._chance.choice((1, 1, 2, 4, 8)) if goods.accelerator else self._chance.choice((2, 4, 8, 16))
        )
        units = min(units, goods.max_units)
        wall_s = 7 * 86_400 if open_end else self._chance.choice((600, 1800, 3600, 3600, 7200))
        meter, unit = ("card_second", "card_hour") if goods.accelerator else ("core_second", "core_hour")
        price = rules.Price(meter, unit, 3600, goods.unit_price_micros, 600, True)
        total_max = rules.amount_of(units * wall_s, price, currency=CURRENCY)
        line_id, quote_id = self._ids.at(at), self._ids.at(at)
        voucher = self._voucher_for(buyer, total_max)
        sale = _Sale(
            self._ids.at(at), f"O-{at.year}-{self.orders:06d}", quote_id, line_id, buyer, goods, at, units, wall_s,
            total_max, self._split(total_max, voucher), self._ids.at(at), self._ids.at(at),
        )  # fmt: skip
        if voucher is not None:
            sale.voucher, sale.redemption_id = voucher, self._ids.at(at)
        self._write_quote(sale, meter=meter, unit=unit)
        self._hold(sale)
        started = at + timedelta(seconds=2 + self._chance.randrange(20))
        ending = self._chance.choices(_ENDINGS, weights=_ENDING_WEIGHTS)[0]
        if open_end:
            self._write_order(sale, "active", outcome=None, total=None, ended=None, settled=None)
            self._write_run(sale, "running", "running", started, None, curve=curve)
            return
        if self._chance.random() < 0.01:
            self._later(started, lambda when: self._give_up(sale, when))
            return
        used_s = sale.wall_s if ending == "timed_out" else int(sale.wall_s * self._chance.uniform(0.2, 0.95))
        ended = started + timedelta(seconds=used_s)
        if ended >= self._now:
            ended = self._now - timedelta(seconds=1)
            used_s = max(0, int((ended - started).total_seconds()))
            started = min(started, ended)
        self._later(ended, lambda when: self._settle(sale, ending, started, when, used_s, curve=curve))

    def _voucher_for(self, buyer: Resident, total_max: int) -> VoucherHeld | None:
        if not buyer.vouchers or self._chance.random() < 0.4:
            return None
        voucher = self._chance.choice(buyer.vouchers)
        room = self._book.available(voucher.account_id)
        return voucher if min(room, total_max) > 100 * MICROS else None

    def _split(self, total_max: int, voucher: VoucherHeld | None) -> Any:
        from decimal import Decimal

        from mosu.subsidies.services import Share, Source, Split

        shares, given = [], 0
        if voucher is not None:
            terms = voucher.programme
            amount = min(
                floored(Decimal(terms.rate) * total_max, currency=CURRENCY),
                terms.cap_micros,
                self._book.available(voucher.account_id),
            )
            shares.append(
                Share(
                    source=Source.REFUND if terms.is_refund else Source.VOUCHER, limit_micros=amount,
                    amount_micros=amount, title_zh=terms.title_zh, title_en=terms.title_en, voucher_id=voucher.id,
                    programme_id=terms.id, programme_code=terms.code, programme_version=1, rate=terms.rate,
                    expires_at=voucher.expires_at,
                )
            )  # fmt: skip
            given = 0 if terms.is_refund else amount
        own = total_max - given
        shares.append(Share(Source.BALANCE, own, own, "单位余额", "Own balance"))
        return Split(total_max, tuple(shares))

    def _write_quote(self, sale: _Sale, *, meter: str, unit: str) -> None:
        goods, at = sale.goods, sale.placed_at
        line = {
            "id": typeid("line", sale.line_id), "per": 3600, "unit": unit, "meter": meter, "units": sale.units,
            "tax_rate_bp": 600, "quantity_max": sale.units * sale.wall_s, "tax_included": True,
            "amount_max_micros": sale.total_max, "unit_price_micros": goods.unit_price_micros,
        }  # fmt: skip
        self.t.quote.add(
            sale.quote_id, sale.buyer.id, sale.buyer.projects[0], goods.offer_id, "compute",
            Jsonb(_request(sale)), Jsonb({"name": "", "cards": 0, "cores": sale.units, "grace_s": 120}), Jsonb([line]),
            Jsonb(_terms(goods)), sale.total_max, CURRENCY, Jsonb(sale.split.to_json()), at, sale.wall_s,
            at + timedelta(seconds=sale.wall_s + 120), at - timedelta(seconds=30), at + timedelta(minutes=14),
            "accepted",
        )  # fmt: skip
        self.t.line.add(
            sale.line_id, sale.order_id, meter, unit, sale.units, 3600, goods.unit_price_micros, 600, True,
            sale.units * sale.wall_s, sale.total_max, month_in(ZONE, sale.placed_at),
        )  # fmt: skip
        by = sale.buyer.developer_id
        self._audit(sale.quote_id, "quote.make", None, "open", at, organisation_id=sale.buyer.id, by=by)
        self._audit(
            sale.quote_id, "quote.accept", "open", "accepted", at, organisation_id=sale.buyer.id, by=by
        )
        self._audit(sale.order_id, "order.place", None, "placed", at, organisation_id=sale.buyer.id, by=by)

    def _hold(self, sale: _Sale) -> None:
        at, own = sale.placed_at, sale.split.pay_hold_micros
        if own:
            sale.own_hold = self._book.hold(
                key=f"order:{sale.order_id}:own", account_id=self._book.account("balance", sale.buyer.id, at=at),
                amount=own, subject_id=sale.order_id, at=at,
            )  # fmt: skip
        if sale.voucher is not None:
            limit = sale.split.shares[0].limit_micros
            key = f"redemption:{sale.order_id}:{sale.voucher.id}"
            sale.voucher_hold = self._book.hold(
                key=key, account_id=sale.voucher.account_id, amount=limit, subject_id=sale.order_id, at=at
            )
            sale.cap_hold = self._book.hold(
                key=f"{key}:cap", account_id=sale.voucher.cap_account_id, amount=limit, subject_id=sale.order_id, at=at
            )  # fmt: skip

    def _give_up(self, sale: _Sale, at: datetime) -> None:
        """Cancelled before it started."""
        self._write_order(sale, "cancelled", outcome=None, total=None, ended=at, settled=None)
        self._write_run(sale, "cancelled", "cancelled", None, at, curve=False)
        self._audit(
            sale.order_id, "order.cancelled", "placed", "cancelled", at, organisation_id=sale.buyer.id,
            by=sale.buyer.developer_id,
        )  # fmt: skip
        if sale.own_hold:
            self._book.release(sale.own_hold, at=at)
        self._redeem(sale, 0, at)

    def _settle(
        self, sale: _Sale, ending: str, started: datetime, at: datetime, used_s: int, *, curve: bool
    ) -> None:
        from mosu.market import rules
        from mosu.market.models import Outcome
        from mosu.subsidies.services import split_at

        goods = sale.goods
        meter, unit = ("card_second", "card_hour") if goods.accelerator else ("core_second", "core_hour")
        price = rules.Price(meter, unit, 3600, goods.unit_price_micros, 600, True)
        quantity = sale.units * used_s
        usage = self._use(sale, meter, started, at, quantity)
        worth = rules.amount_of(quantity, price, currency=CURRENCY)
        total = worth if rules.is_charged(Outcome(ending)) else 0
        tax = rules.tax_in(total, rate_bp=600, currency=CURRENCY)
        charge_id = self._ids.at(at)
        self.t.charge.add(charge_id, sale.line_id, quantity, total, tax, worth - total, at)
        split = split_at(sale.split, total)
        self._write_order(sale, "settled", outcome=ending, total=total, ended=at, settled=at)
        state = ending if ending != "platform_failure" else "failed"
        self._write_run(
            sale, state, "lost" if ending == "platform_failure" else state, started, at, curve=curve
        )
        payable = self._book.account("payable", goods.supplier_id, at=at)
        self._redeem(sale, split.shares[0].amount_micros if sale.voucher and total else 0, at)
        through = split.voucher_now_micros if total else 0
        if sale.own_hold:
            own = split.pay_now_micros if total else 0
            if own:
                self._book.capture(
                    sale.own_hold, key=f"order:{sale.order_id}:own", kind="order.charge", destination=payable,
                    amount=own, at=at, memo=sale.number,
                )  # fmt: skip
            self._book.release(sale.own_hold, at=at)
            through += own
        fee = rules.fee_of(through, rate_bp=100, currency=CURRENCY)
        if fee:
            self._book.post(
                key=f"order:{sale.order_id}:fee", kind="order.fee", source=payable,
                destination=self._book.account("fee", at=at), amount=fee, subject_id=sale.order_id, at=at,
                memo=sale.number,
            )  # fmt: skip
        self._write_receipt(
            sale, ending, split if total else split_at(sale.split, 0), at, charge_id=charge_id, quantity=quantity,
            total=total, tax=tax, credited=worth - total, usage=usage, meter=meter, unit=unit,
        )  # fmt: skip
        for before, after in (("placed", "active"), ("active", "settled")):
            self._audit(
                sale.order_id, f"order.{after}", before, after, at, organisation_id=sale.buyer.id, why=ending
            )
        self.t.event.add(
            self._ids.at(at), "market.order_settled", sale.order_id, sale.buyer.id,
            Jsonb({"number": sale.number, "shelf": "compute", "outcome": ending}), at,
        )  # fmt: skip

    def _use(
        self, sale: _Sale, meter: str, started: datetime, ended: datetime, quantity: int
    ) -> list[list[Any]]:
        parts = self._chance.choice(self._usage_parts)
        rows, at, span = [], started, (ended - started) / parts
        month = month_in(ZONE, sale.placed_at)
        for number in range(parts):
            part = quantity // parts + (quantity % parts if number == parts - 1 else 0)
            sequence = (1 << 32) + number
            until = ended if number == parts - 1 else at + span
            self.t.usage.add(
                self._ids.at(until),
                sale.line_id,
                month,
                meter,
                sequence,
                part,
                part,
                part,
                at,
                until,
                until,
                "accepted",
                "",
            )
            rows.append([str(sale.line_id), sequence, part, part, "accepted", part])
            at = until
        return rows

    def _redeem(self, sale: _Sale, amount: int, at: datetime) -> None:
        """What becomes of the voucher's part: captured, due for a claim, or given back."""
        voucher = sale.voucher
        if voucher is None or sale.voucher_hold is None or sale.cap_hold is None:
            return
        hold, cap_hold, state, claim_by = sale.voucher_hold, sale.cap_hold, "released", None
        key = f"redemption:{sale.redemption_id}"
        refund = voucher.programme.is_refund
        if amount and not refund:
            payable = self._book.account("payable", sale.goods.supplier_id, at=at)
            self._take(sale, hold, cap_hold, amount, payable, at)
            state = "captured"
        else:
            self._book.release(hold, at=at)
            self._book.release(cap_hold, at=at)
        if amount and refund:
            state, claim_by = "due", at + timedelta(days=365)
            hold = self._book.hold(
                key=f"{key}:due",
                account_id=voucher.account_id,
                amount=amount,
                subject_id=sale.order_id,
                at=at,
            )
            cap_hold = self._book.hold(
                key=f"{key}:due:cap", account_id=voucher.cap_account_id, amount=amount, subject_id=sale.order_id, at=at
            )  # fmt: skip
        row = (hold, cap_hold, amount, at, claim_by)
        if state == "due" and self._chance.random() < 0.3 and at + timedelta(days=9) < self._now:
            self._later(at + timedelta(days=8), lambda when: self._disburse(sale, row, when))
            return
        self._write_redemption(sale, state, *row)
        if state == "due" and self._chance.random() < 0.1:
            state = self._chance.choice(("submitted", "approved"))
            self._claim(sale, amount, state, at)

    def _take(
        self, sale: _Sale, hold: UUID, cap_hold: UUID, amount: int, destination: UUID, at: datetime
    ) -> UUID:
        assert sale.voucher is not None  # noqa: S101 - the callers looked
        key = f"redemption:{sale.redemption_id}"
        entry = self._book.capture(
            hold,
            key=f"{key}:captured",
            kind="voucher.captured",
            destination=destination,
            amount=amount,
            at=at,
        )
        used = self._book.account("cap_used", sale.voucher.programme.id, at=at)
        self._book.capture(
            cap_hold, key=f"{key}:cap", kind="cap.used", destination=used, amount=amount, at=at
        )
        self._book.release(hold, at=at)
        self._book.release(cap_hold, at=at)
        return entry

    def _disburse(
        self, sale: _Sale, row: tuple[UUID, UUID, int, datetime, datetime | None], at: datetime
    ) -> None:
        hold, cap_hold, amount, _, _ = row
        balance = self._book.account("balance", sale.buyer.id, at=at)
        entry = self._take(sale, hold, cap_hold, amount, balance, at)
        self._write_redemption(sale, "captured", *row)
        claim = self._claim(sale, amount, "disbursed", at)
        self.t.disbursement.add(self._ids.at(at), claim, sale.redemption_id, amount, entry, at)

    def _claim(self, sale: _Sale, amount: int, state: str, at: datetime) -> UUID:
        claim = self._ids.at(at)
        decided = at if state != "submitted" else None
        self.t.claim.add(
            claim, sale.buyer.id, sale.order_id, amount, ["0" * 64], state, sale.buyer.owner_id,
            self._people.operator_id if decided else None,
            self._people.checker_id if state == "disbursed" else None, at, decided,
        )  # fmt: skip
        self._audit(
            claim, f"claim.{state}", None, state, at, organisation_id=sale.buyer.id, by=sale.buyer.owner_id
        )
        return claim

    def _write_redemption(
        self, sale: _Sale, state: str, hold: UUID, cap_hold: UUID, amount: int, at: datetime,
        claim_by: datetime | None,
    ) -> None:  # fmt: skip
        assert sale.voucher is not None  # noqa: S101 - the callers looked
        share = sale.split.shares[0]
        self.t.redemption.add(
            sale.redemption_id, sale.order_id, 0, sale.voucher.id, share.source.value, Jsonb(share.to_json()),
            sale.total_max, hold, sale.voucher.cap_id, cap_hold, amount, [sha256_of(sale.number)], state,
            sale.placed_at, at, claim_by,
        )  # fmt: skip
        assert sale.redemption_id is not None  # noqa: S101 - made with the voucher
        self._audit(
            sale.redemption_id, f"redemption.{state}", "held", state, at, organisation_id=sale.buyer.id
        )

    def _write_order(
        self, sale: _Sale, state: str, *, outcome: str | None, total: int | None, ended: datetime | None,
        settled: datetime | None,
    ) -> None:  # fmt: skip
        self.t.order.add(
            sale.order_id, sale.number, sale.quote_id, sale.buyer.id, sale.buyer.projects[0], sale.goods.offer_id,
            sale.goods.supplier_id,
            "compute", state, sale.total_max, total, CURRENCY, sale.own_hold, outcome, sale.placed_at, ended, settled,
        )  # fmt: skip
        if state == "active" and sale.redemption_id and sale.voucher and sale.voucher_hold and sale.cap_hold:
            share = sale.split.shares[0]
            self.t.redemption.add(
                sale.redemption_id, sale.order_id, 0, sale.voucher.id, share.source.value, Jsonb(share.to_json()),
                sale.total_max, sale.voucher_hold, sale.voucher.cap_id, sale.cap_hold, None, [sha256_of(sale.number)],
                "held", sale.placed_at, None, None,
            )  # fmt: skip

    def _write_run(
        self, sale: _Sale, state: str, attempt_state: str, started: datetime | None, ended: datetime | None, *,
        curve: bool,
    ) -> None:  # fmt: skip
        at, goods = sale.placed_at, sale.goods
        measures = None
        if ended and started:
            wall = max(1, int((ended - started).total_seconds()))
            measures = {
                "cpu_s": wall * 0.7,
                "wall_s": wall,
                "memory_source": "cgroup",
                "memory_peak_bytes": 3 * _GIB,
            }
        self.t.run.add(
            sale.run_id, sale.order_id, sale.buyer.id, sale.buyer.projects[0], goods.pool_id,
            self._chance.choice(_NAMES), state, Jsonb(_request(sale)), at, started, ended,
            0 if state == "succeeded" else None, Jsonb(measures) if measures else None,
        )  # fmt: skip
        self.t.attempt.add(
            sale.attempt_id, sale.run_id, goods.pool_id, 1, attempt_state, at, started,
            self._now + timedelta(days=30) if started and not ended else ended, started, ended or self._now, started,
            ended, ended, 60 if curve else 0, 60 if curve and ended else None,
        )  # fmt: skip
        self._allocate(sale, live=ended is None, released=ended)
        for before, after in ((None, "queued"), ("queued", "running"), ("running", state)):
            if after != before:
                self._audit(
                    sale.run_id, f"run.{after}", before, after, ended or at, organisation_id=sale.buyer.id
                )
        if curve and started:
            self._draw(sale, started, ended or self._now)

    def _allocate(self, sale: _Sale, *, live: bool, released: datetime | None) -> None:
        key, node = self._ids.at(sale.placed_at), self._chance.choice(sale.goods.node_ids)
        period = TimestamptzRange(sale.placed_at, sale.placed_at + timedelta(seconds=sale.wall_s + 120), "[)")
        self.t.allocation.add(
            key, sale.attempt_id, node, sale.units, sale.units * _GIB, period, live, released
        )
        if live:
            for device in [one for one in sale.goods.device_ids if one not in self._busy_devices][
                : sale.units
            ]:
                self._busy_devices.add(device)
                self.t.device_allocation.add(key, device, period, True)

    def _draw(self, sale: _Sale, started: datetime, ended: datetime) -> None:
        step = max((ended - started) / 120, timedelta(seconds=1))
        for number in range(min(120, int((ended - started) / step))):
            self.t.sample.add(
                sale.attempt_id, started + number * step, number * step.total_seconds() * 0.7, 2 * _GIB
            )
        self.t.log.add(sale.attempt_id, 0, b"epoch 1 loss 2.31 accuracy 0.41 ... epoch 2 loss 1.87 done\n\n")

    def _write_receipt(
        self, sale: _Sale, ending: str, split: Any, at: datetime, *, charge_id: UUID, quantity: int, total: int,
        tax: int, credited: int, usage: list[list[Any]], meter: str, unit: str,
    ) -> None:  # fmt: skip
        from mosu.kernel.units import many_units
        from mosu.market import rules
        from mosu.market.receipts import share_json

        self._receipts[at.year] += 1
        number = f"R-{at.year}-{self._receipts[at.year]:06d}"
        goods, names = sale.goods, many_units(unit)
        held = sum(share.limit_micros for share in sale.split.shares if share.source.value == "voucher")
        content = {
            "number": number,
            "issued_at": _time(at),
            "order": {
                "id": typeid("order", sale.order_id),
                "number": sale.number,
                "placed_at": _time(sale.placed_at),
            },
            "outcome": ending,
            "why": "",
            "currency": CURRENCY,
            "buyer": {"id": typeid("org", sale.buyer.id), "name": sale.buyer.name},
            "seller": _terms(goods)["supplier"],
            "billed_by": "hub",
            "lines": [
                {
                    "text": {
                        "zh": f"{goods.title_zh} · {names['zh']}",
                        "en": f"{goods.title_en} · {names['en']}",
                    },
                    "quantity": rules.quantity_text(quantity, per=3600),
                    "unit": unit,
                    "unit_price": decimal_of(goods.unit_price_micros, currency=CURRENCY),
                    "amount": decimal_of(total, currency=CURRENCY),
                    "meter": meter,
                    "metered": quantity,
                    "units": sale.units,
                }
            ],
            "total": decimal_of(total, currency=CURRENCY),
            "credited": decimal_of(credited, currency=CURRENCY),
            "split": [share_json(share, currency=CURRENCY) for share in split.shares],
            "voucher_share": decimal_of(split.voucher_now_micros, currency=CURRENCY),
            "paid": decimal_of(total - split.voucher_now_micros, currency=CURRENCY),
            "released": decimal_of(
                held - split.voucher_now_micros + sale.split.pay_hold_micros - split.pay_now_micros,
                currency=CURRENCY,
            ),
            "tax": {"rate": "0.06", "included": True, "amount": decimal_of(tax, currency=CURRENCY)},
            "evidence": {
                "quote_id": typeid("quote", sale.quote_id),
                "charge_ids": [typeid("charge", charge_id)],
                "usage_records": len(usage),
                "usage_sha256": sha256_of(usage),
            },
        }
        self.t.receipt.add(
            self._ids.at(at), number, sale.order_id, sale.buyer.id, Jsonb(content), sha256_of(content), at
        )

    # What waits for somebody

    def _noticed(self, residents: Sequence[Resident]) -> None:
        for buyer in residents:
            for number in range(10 if buyer is not residents[0] else 500):
                at = self._now - timedelta(hours=number * 7 + 1)
                self.t.notice.add(
                    self._ids.at(at), buyer.owner_id, buyer.id, "order.settled",
                    Jsonb({"zh": f"订单已结算 {number}", "en": f"Order settled {number}"}),
                    Jsonb({"zh": "小票已开出。", "en": "Its receipt is ready."}), "/orders/", at,
                    at if number > 5 else None,
                )  # fmt: skip

    def _proposed(self, residents: Sequence[Resident], programmes: Sequence[Programme]) -> None:
        """Deposits that wait for a checker, and applications for an operator."""
        for number, buyer in enumerate(residents[:200]):
            at = self._now - timedelta(hours=number)
            self.t.deposit.add(
                self._ids.at(at), buyer.id, 10_000 * MICROS, CURRENCY, f"WAIT-{number}", "proposed",
                self._people.operator_id, None, None, at, None,
            )  # fmt: skip
            self.t.application.add(
                self._ids.at(at), buyer.id, programmes[number % len(programmes)].version_id, 50_000 * MICROS,
                "训练用 For training.", "submitted", buyer.owner_id, at,
            )  # fmt: skip

    def _found(self) -> None:
        """What the auditor found, and who was told."""
        for number in range(60):
            at, key = self._now - timedelta(days=number), self._ids.at(self._now - timedelta(days=number))
            self.t.finding.add(
                key, f"order_{number}", f"抽查 {number}", "The usage and the log do not agree.", "open",
                self._people.auditor_id, at, at + timedelta(days=14),
            )  # fmt: skip
            self._audit(key, "finding.open", None, "open", at, by=self._people.auditor_id)

    @property
    def receipts(self) -> dict[int, int]:
        """The last number of each year."""
        return dict(self._receipts)


class _Tables:
    """Every table that business writes, with the columns in the order in which rows name them."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        from mosu.compute import models as compute
        from mosu.ledger import models as ledger
        from mosu.market import models as market
        from mosu.platform import models as platform
        from mosu.subsidies import models as subsidies

        def table(model: Any, columns: str) -> Table:
            return Table(connection, model, columns.split())

        self.audit = table(
            platform.AuditRecord,
            "id at actor_kind actor_id actor_label action organisation_id subject_id before after why",
        )
        self.event = table(platform.Event, "id name subject_id organisation_id payload at")
        self.notice = table(
            platform.Notice, "id user_id organisation_id kind title body link created_at read_at"
        )
        self.finding = table(platform.Finding, "id subject title text state opened_by_id opened_at due_at")
        self.deposit = table(
            ledger.Deposit,
            "id organisation_id amount_micros currency bank_reference state maker_id checker_id entry_id proposed_at"
            " decided_at",
        )
        self.voucher = table(
            subsidies.Voucher,
            "id organisation_id version_id amount_micros valid_from expires_at state maker_id checker_id account_id"
            " issued_at released_at",
        )
        self.cap = table(
            subsidies.YearCap, "id organisation_id programme_id year amount_micros account_id entry_id"
        )
        self.redemption = table(
            subsidies.Redemption,
            "id order_id position voucher_id source share charge_micros voucher_hold_id cap_id cap_hold_id"
            " amount_micros evidence state held_at settled_at claim_by",
        )
        self.claim = table(
            subsidies.Claim,
            "id organisation_id order_id amount_micros evidence state claimant_id maker_id checker_id submitted_at"
            " decided_at",
        )
        self.disbursement = table(
            subsidies.Disbursement, "id claim_id redemption_id amount_micros entry_id disbursed_at"
        )
        self.application = table(
            subsidies.Application,
            "id organisation_id version_id amount_micros note state applicant_id submitted_at",
        )
        self.quote = table(
            market.Quote,
            "id organisation_id project_id offer_id shelf request facts lines terms total_max_micros currency split"
            " starts_at wall_limit_s holds_until created_at valid_until state",
        )
        self.order = table(
            market.Order,
            "id number quote_id organisation_id project_id offer_id supplier_id shelf state total_max_micros"
            " total_micros currency balance_hold_id outcome placed_at ended_at settled_at",
        )
        self.line = table(
            market.OrderLine,
            "id order_id meter unit units per unit_price_micros tax_rate_bp tax_included quantity_max"
            " amount_max_micros accepted_month",
        )
        self.usage = table(
            market.UsageRecord,
            "id order_line_id accepted_month meter sequence quantity quantity_accepted quantity_observed"
            " start end received_at state reason",
        )
        self.charge = table(
            market.Charge, "id order_line_id quantity amount_micros tax_micros credited_micros at"
        )
        self.receipt = table(market.Receipt, "id number order_id organisation_id content sha256 issued_at")
        self.run = table(
            compute.Run,
            "id order_id organisation_id project_id pool_id name state request created_at started_at ended_at"
            " exit_code measures",
        )
        self.attempt = table(
            compute.Attempt,
            "id run_id pool_id epoch state created_at leased_at leased_until first_running_at last_contact_at"
            " started_at ended_at settled_at log_next log_bytes",
        )
        self.allocation = table(
            compute.Allocation, "id attempt_id node_id cores memory_bytes period live released_at"
        )
        self.device_allocation = table(compute.DeviceAllocation, "allocation_id device_id period live")
        self.sample = table(compute.MeterSample, "attempt_id at cpu_s memory_bytes")
        self.log = table(compute.LogPiece, "attempt_id start data")

    def all(self) -> list[Table]:
        return list(vars(self).values())


def _request(sale: _Sale) -> dict[str, Any]:
    accelerator = sale.goods.accelerator
    return {
        "run": "python train.py --epochs 3", "envs": {}, "name": "", "task": "run: python train.py --epochs 3\n",
        "cards": sale.units if accelerator else 0, "cores": sale.units, "setup": "", "outputs": [],
        "pool_id": str(sale.goods.pool_id), "disk_bytes": 5 * _GIB, "accelerator": accelerator,
        "environment": "bench", "memory_bytes": sale.units * _GIB, "wall_limit_s": sale.wall_s, "sealed_secrets": "",
        "workdir_manifest": "",
    }  # fmt: skip


def _terms(goods: Goods) -> dict[str, Any]:
    return {
        "tax": {"rate_bp": 600, "included": True},
        "title": {"en": goods.title_en, "zh": goods.title_zh},
        "fee_bp": 100,
        "sold_by": "hub",
        "supplier": {"id": typeid("org", goods.supplier_id), "name": goods.supplier_name},
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
