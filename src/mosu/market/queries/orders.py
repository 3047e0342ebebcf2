"""Reads of what was bought: quotes, orders with their lines, usage and charges, receipts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import BigIntegerField, Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Reverse

from mosu.market.models import Charge, Order, OrderLine, OrderState, Quote, Receipt, UsageRecord
from mosu.market.shelves import has_shelf, shelf_of
from mosu.platform.actors import Actor
from mosu.platform.reading import RowReader

_QUOTES: Final = RowReader(Quote)


def quotes_visible_to(actor: Actor) -> QuerySet[Quote]:
    """Quotes of the actor's organisations, or all for the hub's people; newest first."""
    rows = Quote.objects.order_by("-created_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def quote_visible_to(actor: Actor, quote_id: UUID) -> Quote | None:
    """The one of `quotes_visible_to` with this id, or None."""
    quote = _QUOTES.read(quote_id)
    return quote if quote is not None and actor.sees(quote.organisation_id) else None


def orders_visible_to(actor: Actor) -> QuerySet[Order]:
    """Orders of the actor's organisations, or all for the hub's people; newest first."""
    rows = Order.objects.select_related("quote", "receipt").order_by("-placed_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def orders_numbered(rows: QuerySet[Order], text: str) -> QuerySet[Order]:
    """Those whose number begins or ends with this, each by its index: `O-2026-0001`, or the digits that people say."""
    rows = rows.alias(backwards=Reverse("number"))
    return rows.filter(Q(number__startswith=text) | Q(backwards__startswith=text[::-1]))


def sales_visible_to(actor: Actor) -> QuerySet[Order]:
    """Orders at the offers of the actor's organisations, or all for the hub's people; newest first.

    A supplier sees what was bought of it. Who bought is the buyer's own, except where the supplier bills it.
    """
    rows = Order.objects.select_related("quote", "offer", "organisation", "receipt")
    rows = rows.prefetch_related("lines__usage_total")
    rows = rows.order_by("-placed_at", "-id")
    return rows if actor.sees_all else rows.filter(supplier_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class Spend:
    """What a project's orders came to, in micros."""

    orders: int = 0
    running: int = 0
    spent_micros: int = 0
    """What settled orders cost, vouchers' part included."""


def spend_by_project(actor: Actor, organisation_id: UUID) -> dict[UUID, Spend]:
    """The spend of each project of an organisation that has orders, in one query."""
    rows = orders_visible_to(actor).filter(organisation_id=organisation_id).order_by()
    summed = rows.values_list("project_id").annotate(
        orders=Count("id"),
        running=Count("id", filter=Q(state__in=[OrderState.PLACED, OrderState.ACTIVE])),
        spent=Coalesce(Sum("total_micros"), 0, output_field=BigIntegerField()),
    )
    return {project_id: Spend(orders, running, int(spent)) for project_id, orders, running, spent in summed}


@dataclass(frozen=True, slots=True)
class Settled:
    """What of the hub's orders is settled."""

    orders: int
    total_micros: int
    open_orders: int


def orders_settled(actor: Actor) -> Settled:
    """How many orders are settled, for how much, and how many are under way; of those the actor sees."""
    open_states = [OrderState.PLACED, OrderState.ACTIVE]
    found = (
        orders_visible_to(actor)
        .select_related(None)
        .order_by()
        .aggregate(
            orders=Count("id", filter=Q(state=OrderState.SETTLED)),
            total=Sum("total_micros", filter=Q(state=OrderState.SETTLED)),
            under_way=Count("id", filter=Q(state__in=open_states)),
        )
    )
    return Settled(found["orders"], int(found["total"] or 0), found["under_way"])


def orders_settled_since(since: datetime) -> list[UUID]:
    """For the nightly check alone: whoever's they are."""
    return list(Order.objects.filter(settled_at__gte=since).order_by("id").values_list("id", flat=True))


def lines_of(order: Order) -> list[OrderLine]:
    """The lines of an order already seen, by id, with what each was charged."""
    return list(OrderLine.objects.filter(order=order).select_related("charge").order_by("id"))


def charges_of(lines: Sequence[OrderLine]) -> dict[UUID, Charge]:
    """The charges of `lines_of` an order, by line; none before its settlement."""
    return {line.id: line.charge for line in lines if hasattr(line, "charge")}


def usage_of(order: Order) -> list[UsageRecord]:
    """All usage of an order already seen, in the order of its digest; quarantined too."""
    rows = UsageRecord.objects.filter(order_line__order=order)
    return list(rows.order_by("order_line_id", "sequence"))


def usage_visible_to(actor: Actor, order_id: UUID) -> QuerySet[UsageRecord]:
    """The records of usage of an order of the actor's organisations, or of any for the hub's people; in order."""
    rows = UsageRecord.objects.filter(order_line__order_id=order_id).select_related("order_line")
    rows = rows.order_by("order_line_id", "sequence")
    return (
        rows if actor.sees_all else rows.filter(order_line__order__organisation_id__in=actor.organisation_ids)
    )


def receipts_visible_to(actor: Actor) -> QuerySet[Receipt]:
    """Receipts of the actor's organisations, or all for the hub's people; newest first."""
    rows = Receipt.objects.select_related("order").order_by("-issued_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def receipt_numbered(number: str) -> Receipt | None:
    """A receipt by its number, for whoever proves to hold it; no actor, since anyone may check one."""
    return Receipt.objects.filter(number=number).first() if "\x00" not in number else None


def work_of(orders: Iterable[Order]) -> Mapping[UUID, str]:
    """The public id (`run_...`) of what each order set going; one batch per shelf."""
    by_shelf: defaultdict[str, list[UUID]] = defaultdict(list)
    for order in orders:
        by_shelf[order.shelf].append(order.id)
    found: dict[UUID, str] = {}
    for code, ids in by_shelf.items():
        if has_shelf(code):
            found |= shelf_of(code).work_of(ids)
    return found
