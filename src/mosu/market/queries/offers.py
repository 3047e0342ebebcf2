"""Reads of offers: who sees which, what stands on the shelf now, at which prices."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db.models import Count, F, Func, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Coalesce

from mosu.market.catalogue import Snapshot, catalogue_at
from mosu.market.hub import hub_currency
from mosu.market.models import Offer, OfferPrice, OfferState, Order
from mosu.market.rates import Rate, no_rate, rates_of, usable
from mosu.market.shelves import Delivery, Place, Standing, Stock, has_shelf, shelf_of
from mosu.market.tiers import TierPrice, tiers_of
from mosu.platform.actors import Actor

_CLOSED: Final = Standing(stock=None, why_not_live="Its shelf is closed.")
_DELISTED: Final = "It is off the shelf."
_TEXTS: Final = ArrayField(TextField())
_NO_TIERS: Final[Mapping[UUID, TierPrice]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """A price in the hub's currency, so that offers compare; a foreign list price by the latest rate there is.

    What is promised is the quote's: it converts by a rate that is recent, or refuses.
    """

    meter: str
    unit: str
    per: int
    unit_price_micros: int
    """For whom it is shown: the tier's part of `everyones_micros`."""
    everyones_micros: int
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
    delivery: Delivery | None = None
    unrated: str | None = None
    """Why no price of it can be promised now: it is listed in a currency of which no rate is recent."""
    tier: TierPrice | None = None
    """Where its prices are not everyone's: what it is shown for is to its supplier."""

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


def offers_titled(rows: QuerySet[Offer], text: str) -> QuerySet[Offer]:
    """Those with this in a title, however it is written.

    The index of pairs of characters finds the few that may have it; the literal expression says whether they do.
    """
    pairs = Func(F("title_zh"), F("title_en"), function="market_bigrams", output_field=_TEXTS)
    asked = Func(Value(text), Value(""), function="market_bigrams", output_field=_TEXTS)
    rows = rows.alias(pairs=pairs).filter(pairs__contains=asked)
    return rows.filter(Q(title_zh__iregex=f"***={text}") | Q(title_en__iregex=f"***={text}"))


def shown(offers: Sequence[Offer], *, now: datetime, buyer_id: UUID | None = None) -> list[ShownOffer]:
    """Each offer with prices (a buyer's own, or everyone's), stock and liveness: one batch per shelf for the rest."""
    by_shelf: defaultdict[str, set[Place]] = defaultdict(set)
    for offer in offers:
        if has_shelf(offer.shelf):
            by_shelf[offer.shelf].add(_place_of(offer))
    standings = {code: shelf_of(code).standings(places, now=now) for code, places in by_shelf.items()}
    return shown_as(
        offers,
        now=now,
        standing=lambda shelf, place: standings.get(shelf, {}).get(place, _CLOSED),
        tiers=tiers_of(buyer_id, now=now, offers=[one.id for one in offers]) if buyer_id else {},
    )


def offers_named(actor: Actor, ids: Sequence[UUID], *, now: datetime) -> list[ShownOffer]:
    """Those of the offers that the actor may see, in the order of `ids`; stock and liveness are at most 2 s old.

    Raises:
        CatalogueLoading: this process still reads the offers for the first time.
    """
    rows = offers_visible_to(actor).in_bulk(list(ids))
    found = [rows[key] for key in dict.fromkeys(ids) if key in rows]
    tiers = tiers_of(actor.organisation_id, now=now, offers=rows) if actor.organisation_id else {}
    return shown_as(found, now=now, standing=catalogue_at(now).standing, tiers=tiers)


def catalogue_for(organisation_id: UUID | None, *, now: datetime) -> Snapshot:
    """The catalogue at the prices that the organisation would pay; everyone's where nobody is meant.

    Raises:
        CatalogueLoading: this process still reads the offers for the first time.
    """
    snapshot = catalogue_at(now)
    return snapshot if organisation_id is None else snapshot.priced_for(tiers_of(organisation_id, now=now))


def offers_for(
    organisation_id: UUID, ids: Sequence[UUID], *, snapshot: Snapshot, now: datetime
) -> list[ShownOffer]:
    """Those of the offers that the organisation may buy now, in the order of `ids`, with their prices.

    Their stock, liveness and tiers are as the snapshot has them; the shelf knows better.
    """
    theirs = Q(buyer_organisation=None) | Q(buyer_organisation_id=organisation_id)
    rows = Offer.objects.select_related("supplier").filter(theirs, state=OfferState.LISTED).in_bulk(ids)
    found = [rows[key] for key in ids if key in rows]
    return shown_as(found, now=now, standing=snapshot.standing, tiers=snapshot.tiers)


def prices_of(actor: Actor, offer_id: UUID) -> QuerySet[OfferPrice]:
    """All list prices that an offer ever had, latest first; nothing if the actor does not see the offer."""
    offers = offers_visible_to(actor).filter(id=offer_id).order_by()
    return OfferPrice.objects.filter(offer__in=offers).order_by("-valid_from", "-id")


def prices_at(offer_id: UUID, *, at: datetime) -> dict[str, OfferPrice]:
    """The prices of an offer that were in force at an instant, by meter."""
    return {price.meter: price for price in _prices_at(at, [offer_id])}


def shown_as(
    offers: Sequence[Offer],
    *,
    now: datetime,
    standing: Callable[[str, Place], Standing],
    tiers: Mapping[UUID, TierPrice] = _NO_TIERS,
) -> list[ShownOffer]:
    """Each offer as its place stands, at the prices of whose `tiers` these are; one query for prices."""
    prices: defaultdict[UUID, list[ShownPrice]] = defaultdict(list)
    rows = list(_prices_at(now, offers))
    foreign = any(row.currency != hub_currency() for row in rows)
    rates = rates_of(now=now) if foreign else {}
    unpriced: dict[UUID, str] = {}
    for row in rows:
        price = _shown_price(row, rates, tiers.get(row.offer_id))
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
        found.append(
            ShownOffer(
                offer=offer,
                prices=prices[offer.id],
                stock=stands.stock,
                why_not_live=why or unrated,
                place=place,
                delivery=stands.delivery,
                unrated=unrated,
                tier=tiers.get(offer.id),
            )
        )
    return found


def _prices_at(now: datetime, offers: Sequence[Offer] | Sequence[UUID]) -> QuerySet[OfferPrice]:
    """The price of each meter that is in force: the last one that has begun."""
    rows = OfferPrice.objects.filter(offer__in=offers, valid_from__lte=now)
    return rows.order_by("offer_id", "meter", "-valid_from").distinct("offer_id", "meter")


def _shown_price(row: OfferPrice, rates: Mapping[str, Rate], tier: TierPrice | None) -> ShownPrice | None:
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
        unit_price_micros=tier.of(micros) if tier else micros,
        everyones_micros=micros,
        list_price_micros=row.unit_price_micros,
        list_currency=row.currency,
    )


def _place_of(offer: Offer) -> Place:
    goods = shelf_of(offer.shelf).goods_of(offer.attributes) if has_shelf(offer.shelf) else None
    return offer.subject_id, goods.key if goods else ""
