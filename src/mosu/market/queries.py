"""Reads of the counter; every list takes the actor."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from django.db.models import (
    BigIntegerField,
    Case,
    Exists,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce

from mosu.kernel.money import MICROS_MAX
from mosu.kernel.time import day_in
from mosu.market.hub import hub_currency, hub_zone
from mosu.market.models import (
    ExchangeRate,
    Offer,
    OfferImport,
    OfferImportRow,
    OfferPrice,
    OfferState,
    Order,
    Quote,
    Receipt,
)
from mosu.market.rates import Rate, rates_of
from mosu.market.shelves import Stock, has_shelf, shelf_of
from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.policy import allows

Sort: TypeAlias = Literal["price", "-price", "-created_at"]

_ORDERS: Final[Mapping[Sort, tuple[str, str]]] = {
    "price": ("price_micros", "id"),
    "-price": ("-price_micros", "-id"),
    "-created_at": ("-created_at", "-id"),
}
_CLOSED: Final = "Its shelf is closed."
_DELISTED: Final = "It is off the shelf."


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """A price in the hub's currency, so that offers compare; a foreign list price by the latest rate there is.

    What is promised is the quote's: it converts by a rate that is recent, or refuses.
    """

    meter: str
    unit: str
    per: int
    unit_price_micros: int
    list_price_micros: int
    list_currency: str


@dataclass(frozen=True, slots=True)
class ShownOffer:
    """An offer with what is in force now: prices, stock, whether it can be accepted."""

    offer: Offer
    prices: Sequence[ShownPrice]
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
    prices: defaultdict[UUID, list[ShownPrice]] = defaultdict(list)
    rows = list(_prices_at(now).filter(offer__in=offers).order_by("offer_id", "meter"))
    foreign = any(row.currency != hub_currency() for row in rows)
    rates = rates_of(now=now) if foreign else {}
    for row in rows:
        price = _shown_price(row, rates)
        if price is not None:
            prices[row.offer_id].append(price)
    why, stock = _why_not_live(offers), _stock(offers)
    return [
        ShownOffer(offer, prices[offer.id], stock=stock.get(offer.id), why_not_live=why[offer.id])
        for offer in offers
    ]


def prices_of(actor: Actor, offer_id: UUID) -> QuerySet[OfferPrice]:
    """All list prices that an offer ever had, latest first; nothing if the actor does not see the offer."""
    offers = offers_visible_to(actor).filter(id=offer_id).order_by()
    return OfferPrice.objects.filter(offer__in=offers).order_by("-valid_from", "-id")


def imports_visible_to(actor: Actor) -> QuerySet[OfferImport]:
    """Imports of the suppliers whose offers the actor manages, or all for the hub's people; newest first."""
    rows = OfferImport.objects.select_related("supplier").order_by("-created_at", "-id")
    if actor.sees_all:
        return rows
    mine = [one for one in actor.organisation_ids if allows(actor, "import.read", one)]
    return rows.filter(supplier_id__in=mine)


def differences(
    offer_import: OfferImport, *, change: str = "", quarantined: bool | None = None
) -> QuerySet[OfferImportRow]:
    """What an import would change (or did), in the file's order; the caller has shown that it may be seen."""
    rows = OfferImportRow.objects.filter(offer_import=offer_import).order_by("id")
    if change:
        rows = rows.filter(change=change)
    if quarantined is not None:
        rows = rows.exclude(doubt="") if quarantined else rows.filter(doubt="")
    return rows


def latest_rates() -> QuerySet[ExchangeRate]:
    """Every rate ever recorded, latest first. Anyone may see by what a quote was converted."""
    return ExchangeRate.objects.order_by("-dated", "-recorded_at", "-id")


def quotes_visible_to(actor: Actor) -> QuerySet[Quote]:
    """Quotes of the actor's organisations, or all for the hub's people; newest first."""
    rows = Quote.objects.order_by("-created_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def orders_visible_to(actor: Actor) -> QuerySet[Order]:
    """Orders of the actor's organisations, or all for the hub's people; newest first."""
    rows = Order.objects.select_related("quote", "receipt").order_by("-placed_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def receipts_visible_to(actor: Actor) -> QuerySet[Receipt]:
    """Receipts of the actor's organisations, or all for the hub's people; newest first."""
    rows = Receipt.objects.select_related("order").order_by("-issued_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


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


def _shown_price(row: OfferPrice, rates: Mapping[str, Rate]) -> ShownPrice | None:
    """None: of its currency there never was a rate."""
    micros = row.unit_price_micros
    if row.currency != hub_currency():
        rate = rates.get(row.currency)
        if rate is None:
            return None
        micros = rate.converted(micros)
    return ShownPrice(
        meter=row.meter,
        unit=row.unit,
        per=row.per,
        unit_price_micros=micros,
        list_price_micros=row.unit_price_micros,
        list_currency=row.currency,
    )


def _dearest(now: datetime) -> Coalesce:
    """What people compare: of a card-hour and a core-hour, the card-hour; in the hub's currency."""
    rate = (
        ExchangeRate.objects.filter(currency=OuterRef("currency"), dated__lte=day_in(hub_zone(), now))
        .order_by("-dated", "-recorded_at")
        .values("rate")[:1]
    )
    worth = Case(
        When(currency=hub_currency(), then=F("unit_price_micros")),
        default=Cast(F("unit_price_micros") * Subquery(rate), BigIntegerField()),
        output_field=BigIntegerField(),
    )
    most = (
        _prices_at(now)
        .filter(offer=OuterRef("pk"))
        .order_by()
        .values("offer")
        .annotate(most=Max(worth))
        .values("most")
    )
    return Coalesce(Subquery(most), Value(MICROS_MAX))
