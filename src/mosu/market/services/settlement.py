"""The end of an order: charge, capture, release, fee, receipt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Sum

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.time import year_in
from mosu.ledger import services as ledger
from mosu.ledger.services import HUB_ID, Move
from mosu.market import rules
from mosu.market.hub import hub_zone
from mosu.market.models import (
    Charge,
    Order,
    OrderLine,
    OrderState,
    Outcome,
    Quote,
    Receipt,
    UsageRecord,
)
from mosu.market.queries import orders_settled_since
from mosu.market.receipts import receipt_content
from mosu.market.services.budgets import give_back_spend, lock_spend
from mosu.market.services.orders import locked_order, move_order, own_hold_accounts, release_holds
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.services import emit, record_audit
from mosu.subsidies import services as subsidies
from mosu.subsidies.services import Split

ORDER_SETTLED = "market.order_settled"
RECOMPUTED = "charges.recomputed"
"""The audit action of a recomputation of charges; its subject is the hub."""
RECOMPUTED_FOR = timedelta(days=2)
"""How far back the nightly check computes charges again."""


@transaction.atomic
def settle_order(
    *,
    order_id: UUID,
    ended_at: datetime,
    outcome: Outcome,
    now: datetime,
    actor: Actor = SYSTEM,
    why: str = "",
    claimed: Mapping[str, int] = MappingProxyType({}),
) -> Receipt:
    """Charge what was used, pay the supplier, give the rest back, write the receipt; for the shelf to call.

    `claimed` goes onto the receipt as what was measured where it ran; no amount depends on it.
    With `Outcome.PLATFORM_FAILURE` nothing is charged and the receipt says what was credited, and why.
    Repeating it returns the first receipt. Locks: the order, the buyer's budgets, then all ledger accounts once, then
    the year's receipt counter, held to the commit.

    Raises:
        IllegalMove: the order is cancelled.
    """
    order = locked_order(order_id)
    if order.state == OrderState.SETTLED:
        return Receipt.objects.get(order_id=order_id)
    quote = Quote.objects.select_related("organisation", "offer__supplier").get(id=order.quote_id)
    charges = _charges(order, outcome=outcome, now=now)
    total = sum(charge.amount_micros for charge in charges)
    move_order(order, to=OrderState.SETTLED, actor=actor, now=now, why=why or outcome)
    order.total_micros, order.outcome, order.ended_at, order.settled_at = total, outcome, ended_at, now
    order.save(update_fields=["state", "total_micros", "outcome", "ended_at", "settled_at"])
    Charge.objects.bulk_create(charges)
    give_back_spend(order, amount_micros=order.total_max_micros - total)
    split = _pay(order, quote, total=total, now=now)
    receipt = _write_receipt(order, quote, charges=charges, split=split, why=why, claimed=claimed, now=now)
    emit(
        name=ORDER_SETTLED,
        subject_id=order.id,
        payload={"number": order.number, "shelf": order.shelf, "outcome": outcome, "receipt": receipt.number},
        now=now,
        organisation_id=order.organisation_id,
    )
    return receipt


def lock_for_settlement(order_ids: Collection[UUID]) -> None:
    """Take the locks of all that are to be settled or released in one transaction, as every intention takes them: the
    orders by id, the buyer's budgets, then all ledger accounts once.

    One after the other they would be waited for in a circle: a purchase holds a budget of the second order and waits
    for the accounts of the first. Of one order its own settlement takes them so.
    """
    orders = list(Order.objects.select_for_update(no_key=True).filter(id__in=order_ids).order_by("id"))
    if len(orders) > 1:
        lock_spend(orders)
        suppliers = Quote.objects.filter(id__in=[order.quote_id for order in orders])
        supplier_of = dict(suppliers.values_list("id", "offer__supplier_id"))
        accounts = [
            account
            for order in orders
            for account in _accounts_of(order, supplier_id=supplier_of[order.quote_id])
        ]
        ledger.lock_accounts(accounts)


def _accounts_of(order: Order, *, supplier_id: UUID) -> list[UUID]:
    """All that the order's charge may touch; the first is what is owed to the supplier, the second the hub's fee."""
    payable = ledger.open_account(
        kind="payable", owner_id=supplier_id, currency=order.currency, floor_micros=0
    )
    fee = ledger.open_account(kind="fee", owner_id=HUB_ID, currency=order.currency, floor_micros=None)
    return [payable, fee, *own_hold_accounts(order), *subsidies.accounts_of_order(order.id)]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What an order's stored charges come to when computed again from usage, frozen prices and outcome."""

    stored_micros: int
    recomputed_micros: int

    @property
    def agrees(self) -> bool:
        return self.stored_micros == self.recomputed_micros


def recompute_charge(order_id: UUID) -> Recomputed:
    """The settled order's charge as stored and as it comes out anew; for the nightly check."""
    order = Order.objects.get(id=order_id, state=OrderState.SETTLED)
    anew = _charges(order, outcome=Outcome(str(order.outcome)), now=order.placed_at)
    stored = Charge.objects.filter(order_line__order_id=order_id).aggregate(sum=Sum("amount_micros"))["sum"]
    return Recomputed(
        stored_micros=int(stored or 0), recomputed_micros=sum(charge.amount_micros for charge in anew)
    )


