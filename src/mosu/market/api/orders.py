"""Quotes and orders. `POST /quotes` is each shelf's own."""

from typing import Annotated, Literal
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.kernel.refusals import NotFound
from mosu.market import queries, services
from mosu.market.models import Order, Quote
from mosu.market.shapes import OrderIn, OrderOut, QuoteOut
from mosu.platform.actors import Actor
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.queries import one_of
from mosu.platform.requests import actor_of, key_of

router = Router(tags=["market"])


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


def _order_out(actor: Actor, order_id: UUID) -> OrderOut:
    order = one_of(queries.orders_visible_to(actor), order_id)
    if order is None:
        raise NotFound("There is no such order.", hint="See GET /orders.")
    return OrderOut.all_of([order])[0]
