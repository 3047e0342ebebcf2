"""Reads of the counter; every list takes the actor."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.core import signing
from django.db.models import (
    BigIntegerField,
    BinaryField,
    Count,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    TextField,
    Value,
)
from django.db.models.functions import Cast, Coalesce, Concat

from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.time import Period
from mosu.market.catalogue import (
    FREE_NOW,
    Counted,
    OfferSearch,
    ShelfSummary,
    Snapshot,
    Viewer,
    catalogue_at,
    search,
    summarised,
)
from mosu.market.catalogue.asked import LIMIT_DEFAULT
from mosu.market.catalogue.asked import search_of as asked_in
from mosu.market.hub import hub_currency
from mosu.market.models import (
    Charge,
    ExchangeRate,
    Offer,
    OfferImport,
    OfferImportRow,
    OfferPrice,
    OfferState,
    Order,
    OrderLine,
    OrderState,
    Quote,
    Receipt,
    SavedSearch,
    UsageRecord,
)
from mosu.market.rates import Rate, no_rate, rates_of, usable
from mosu.market.shelves import Facet, Place, Standing, Stock, has_shelf, shelf_codes, shelf_of
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord
from mosu.platform.policy import allows, person_of
from mosu.platform.queries import audit_visible_to
from mosu.platform.reading import RowReader

SAMPLE_DRAWN: Final = "sample.drawn"
"""The audit action of a drawing; its facts say how and which."""
SAMPLE_MAX: Final = 200
_QUOTES: Final = RowReader(Quote)
_CLOSED: Final = Standing(stock=None, why_not_live="Its shelf is closed.")
_DELISTED: Final = "It is off the shelf."
_FACETS: Final = (
    Facet("region", "地区", "Region"),
    Facet("supplier", "供应商", "Supplier"),
    Facet("mode", "方式", "Mode"),
    Facet("price", "单价", "Unit price", is_number=True),
    Facet(FREE_NOW, "现在可用", "Free now"),
)


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
    place: Place
    unrated: str | None = None
    """Why no price of it can be promised now: it is listed in a currency of which no rate is recent."""

    @property
    def live(self) -> bool:
        return self.why_not_live is None


def offers_visible_to(actor: Actor) -> QuerySet[Offer]:
    """Offers on the shelves, and the actor's own that are off; all for the hub's people. By id.

    One at a price for one buyer is there for that buyer and its supplier alone.
    """
    rows = Offer.objects.select_related("supplier").order_by("id")
    if actor.sees_all:
        return rows
    own = Q(supplier_id__in=actor.organisation_ids)
    theirs = Q(buyer_organisation=None) | Q(buyer_organisation_id__in=actor.organisation_ids)
    return rows.filter(own | Q(theirs, state=OfferState.LISTED))


def offers_sold_by(actor: Actor, *, since: datetime) -> QuerySet[Offer]:
    """Offers of the actor's organisations, on the shelf or off, or everybody's for the hub's people; newest first.

    Each with `orders_since`: how often it was bought since then.
    """
    orders = Order.objects.filter(offer=OuterRef("pk"), placed_at__gte=since).order_by().values("offer")
    count = Subquery(orders.annotate(count=Count("id")).values("count"))
    rows = Offer.objects.select_related("supplier", "buyer_organisation").annotate(
        orders_since=Coalesce(count, Value(0))
    )
    rows = rows.order_by("-id")
    return rows if actor.sees_all else rows.filter(supplier_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class FacetShown:
    """A facet with its values: each counts what fits if it is chosen beside all that other facets ask."""

    facet: Facet
    values: Sequence[Counted]


@dataclass(frozen=True, slots=True)
class OfferPage:
    """One page of a search, how many fit in all, and what else there is to choose."""

    items: Sequence[ShownOffer]
    total: int
    facets: Sequence[FacetShown]
    without: Mapping[str, int]
    """By facet that something is asked of: how many would fit if nothing were asked of it."""
    next: str | None


def facets_of(shelf: str) -> Sequence[Facet]:
    """By what one may choose on a shelf (on all, if it is not named): its own facets, then the counter's."""
    own = [shelf_of(code).facets for code in ([shelf] if shelf else shelf_codes()) if has_shelf(code)]
    return [*(facet for facets in own for facet in facets), *_FACETS]


def search_of(
    params: Mapping[str, Sequence[str]], *, shelf: str = "", limit: int = LIMIT_DEFAULT
) -> OfferSearch:
    """The search that the parameters of an address ask for; `shelf` wins over theirs.

    Raises:
        Invalid: a number, a sort or a length that cannot be.
    """
    named = {**params, "shelf": [shelf]} if shelf else params
    facets = facets_of("")  # of all shelves: what another shelf is chosen by, nothing on this one has
    return asked_in(
        named,
        facets=[facet.code for facet in facets if facet.code != FREE_NOW],
        numbers=[facet.code for facet in facets if facet.is_number],
        limit=limit,
    )


