"""Offers: searching the shelves, putting goods on them; searches kept."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import Field

from mosu.kernel.ids import uuid_of
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market import queries, services
from mosu.market.catalogue.asked import VALUES_MAX, Sort
from mosu.market.comparison import OFFERS_MAX, compared
from mosu.market.models import Offer, SavedSearch, SoldBy
from mosu.market.shapes import (
    ComparisonOut,
    Key,
    Limits,
    ListPriceOut,
    NewPriceIn,
    OfferIn,
    OfferOut,
    OffersOut,
    PriceIn,
    SavedSearchIn,
    SavedSearchOut,
    TermsIn,
    TermsOut,
    Word,
)
from mosu.market.shapes.parts import hub_money
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Bilingual

router = Router(tags=["market"])
Words = Annotated[list[Word], Field(max_length=VALUES_MAX)]
Keys = Annotated[list[Key], Field(min_length=1, max_length=OFFERS_MAX)]


class OffersNamed(Schema):
    id: Keys


class OfferFilter(Schema):
    """A search. Values of one parameter are alternatives; different parameters must all fit.

    A shelf's own facets are parameters too; those of compute are named here.
    """

    shelf: Word = ""
    text: Word = Field("", description="Words in Chinese or Latin letters; all of them must be found.")
    accelerator: Words = []
    vendor: Words = []
    country: Words = Field([], description="Where the accelerator was designed: ISO 3166.")
    memory_gb: Words = []
    memory_gb_min: Word = ""
    memory_gb_max: Word = ""
    count: Words = Field([], description="Cards per node.")
    count_min: Word = ""
    count_max: Word = ""
    region: Words = []
    supplier: Words = []
    mode: Words = []
    price: Words = Field([], description="Ranges, as the facet names them.")
    price_min: Word = ""
    price_max: Word = ""
    live: bool | None = None
    free_now: bool = False
    sort: Sort = "price"
    facets: bool = Field(False, description="Whether to count what else there is to choose.")


@router.get("/offers", response=OffersOut, auth=public_auth, operation_id="listOffers")
@door("offer.read")
def list_offers(
    request: HttpRequest, wanted: Annotated[OfferFilter, Query()], paging: Annotated[Paging, Query()]
) -> OffersOut:
    """Search the shelves. Prices are compared with tax; what is found is at most 2 s old."""
    asked = queries.search_of(_given(request), limit=paging.limit)
    now = timezone.now()
    page = queries.search_offers(actor_of(request), asked, now=now, counted=wanted.facets)
    return OffersOut.of(page, with_facets=wanted.facets)


@router.get("/offers/compare", response=ComparisonOut, auth=public_auth, operation_id="compareOffers")
@door("offer.read")
def compare_offers(request: HttpRequest, named: Annotated[OffersNamed, Query()]) -> ComparisonOut:
    """One to four offers of one shelf side by side: each property, and whether it differs."""
    ids = [Offer.key_of(one) for one in dict.fromkeys(named.id)]
    found = queries.offers_named(actor_of(request), ids, now=timezone.now())
    if len(found) != len(ids):
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    return ComparisonOut.of(found, compared(found))


@router.get("/offers/{offer_id}", response=OfferOut, auth=public_auth, operation_id="getOffer")
@door("offer.read")
def get_offer(request: HttpRequest, offer_id: str) -> OfferOut:
    """At the price that you would pay; `list_price` is everyone's, where yours is another."""
    actor = actor_of(request)
    return _offer_out(actor, Offer.key_of(offer_id), now=timezone.now(), buyer_id=actor.organisation_id)


@router.post("/offers", response={201: OfferOut}, auth=token_auth, operation_id="createOffer")
@door("offer.manage")
def create_offer(request: HttpRequest, body: OfferIn) -> Status[OfferOut]:
    actor, now = actor_of(request), timezone.now()
    offer = services.create_offer(actor=actor, spec=_spec_of(body, _supplier_of(body, actor)), now=now)
    return Status(201, _offer_out(actor, offer.id, now=now))


@router.patch("/offers/{offer_id}/price", response=OfferOut, auth=token_auth, operation_id="setOfferPrice")
@door("offer.manage")
def set_price(request: HttpRequest, offer_id: str, body: NewPriceIn) -> OfferOut:
    """A new price from now on. One that looks wrong beside the last is refused until it is `confirmed`."""
    actor, now = actor_of(request), timezone.now()
    key = Offer.key_of(offer_id)
    services.set_price(actor=actor, offer_id=key, price=_price_of(body), confirmed=body.confirmed, now=now)
    return _offer_out(actor, key, now=now)


@router.get("/offers/{offer_id}/terms", response=TermsOut, auth=token_auth, operation_id="getOfferTerms")
@door("offer.manage")
def get_terms(request: HttpRequest, offer_id: str) -> TermsOut:
    """What of the offer can be changed, with the revision to send along."""
    return _terms_out(_managed(actor_of(request), offer_id), now=timezone.now())


@router.patch("/offers/{offer_id}/terms", response=TermsOut, auth=token_auth, operation_id="changeOfferTerms")
@door("offer.manage")
def change_terms(request: HttpRequest, offer_id: str, body: TermsIn) -> TermsOut:
    """Other terms from now on; refused if somebody changed the offer since its `revision` was read."""
    actor, now = actor_of(request), timezone.now()
    offer = _managed(actor, offer_id)
    terms = services.TermsSpec(
        title_zh=body.title.zh if body.title else offer.title_zh,
        title_en=body.title.en if body.title else offer.title_en,
        min_units=body.min_units or offer.min_units,
        max_units=body.max_units or offer.max_units,
        wall_s_max=body.wall_s_max or offer.wall_s_max,
        unit_prices_micros={one.meter: micros_of(one.unit_price, field="unit_price") for one in body.prices},
    )
    changed = services.change_offer(
        actor=actor,
        offer_id=offer.id,
        terms=terms,
        revision=body.revision,
        confirmed=body.confirmed,
        now=now,
    )
    return _terms_out(changed, now=now)