def recompute_charges(*, now: datetime) -> list[UUID]:
    """The orders settled in the last `RECOMPUTED_FOR` whose stored charges come out otherwise; on record."""
    order_ids = orders_settled_since(now - RECOMPUTED_FOR)
    wrong = [order_id for order_id in order_ids if not recompute_charge(order_id).agrees]
    record_audit(
        actor=SYSTEM,
        action=RECOMPUTED,
        subject_id=HUB_ID,
        before=None,
        after="broken" if wrong else "sound",
        now=now,
        facts={"orders": len(order_ids), "wrong": [typeid(Order.prefix, key) for key in wrong[:5]]},
    )
    return wrong


def _charges(order: Order, *, outcome: Outcome, now: datetime) -> list[Charge]:
    """One charge per line: a function of accepted usage, the frozen price and the outcome."""
    lines = list(OrderLine.objects.filter(order=order).order_by("id"))
    used: Mapping[UUID, int] = dict(
        UsageRecord.objects.filter(order_line__in=lines)
        .order_by()
        .values_list("order_line_id")
        .annotate(sum=Sum("quantity_accepted"))
    )
    return [
        _charge(line, quantity=used.get(line.id, 0), outcome=outcome, currency=order.currency, now=now)
        for line in lines
    ]


def _charge(line: OrderLine, *, quantity: int, outcome: Outcome, currency: str, now: datetime) -> Charge:
    price = rules.Price(
        meter=line.meter,
        unit=line.unit,
        per=line.per,
        unit_price_micros=line.unit_price_micros,
        tax_rate_bp=line.tax_rate_bp,
        tax_included=line.tax_included,
    )
    charged = rules.charged(quantity, price, outcome=outcome, currency=currency)
    return Charge(
        id=uuid7(),
        order_line=line,
        quantity=quantity,
        amount_micros=charged.amount_micros,
        tax_micros=charged.tax_micros,
        credited_micros=charged.credited_micros,
        at=now,
    )


def _pay(order: Order, quote: Quote, *, total: int, now: datetime) -> Split:
    """Move the money that the charge needs to the supplier, and the hub's fee on; the rest returns.

    Of an order that the supplier bills itself only the vouchers pass through here, so the fee is on them.
    """
    frozen = Split.from_json(quote.split)
    if total == 0:
        release_holds(order, now=now)
        return subsidies.split_at(frozen, 0)
    payable, fee, *others = _accounts_of(order, supplier_id=quote.offer.supplier_id)
    ledger.lock_accounts([payable, fee, *others])
    split = subsidies.capture_redemptions(
        order_id=order.id, frozen=frozen, charge_micros=total, payee_account_id=payable, now=now
    )
    through = split.voucher_now_micros + _capture_own(order, split, payable=payable, now=now)
    share = rules.fee_of(through, rate_bp=quote.terms["fee_bp"], currency=order.currency)
    if share:
        ledger.post_entry(
            key=f"order:{order.id}:fee",
            kind="order.fee",
            moves=[Move(source=payable, destination=fee, amount_micros=share)],
            subject_id=order.id,
            now=now,
            memo=order.number,
        )
    return split


def _capture_own(order: Order, split: Split, *, payable: UUID, now: datetime) -> int:
    """What of the buyer's own money went to the supplier through the ledger; the rest of its hold is released."""
    if order.balance_hold_id is None:
        return 0
    if split.pay_now_micros:
        ledger.capture_hold(
            key=f"order:{order.id}:own",
            hold_id=order.balance_hold_id,
            destination_id=payable,
            amount_micros=split.pay_now_micros,
            kind="order.charge",
            now=now,
            memo=order.number,
        )
    ledger.release_hold(hold_id=order.balance_hold_id, now=now)
    return split.pay_now_micros


def _write_receipt(
    order: Order,
    quote: Quote,
    *,
    charges: Sequence[Charge],
    split: Split,
    why: str,
    claimed: Mapping[str, int],
    now: datetime,
) -> Receipt:
    number = _next_number(now)
    content = receipt_content(
        number=number,
        order=order,
        quote=quote,
        charges=charges,
        split=split,
        why=why,
        claimed=claimed,
        now=now,
    )
    return Receipt.objects.create(
        number=number,
        order=order,
        organisation_id=order.organisation_id,
        content=content,
        sha256=sha256_of(content),
        issued_at=now,
    )


def _next_number(now: datetime) -> str:
    """Such as R-2026-000001: without gaps within the hub's year, since the row is locked until the commit."""
    year = year_in(hub_zone(), now)
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into market_receiptcounter (year, last) values (%s, 1) "
            "on conflict (year) do update set last = market_receiptcounter.last + 1 returning last",
            [year],
        )
        (count,) = cursor.fetchone()
    return f"R-{year}-{count:06d}"