def search_offers(actor: Actor, wanted: OfferSearch, *, now: datetime, counted: bool = True) -> OfferPage:
    """The offers on the shelves that fit and that the actor may see, in order; found in the catalogue.

    Without `counted` there are no facets. What is shown of each is read from PostgreSQL: one that left the shelf a
    moment ago is not on its page.

    Raises:
        Invalid: `wanted.after` is not a cursor of this list.
        CatalogueLoading: this process still reads the offers for the first time.
    """
    facets = facets_of(wanted.shelf) if counted else ()
    snapshot = catalogue_at(now)
    found = search(
        snapshot,
        wanted,
        viewer=Viewer(actor.organisation_ids, sees_all=actor.sees_all),
        facets=[facet.code for facet in facets],
        after=_after_of(wanted) if wanted.after else None,
    )
    rows = offers_visible_to(actor).filter(state=OfferState.LISTED).in_bulk(list(found.ids))
    offers = [rows[key] for key in found.ids if key in rows]
    return OfferPage(
        items=_shown(offers, now=now, standing=snapshot.standing),
        total=found.total,
        facets=[FacetShown(facet, found.facets[facet.code]) for facet in facets],
        without=found.without,
        next=_cursor_of(wanted, found.last) if found.last else None,
    )


def shown(offers: Sequence[Offer], *, now: datetime) -> list[ShownOffer]:
    """Each offer with prices, stock and liveness: one query for prices, one batch per shelf for the rest."""
    by_shelf: defaultdict[str, set[Place]] = defaultdict(set)
    for offer in offers:
        if has_shelf(offer.shelf):
            by_shelf[offer.shelf].add(_place_of(offer))
    standings = {code: shelf_of(code).standings(places, now=now) for code, places in by_shelf.items()}
    return _shown(offers, now=now, standing=lambda shelf, place: standings.get(shelf, {}).get(place, _CLOSED))


def offers_named(actor: Actor, ids: Sequence[UUID], *, now: datetime) -> list[ShownOffer]:
    """Those of the offers that the actor may see, in the order of `ids`; stock and liveness are at most 2 s old.

    Raises:
        CatalogueLoading: this process still reads the offers for the first time.
    """
    rows = offers_visible_to(actor).in_bulk(list(ids))
    found = [rows[key] for key in dict.fromkeys(ids) if key in rows]
    return _shown(found, now=now, standing=catalogue_at(now).standing)


def shelf_summary(shelf: str, *, now: datetime) -> ShelfSummary:
    """What hangs on a shelf for everyone, in figures that anyone may see; from the catalogue.

    Raises:
        CatalogueLoading: this process still reads the offers for the first time.
    """
    return summarised(catalogue_at(now), shelf)


def offers_for(
    organisation_id: UUID, ids: Sequence[UUID], *, snapshot: Snapshot, now: datetime
) -> list[ShownOffer]:
    """Those of the offers that the organisation may buy now, in the order of `ids`, with their prices.

    Their stock and liveness are as the snapshot has them; the shelf knows better.
    """
    theirs = Q(buyer_organisation=None) | Q(buyer_organisation_id=organisation_id)
    rows = Offer.objects.select_related("supplier").filter(theirs, state=OfferState.LISTED).in_bulk(ids)
    return _shown([rows[key] for key in ids if key in rows], now=now, standing=snapshot.standing)


def _shown(
    offers: Sequence[Offer], *, now: datetime, standing: Callable[[str, Place], Standing]
) -> list[ShownOffer]:
    prices: defaultdict[UUID, list[ShownPrice]] = defaultdict(list)
    rows = list(_prices_at(now, offers))
    foreign = any(row.currency != hub_currency() for row in rows)
    rates = rates_of(now=now) if foreign else {}
    unpriced: dict[UUID, str] = {}
    for row in rows:
        price = _shown_price(row, rates)
        if price is not None:
            prices[row.offer_id].append(price)
        if row.currency != hub_currency() and usable(rates, row.currency, now=now) is None:
            unpriced[row.offer_id] = no_rate(row.currency, now=now)
    found = []
    for offer in offers:
        place = _place_of(offer)
        stands = standing(offer.shelf, place)
        why = stands.why_not_live if offer.state == OfferState.LISTED else _DELISTED
        unrated = unpriced.get(offer.id)
        found.append(ShownOffer(offer, prices[offer.id], stands.stock, why or unrated, place, unrated))
    return found


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


