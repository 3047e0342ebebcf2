"""The counter's operations of `/api/v1`. `POST /quotes` is each shelf's own."""

from datetime import datetime
from secrets import compare_digest
from typing import Annotated, Final, Literal
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Schema, Status

from mosu.kernel.ids import uuid_of
from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market import queries, services
from mosu.market.models import Offer, Order, Quote, Receipt, SoldBy
from mosu.market.queries import Sort
from mosu.market.receipts import code_of
from mosu.market.sales_api import router as sales_router
from mosu.market.shapes import (
    OfferIn,
    OfferOut,
    OrderIn,
    OrderOut,
    PriceIn,
    QuoteOut,
    ReceiptOut,
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
routers: Final = [("", router), ("", sales_router)]


class OfferFilter(Schema):
    """`?shelf=compute&accelerator=&region=&supplier=&text=&live=true&sort=price`."""

    shelf: Word = ""
    accelerator: Word = ""
    region: Word = ""
    supplier: Word = ""
    text: Word = ""
    live: bool | None = None
    sort: Sort = "price"


@router.get("/offers", response=Listed[OfferOut], auth=public_auth, operation_id="listOffers")
@door("offer.read")
def list_offers(
    request: HttpRequest, wanted: Annotated[OfferFilter, Query()], paging: Annotated[Paging, Query()]
) -> dict[str, object]:
    now = timezone.now()
    rows = queries.offers_on(
        wanted.shelf,
        now=now,
        actor=actor_of(request),
        accelerator=wanted.accelerator,
        region=wanted.region,
        supplier_id=Organisation.key_of(wanted.supplier) if wanted.supplier else None,
        text=wanted.text,
        live=wanted.live,
        sort=wanted.sort,
    )
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [OfferOut.of(shown) for shown in queries.shown(page, now=now)], "next": after}


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


def _offer_out(actor: Actor, offer_id: UUID, *, now: datetime) -> OfferOut:
    offer = one_of(queries.offers_visible_to(actor), offer_id)
    if offer is None:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    return OfferOut.of(queries.shown([offer], now=now)[0])


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
    )


def _price_of(price: PriceIn) -> services.PriceSpec:
    return services.PriceSpec(
        meter=price.meter,
        unit=price.unit,
        unit_price_micros=micros_of(price.unit_price, field="unit_price"),
        per=price.per,
    )
