"""Reads of the counter; every list takes the actor."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from django.db.models import (
    BigIntegerField,
    BinaryField,
    Count,
    Exists,
    Func,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
)
from django.db.models.functions import Cast, Coalesce, Concat

from mosu.kernel.money import MICROS_MAX
from mosu.kernel.refusals import Forbidden
from mosu.kernel.time import Period
from mosu.market.models import Offer, OfferPrice, OfferState, Order, OrderState, Quote, Receipt
from mosu.market.shelves import Stock, has_shelf, shelf_of
from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.reading import RowReader

Sort: TypeAlias = Literal["price", "-price", "-created_at"]

_ORDERS: Final[Mapping[Sort, tuple[str, str]]] = {
    "price": ("price_micros", "id"),
    "-price": ("-price_micros", "-id"),
    "-created_at": ("-created_at", "-id"),
}
_QUOTES: Final = RowReader(Quote)
_CLOSED: Final = "Its shelf is closed."
_DELISTED: Final = "It is off the shelf."


@dataclass(frozen=True, slots=True)
class ShownOffer:
    """An offer with what is in force now: prices, stock, whether it can be accepted."""

    offer: Offer
    prices: Sequence[OfferPrice]
    stock: Stock | None
    why_not_live: str | None

    @property
    def live(self) -> bool:
        return self.why_not_live is None


def offers_visible_to(actor: Actor) -> QuerySet[Offer]:
    """Offers on the shelves, and the actor's own that are off; all for the hub's people. By id."""
    rows = Offer.objects.select_related("supplier").order_by("id")
    if actor.sees_all:
        return rows
    return rows.filter(Q(state=OfferState.LISTED) | Q(supplier_id__in=actor.organisation_ids))


def offers_on(
    shelf: str,
    *,
    now: datetime,
    actor: Actor = ANONYMOUS,
    accelerator: str = "",
    region: str = "",
    supplier_id: UUID | None = None,
    text: str = "",
    live: bool | None = None,
    sort: Sort = "price",
) -> QuerySet[Offer]:
    """Listed offers of a shelf that fit, in order; each has its dearest present unit price as `price_micros`.

    With `live`, the shelf is asked once about all that fit.
    """
    rows = offers_visible_to(actor).filter(state=OfferState.LISTED)
    if shelf:
        rows = rows.filter(shelf=shelf)
    if accelerator:
        rows = rows.filter(attributes__accelerator=accelerator)
    if region:
        rows = rows.filter(attributes__region=region)
    if supplier_id:
        rows = rows.filter(supplier_id=supplier_id)
    for word in text.split():
        rows = rows.filter(
            Q(title_zh__icontains=word) | Q(title_en__icontains=word) | Q(supplier__name__icontains=word)
        )
    if live is not None:
        rows = rows.filter(id__in=[key for key, why in _why_not_live(rows).items() if (why is None) is live])
    return rows.annotate(price_micros=_dearest(now)).order_by(*_ORDERS[sort])


def shown(offers: Sequence[Offer], *, now: datetime) -> list[ShownOffer]:
    """Each offer with prices, stock and liveness: one query for prices, one batch per shelf for the rest."""
    prices: defaultdict[UUID, list[OfferPrice]] = defaultdict(list)
    for price in _prices_at(now).filter(offer__in=offers).order_by("offer_id", "meter"):
        prices[price.offer_id].append(price)
    why, stock = _why_not_live(offers), _stock(offers)
    return [
        ShownOffer(offer, prices[offer.id], stock=stock.get(offer.id), why_not_live=why[offer.id])
        for offer in offers
    ]


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


def receipts_visible_to(actor: Actor) -> QuerySet[Receipt]:
    """Receipts of the actor's organisations, or all for the hub's people; newest first."""
    rows = Receipt.objects.select_related("order").order_by("-issued_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def sales_visible_to(actor: Actor) -> QuerySet[Order]:
    """Orders at the offers of the actor's organisations, or all for the hub's people; newest first.

    A supplier sees what was bought of it. Who bought is the buyer's own, except where the supplier bills it.
    """
    rows = Order.objects.select_related("quote", "offer", "organisation", "receipt")
    rows = rows.order_by("-placed_at", "-id")
    return rows if actor.sees_all else rows.filter(offer__supplier_id__in=actor.organisation_ids)


def orders_sampled(actor: Actor, *, seed: str, span: Period, count: int) -> list[Order]:
    """`count` settled orders of a span, drawn at random: the same seed draws the same ones, for whoever repeats it.

    An order's place is the sha256 of seed and id, so that nobody who places orders can choose to be drawn.

    Raises:
        Forbidden: the actor does not see everybody's orders.
    """
    if not actor.sees_all:
        raise Forbidden("Samples are drawn from all orders.", hint="Who may: auditor, checker, operator.")
    settled = Order.objects.select_related("quote", "receipt", "organisation", "offer__supplier").filter(
        state=OrderState.SETTLED, settled_at__gte=span.start, settled_at__lt=span.end
    )
    place = Func(
        Concat(Value(f"{seed}:"), Cast("id", TextField())),
        function="sha256",
        template="%(function)s(convert_to(%(expressions)s, 'UTF8'))",
        output_field=BinaryField(),
    )
    return list(settled.annotate(place=place).order_by("place", "id")[:count])


def orders_settled_since(since: datetime) -> list[UUID]:
    """For the nightly check alone: whoever's they are."""
    return list(Order.objects.filter(settled_at__gte=since).order_by("id").values_list("id", flat=True))


