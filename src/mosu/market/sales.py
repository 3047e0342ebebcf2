"""What a supplier sold, and what of it is its own: through the hub's ledger, or billed by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, DecimalField, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncMonth

from mosu.kernel.money import MICROS, micros_of
from mosu.market import rules
from mosu.market.models import Order, Receipt, SoldBy, UsageTotal
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation

_AMOUNT: Final = DecimalField(max_digits=30, decimal_places=6)


@dataclass(frozen=True, slots=True)
class Used:
    """How much of one line was used, in the priced unit."""

    quantity: str
    unit: str


@dataclass(frozen=True, slots=True)
class Sale:
    """An order as its supplier sees it, in micros. None before it is settled.

    `total = vouchers + buyer_share`. What passes through the hub's ledger (`vouchers`, and `buyer_share` where the
    hub bills) less `fee` is `due` to the supplier; `to_invoice` is what it bills the buyer itself.
    """

    order: Order
    buyer: Organisation | None
    """Who bought; None where that is the buyer's own: the hub bills, and the supplier need not know."""
    used: Sequence[Used]
    total_micros: int | None
    vouchers_micros: int | None
    buyer_share_micros: int | None
    fee_micros: int | None
    due_micros: int | None
    to_invoice_micros: int | None
    reported: Sequence[Used] = ()
    """What the supplier's engine reported, by line, whatever of it counts."""
    observed: Sequence[Used] = ()
    """The most that the hub itself can have seen used; nothing where it sees nothing."""

    @property
    def billed_by_supplier(self) -> bool:
        return bool(self.order.quote.terms["sold_by"] == SoldBy.SUPPLIER)


def sales_of(actor: Actor, orders: Iterable[Order]) -> list[Sale]:
    """Each of `sales_visible_to(actor)` with what it brought; no query."""
    return [_sale_of(actor, order) for order in orders]


@dataclass(frozen=True, slots=True)
class ToInvoice:
    """What of a month's receipts a supplier bills its buyers itself."""

    month: date
    receipts: int
    amount_micros: int


def to_invoice_of(actor: Actor, supplier_id: UUID, *, zone: ZoneInfo) -> list[ToInvoice]:
    """By month, newest first; nothing if the actor may not see the supplier's sales. One query."""
    if not actor.sees(supplier_id):
        return []
    rows = (
        Receipt.objects.filter(order__supplier_id=supplier_id, content__billed_by=SoldBy.SUPPLIER.value)
        .order_by()
        .annotate(month=TruncMonth("issued_at", tzinfo=zone))
        .values_list("month")
        .annotate(count=Count("id"), sum=Sum(Cast(KeyTextTransform("paid", "content"), _AMOUNT)))
    )
    found = [ToInvoice(month.date(), count, int(amount * MICROS)) for month, count, amount in rows]
    return sorted(found, key=lambda one: one.month, reverse=True)


def _sale_of(actor: Actor, order: Order) -> Sale:
    terms = order.quote.terms
    by_supplier = terms["sold_by"] == SoldBy.SUPPLIER
    buyer = order.organisation if by_supplier or actor.sees(order.organisation_id) else None
    reported, observed = _figures(order)
    receipt: Receipt | None = getattr(order, "receipt", None)
    if receipt is None:
        return Sale(order, buyer, (), None, None, None, None, None, None, reported, observed)
    content = receipt.content
    vouchers, share = micros_of(content["voucher_share"]), micros_of(content["paid"])
    through = vouchers + (0 if by_supplier else share)
    fee = rules.fee_of(through, rate_bp=terms["fee_bp"], currency=order.currency)
    return Sale(
        order=order,
        buyer=buyer,
        used=[Used(line["quantity"], line["unit"]) for line in content["lines"]],
        total_micros=micros_of(content["total"]),
        vouchers_micros=vouchers,
        buyer_share_micros=share,
        fee_micros=fee,
        due_micros=through - fee,
        to_invoice_micros=share if by_supplier else 0,
        reported=reported,
        observed=observed,
    )


def _figures(order: Order) -> tuple[list[Used], list[Used]]:
    """The supplier's figure and the hub's, of each line that has usage."""
    reported, observed = [], []
    for line in order.lines.all():
        total: UsageTotal | None = getattr(line, "usage_total", None)
        if total is None:
            continue
        reported.append(Used(rules.quantity_text(int(total.quantity), per=line.per), line.unit))
        if total.quantity_observed is not None:
            observed.append(Used(rules.quantity_text(total.quantity_observed, per=line.per), line.unit))
    return reported, observed
