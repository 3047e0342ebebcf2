"""The counter's operations of `/api/v1`. `POST /quotes` is each shelf's own."""

from datetime import datetime
from secrets import compare_digest
from typing import Annotated, Final, Literal
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import Field

from mosu.kernel.ids import uuid_of
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.kernel.time import Period
from mosu.market import queries, services
from mosu.market.bills import bill_of, month_of, months_summed
from mosu.market.catalogue.asked import VALUES_MAX, Sort
from mosu.market.comparison import OFFERS_MAX, compared
from mosu.market.hub import hub_zone
from mosu.market.import_api import router as import_router
from mosu.market.models import Offer, Order, Quote, Receipt, SavedSearch, SoldBy
from mosu.market.receipts import code_of
from mosu.market.sales_api import router as sales_router
from mosu.market.shapes import (
    BillMonthOut,
    BillOut,
    BillsOut,
    ComparisonOut,
    Key,
    OfferIn,
    OfferOut,
    OffersOut,
    OrderIn,
    OrderOut,
    PriceIn,
    QuoteOut,
    ReceiptOut,
    SampleOut,
    SavedSearchIn,
    SavedSearchOut,
    VerifiedOut,
    Word,
)
from mosu.platform.actors import Actor
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of, key_of

router = Router(tags=["market"])
routers: Final = [("", router), ("", import_router), ("", sales_router)]


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
    return _offer_out(actor_of(request), Offer.key_of(offer_id), now=timezone.now())


@router.post("/offers", response={201: OfferOut}, auth=token_auth, operation_id="createOffer")
@door("offer.manage")
def create_offer(request: HttpRequest, body: OfferIn) -> Status[OfferOut]:
    actor, now = actor_of(request), timezone.now()
    offer = services.create_offer(actor=actor, spec=_spec_of(body, _supplier_of(body, actor)), now=now)
    return Status(201, _offer_out(actor, offer.id, now=now))


@router.patch("/offers/{offer_id}/price", response=OfferOut, auth=token_auth, operation_id="setOfferPrice")
@door("offer.manage")
def set_price(request: HttpRequest, offer_id: str, body: PriceIn) -> OfferOut:
    actor, now = actor_of(request), timezone.now()
    key = Offer.key_of(offer_id)
    services.set_price(actor=actor, offer_id=key, price=_price_of(body), now=now)
    return _offer_out(actor, key, now=now)


@router.post("/offers/{offer_id}/delist", response=OfferOut, auth=token_auth, operation_id="delistOffer")
@door("offer.manage")
def delist_offer(request: HttpRequest, offer_id: str) -> OfferOut:
    actor, now = actor_of(request), timezone.now()
    offer = services.delist_offer(actor=actor, offer_id=Offer.key_of(offer_id), now=now)
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


@router.post("/offers/{offer_id}/relist", response=OfferOut, auth=token_auth, operation_id="relistOffer")
@door("offer.manage")
def relist_offer(request: HttpRequest, offer_id: str) -> OfferOut:
    """Put an offer that was taken off the shelf on it again, at the price it has."""
    actor, now = actor_of(request), timezone.now()
    offer = services.relist_offer(actor=actor, offer_id=Offer.key_of(offer_id), now=now)
    return _offer_out(actor, offer.id, now=now)


@router.get("/quotes/{quote_id}", response=QuoteOut, auth=token_auth, operation_id="getQuote")
@door("quote.read")
def get_quote(request: HttpRequest, quote_id: str) -> QuoteOut:
    quote = queries.quote_visible_to(actor_of(request), Quote.key_of(quote_id))
    if quote is None:
        raise NotFound("There is no such quote.", hint="Ask for quotes again: POST /quotes.")
    return QuoteOut.of(quote, now=timezone.now())


@router.post("/orders", response={201: OrderOut}, auth=token_auth, operation_id="createOrder")
@door("order.place")
def create_order(request: HttpRequest, body: OrderIn) -> Status[OrderOut]:
    """Accept a quote. Needs the header Idempotency-Key; repeated with it, answers the first order."""
    actor = actor_of(request)
    order = services.accept_quote(
        actor=actor,
        quote_id=Quote.key_of(body.quote_id),
        idempotency_key=key_of(request),
        now=timezone.now(),
    )
    return Status(201, OrderOut.all_of([order])[0])


@router.get("/orders", response=Listed[OrderOut], auth=token_auth, operation_id="listOrders")
@door("order.read")
def list_orders(
    request: HttpRequest,
    paging: Annotated[Paging, Query()],
    state: Literal["placed", "active", "settled", "cancelled"] | None = None,
) -> dict[str, object]:
    rows = queries.orders_visible_to(actor_of(request))
    page, after = page_of(rows.filter(state=state) if state else rows, paging.cursor, paging.limit)
    return {"items": OrderOut.all_of(page), "next": after}


@router.get("/orders/{order_id}", response=OrderOut, auth=token_auth, operation_id="getOrder")
@door("order.read")
def get_order(request: HttpRequest, order_id: str) -> OrderOut:
    return _order_out(actor_of(request), Order.key_of(order_id))