def receipt_numbered(number: str) -> Receipt | None:
    """A receipt by its number, for whoever proves to hold it; no actor, since anyone may check one."""
    return Receipt.objects.filter(number=number).first() if "\x00" not in number else None


def work_of(orders: Iterable[Order]) -> Mapping[UUID, str]:
    """The public id (`run_...`) of what each order set going; one batch per shelf."""
    found: dict[UUID, str] = {}
    for code, ids in _by_shelf((order.shelf, order.id) for order in orders).items():
        if has_shelf(code):
            found |= shelf_of(code).work_of(ids)
    return found


def _by_shelf(pairs: Iterable[tuple[str, UUID]]) -> dict[str, list[UUID]]:
    grouped: defaultdict[str, list[UUID]] = defaultdict(list)
    for code, key in pairs:
        grouped[code].append(key)
    return dict(grouped)


def _why_not_live(offers: Iterable[Offer]) -> dict[UUID, str | None]:
    """None for each offer that can be accepted now, else why not; one batch per shelf."""
    why: dict[UUID, str | None] = {}
    listed = []
    for offer in offers:
        why[offer.id] = _CLOSED if offer.state == OfferState.LISTED else _DELISTED
        if offer.state == OfferState.LISTED:
            listed.append((offer.shelf, offer.id))
    for code, ids in _by_shelf(listed).items():
        if has_shelf(code):
            why |= shelf_of(code).live(ids)
    return why


def _stock(offers: Iterable[Offer]) -> dict[UUID, Stock]:
    found: dict[UUID, Stock] = {}
    for code, ids in _by_shelf((offer.shelf, offer.id) for offer in offers).items():
        if has_shelf(code):
            found |= shelf_of(code).stock(ids)
    return found


def _prices_at(now: datetime) -> QuerySet[OfferPrice]:
    """The price of each meter that is in force: no later one has begun."""
    later = OfferPrice.objects.filter(
        offer=OuterRef("offer"),
        meter=OuterRef("meter"),
        valid_from__gt=OuterRef("valid_from"),
        valid_from__lte=now,
    )
    return OfferPrice.objects.filter(~Exists(later), valid_from__lte=now)


def _dearest(now: datetime) -> Coalesce:
    """What people compare: of a card-hour and a core-hour, the card-hour."""
    most = (
        _prices_at(now)
        .filter(offer=OuterRef("pk"))
        .order_by()
        .values("offer")
        .annotate(most=Max("unit_price_micros"))
        .values("most")
    )
    return Coalesce(Subquery(most), Value(MICROS_MAX))