@router.post("/offers/{offer_id}/delist", response=OfferOut, auth=token_auth, operation_id="delistOffer")
@door("offer.manage")
def delist_offer(request: HttpRequest, offer_id: str) -> OfferOut:
    actor, now = actor_of(request), timezone.now()
    offer = services.delist_offer(actor=actor, offer_id=Offer.key_of(offer_id), now=now)
    return _offer_out(actor, offer.id, now=now)


@router.post("/offers/{offer_id}/relist", response=OfferOut, auth=token_auth, operation_id="relistOffer")
@door("offer.manage")
def relist_offer(request: HttpRequest, offer_id: str) -> OfferOut:
    """Put an offer that was taken off the shelf on it again, at the price it has."""
    actor, now = actor_of(request), timezone.now()
    offer = services.relist_offer(actor=actor, offer_id=Offer.key_of(offer_id), now=now)
    return _offer_out(actor, offer.id, now=now)


@router.get(
    "/saved-searches", response=Listed[SavedSearchOut], auth=token_auth, operation_id="listSavedSearches"
)
@door("self.read")
def list_saved_searches(request: HttpRequest) -> dict[str, object]:
    """Your own, by name."""
    rows = queries.saved_searches_of(actor_of(request))
    return {"items": [SavedSearchOut.of(row) for row in rows], "next": None}


@router.post("/saved-searches", response={201: SavedSearchOut}, auth=token_auth, operation_id="saveSearch")
@door("self.change")
def save_search(request: HttpRequest, body: SavedSearchIn) -> Status[SavedSearchOut]:
    wanted = queries.search_of(body.query)
    search = services.save_search(actor=actor_of(request), name=body.name, wanted=wanted, now=timezone.now())
    return Status(201, SavedSearchOut.of(search))


@router.delete(
    "/saved-searches/{search_id}", response={204: None}, auth=token_auth, operation_id="deleteSavedSearch"
)
@door("self.change")
def delete_search(request: HttpRequest, search_id: str) -> Status[None]:
    services.delete_search(actor=actor_of(request), search_id=SavedSearch.key_of(search_id))
    return Status(204, None)


def _given(request: HttpRequest) -> dict[str, list[str]]:
    """The address's parameters, with every value of each."""
    return {name: [str(value) for value in values] for name, values in request.GET.lists()}


def _offer_out(actor: Actor, offer_id: UUID, *, now: datetime, buyer_id: UUID | None = None) -> OfferOut:
    offer = one_of(queries.offers_visible_to(actor), offer_id)
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    return OfferOut.of(queries.shown([offer], now=now, buyer_id=buyer_id)[0])


def _managed(actor: Actor, offer_id: str) -> Offer:
    """The offer, for who may manage it; for others it is as if there were none."""
    offer = one_of(queries.offers_visible_to(actor), Offer.key_of(offer_id))
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    require(actor, "offer.manage", offer.supplier_id)
    return offer


def _terms_out(offer: Offer, *, now: datetime) -> TermsOut:
    prices = queries.prices_at(offer.id, at=now)
    return TermsOut(
        id=offer.public_id,
        title=Bilingual(zh=offer.title_zh, en=offer.title_en),
        limits=Limits(min_units=offer.min_units, max_units=offer.max_units, wall_s_max=offer.wall_s_max),
        prices=[
            ListPriceOut(
                meter=meter,
                unit_price=hub_money(one.unit_price_micros),
                unit=one.unit,
                currency=one.currency,
            )
            for meter, one in sorted(prices.items())
        ],
        revision=services.revision_of(offer, prices),
    )


def _supplier_of(body: OfferIn, actor: Actor) -> UUID:
    if body.supplier_id:
        return Organisation.key_of(body.supplier_id)
    if actor.organisation_id is None:
        raise Invalid("Which supplier sells this?", hint="Name supplier_id.", field="supplier_id")
    return actor.organisation_id


def _spec_of(body: OfferIn, supplier_id: UUID) -> services.OfferSpec:
    return services.OfferSpec(
        supplier_id=supplier_id,
        shelf=body.shelf,
        subject_id=uuid_of(body.subject_id.rpartition("_")[0], body.subject_id),
        title_zh=body.title.zh,
        title_en=body.title.en,
        attributes={
            "accelerator": body.accelerator,
            "region": body.region,
            "mode": body.mode,
            "kind": body.kind,
            "domestic": body.domestic,
            **({"memory_gb": body.memory_gb} if body.memory_gb else {}),
        },
        prices=[_price_of(price) for price in body.prices],
        tax_rate_bp=body.tax_rate_bp,
        tax_included=body.tax_included,
        min_units=body.min_units,
        max_units=body.max_units,
        wall_s_max=body.wall_s_max,
        sold_by=SoldBy(body.sold_by),
        fee_bp=body.fee_bp,
        buyer_organisation_id=Organisation.key_of(body.buyer_organisation_id)
        if body.buyer_organisation_id
        else None,
        block=body.block.terms() if body.block else None,
    )


def _price_of(price: PriceIn) -> services.PriceSpec:
    return services.PriceSpec(
        meter=price.meter,
        unit=price.unit,
        unit_price_micros=micros_of(price.unit_price, field="unit_price"),
        per=price.per,
    )