@router.post("/orders/{order_id}/cancel", response=OrderOut, auth=token_auth, operation_id="cancelOrder")
@door("order.cancel")
def cancel_order(request: HttpRequest, order_id: str) -> OrderOut:
    """Cancel what has not started, or stop what runs; then it is settled for what was used."""
    actor = actor_of(request)
    order = services.cancel_order(actor=actor, order_id=Order.key_of(order_id), now=timezone.now())
    return _order_out(actor, order.id)


class SampleAsked(Schema):
    """`?seed=2026-Q1&from=2026-01-01T00:00:00Z&to=2026-04-01T00:00:00Z&count=25`."""

    seed: Word
    from_: datetime = Field(alias="from")
    to: datetime
    count: int = 25


@router.get("/samples", response=SampleOut, auth=token_auth, operation_id="drawSample", by_alias=True)
@door("sample.draw")
def draw_sample(request: HttpRequest, asked: Annotated[SampleAsked, Query()]) -> SampleOut:
    """Settled orders of a span, drawn at random by a seed. The drawing is on record; repeated, it answers the same."""
    if asked.from_.tzinfo is None or asked.to.tzinfo is None or asked.from_ > asked.to:
        raise Invalid(
            "from, to: not a span.", hint="Write instants with their zone, from before to.", field="from"
        )
    sample = services.draw_sample(
        actor=actor_of(request),
        seed=asked.seed,
        span=Period(asked.from_, asked.to),
        count=asked.count,
        now=timezone.now(),
    )
    return SampleOut.of(sample)


@router.get("/receipts", response=Listed[ReceiptOut], auth=token_auth, operation_id="listReceipts")
@door("receipt.read")
def list_receipts(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    page, after = page_of(queries.receipts_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": ReceiptOut.all_of(page), "next": after}


@router.get("/receipts/{receipt_id}", response=ReceiptOut, auth=token_auth, operation_id="getReceipt")
@door("receipt.read")
def get_receipt(request: HttpRequest, receipt_id: str) -> ReceiptOut:
    receipt = one_of(queries.receipts_visible_to(actor_of(request)), Receipt.key_of(receipt_id))
    if receipt is None:
        raise NotFound("There is no such receipt.", hint="See GET /receipts.")
    return ReceiptOut.all_of([receipt])[0]


@router.get("/bills", response=BillsOut, auth=token_auth, operation_id="listBills")
@door("receipt.read")
def list_bills(request: HttpRequest, organisation_id: Word = "") -> BillsOut:
    """The organisation's bills by month, newest first."""
    actor = actor_of(request)
    months = months_summed(actor, _billed(actor, organisation_id), zone=hub_zone())
    return BillsOut(items=[BillMonthOut.of(month) for month in months])


@router.get("/bills/{month}", response=BillOut, auth=token_auth, operation_id="getBill")
@door("receipt.read")
def get_bill(request: HttpRequest, month: str, organisation_id: Word = "") -> BillOut:
    """One month, such as 2026-11, in the hub's zone: its sum, by programme and by supplier."""
    actor = actor_of(request)
    organisation = _billed(actor, organisation_id)
    return BillOut.of(bill_of(actor, organisation, month=month_of(month), zone=hub_zone()))


@router.get("/verify/{number}/{code}", response=VerifiedOut, auth=public_auth, operation_id="verifyReceipt")
@door("hub.look")
def verify_receipt(request: HttpRequest, number: str, code: str) -> VerifiedOut:
    """Check a receipt that somebody shows: its number and its code answer its hash and its totals, no more."""
    receipt = queries.receipt_numbered(number)
    if receipt is None or not compare_digest(code_of(receipt).encode(), code.encode()):
        raise NotFound(
            "No receipt has this number and this code.", hint="Compare both with the receipt as printed."
        )
    content = receipt.content
    return VerifiedOut(
        sha256=receipt.sha256,
        **{key: content[key] for key in VerifiedOut.model_fields if key in content},
    )


def _given(request: HttpRequest) -> dict[str, list[str]]:
    """The address's parameters, with every value of each."""
    return {name: [str(value) for value in values] for name, values in request.GET.lists()}


def _offer_out(actor: Actor, offer_id: UUID, *, now: datetime) -> OfferOut:
    offer = one_of(queries.offers_visible_to(actor), offer_id)
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    return OfferOut.of(queries.shown([offer], now=now)[0])


def _billed(actor: Actor, organisation_id: str) -> UUID:
    """Whose bill: the organisation that is named, else the one for which the actor speaks."""
    key = Organisation.key_of(organisation_id) if organisation_id else actor.organisation_id
    if key is None or not (actor.sees_all or key in actor.organisation_ids):
        raise NotFound("There is no such organisation.", hint="Name one of yours: see GET /me.")
    return key


def _order_out(actor: Actor, order_id: UUID) -> OrderOut:
    order = one_of(queries.orders_visible_to(actor), order_id)
    if order is None:
        raise NotFound("There is no such order.", hint="See GET /orders.")
    return OrderOut.all_of([order])[0]


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
    )


def _price_of(price: PriceIn) -> services.PriceSpec:
    return services.PriceSpec(
        meter=price.meter,
        unit=price.unit,
        unit_price_micros=micros_of(price.unit_price, field="unit_price"),
        per=price.per,
    )