def usage_visible_to(actor: Actor, order_id: UUID) -> QuerySet[UsageRecord]:
    """The records of usage of an order of the actor's organisations, or of any for the hub's people; in order."""
    rows = UsageRecord.objects.filter(order_line__order_id=order_id).select_related("order_line")
    rows = rows.order_by("order_line_id", "sequence")
    return (
        rows if actor.sees_all else rows.filter(order_line__order__organisation_id__in=actor.organisation_ids)
    )


def saved_searches_of(actor: Actor) -> QuerySet[SavedSearch]:
    """The searches that the person saved, by name."""
    return SavedSearch.objects.filter(user_id=person_of(actor)).order_by("name", "id")


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


@dataclass(frozen=True, slots=True)
class Sample:
    """Orders that were drawn, in the order of their drawing, and how to draw them again."""

    id: UUID
    seed: str
    span: Period
    count: int
    orders: Sequence[Order]
    drawn_by: str
    drawn_at: datetime

    @property
    def public_id(self) -> str:
        return typeid("sample", self.id)


def samples_drawn(actor: Actor) -> QuerySet[AuditRecord]:
    """The records of all samples, newest first; for the hub's people alone."""
    rows = audit_visible_to(actor).filter(action=SAMPLE_DRAWN)
    return rows if actor.sees_all else rows.none()


def sample_of(actor: Actor, sample_id: UUID) -> Sample:
    """A sample as it was drawn.

    Raises:
        NotFound: there is none, or the actor is not of the hub's people.
    """
    record = samples_drawn(actor).filter(subject_id=sample_id).order_by("id").first()
    if record is None:
        raise NotFound("There is no such sample.", hint="Draw one: GET /samples.")
    facts = record.facts
    keys = [Order.key_of(public_id) for public_id in facts["orders"]]
    rows = Order.objects.select_related("quote", "receipt", "organisation", "offer__supplier")
    found = rows.in_bulk(keys)
    return Sample(
        id=sample_id,
        seed=facts["seed"],
        span=Period(datetime.fromisoformat(facts["from"]), datetime.fromisoformat(facts["to"])),
        count=facts["count"],
        orders=[found[key] for key in keys],
        drawn_by=record.actor_label,
        drawn_at=record.at,
    )


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


def lines_of(order: Order) -> list[OrderLine]:
    """The lines of an order already seen, by id."""
    return list(OrderLine.objects.filter(order=order).order_by("id"))


def charges_of(order: Order) -> dict[UUID, Charge]:
    """The charges of an order already seen, by line; none before its settlement."""
    return {charge.order_line_id: charge for charge in Charge.objects.filter(order_line__order=order)}


def usage_of(order: Order) -> list[UsageRecord]:
    """All usage of an order already seen, in the order of its digest; quarantined too."""
    rows = UsageRecord.objects.filter(order_line__order=order)
    return list(rows.order_by("order_line_id", "sequence"))


def prices_at(offer_id: UUID, *, at: datetime) -> dict[str, OfferPrice]:
    """The prices of an offer that were in force at an instant, by meter."""
    return {price.meter: price for price in _prices_at(at, [offer_id])}


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


def _place_of(offer: Offer) -> Place:
    goods = shelf_of(offer.shelf).goods_of(offer.attributes) if has_shelf(offer.shelf) else None
    return offer.subject_id, goods.key if goods else ""


def _prices_at(now: datetime, offers: Sequence[Offer] | Sequence[UUID]) -> QuerySet[OfferPrice]:
    """The price of each meter that is in force: the last one that has begun."""
    rows = OfferPrice.objects.filter(offer__in=offers, valid_from__lte=now)
    return rows.order_by("offer_id", "meter", "-valid_from").distinct("offer_id", "meter")


def _after_of(wanted: OfferSearch) -> tuple[int, UUID]:
    """Where the page before ended.

    Raises:
        Invalid: it is not a cursor of a list in this order.
    """
    try:
        key, last = signing.loads(wanted.after, salt=_salt_of(wanted))
    except signing.BadSignature:
        raise Invalid(
            "This cursor is not one of this list's.",
            hint="Take `next` of the page before, or leave it out for the first page.",
            field="cursor",
        ) from None
    return int(key), UUID(hex=last)


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


def _cursor_of(wanted: OfferSearch, last: tuple[int, UUID]) -> str:
    return signing.dumps([last[0], last[1].hex], salt=_salt_of(wanted))


def _salt_of(wanted: OfferSearch) -> str:
    """Binds a cursor to its order; how well a text fits depends on the text."""
    return f"mosu.offers:{wanted.sort}:{wanted.text if wanted.sort == 'relevance' else ''}"
