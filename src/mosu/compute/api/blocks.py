"""Operations on reserved blocks; one is bought by accepting its quote, and cancelled as its order."""

from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status

from mosu.compute import services
from mosu.compute.api.runs import buyer_of
from mosu.compute.blocks import block_visible_to, blocks_visible_to
from mosu.compute.models import Block
from mosu.compute.shapes import BlockOut, BlockQuoteIn
from mosu.compute.states import BlockState
from mosu.market.models import Offer, Order
from mosu.market.shapes import QuoteOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of

router: Final = Router(tags=["compute"])


@router.post("/blocks/quotes", response={201: QuoteOut}, auth=token_auth, operation_id="createBlockQuote")
@door("quote.ask")
def create_block_quote(request: HttpRequest, body: BlockQuoteIn) -> Status[QuoteOut]:
    """Ask what nodes of an offer cost from one time to another; `POST /orders` with the quote takes them."""
    actor, now = actor_of(request), timezone.now()
    organisation_id, project_id = buyer_of(actor, body.project_id)
    quote = services.quote_block(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        offer_id=Offer.key_of(body.offer_id),
        nodes=body.nodes,
        per_node=body.per_node,
        period=body.period(),
        choice=services.choice_of(body.vouchers),
        now=now,
    )
    return Status(201, QuoteOut.of(quote, now=now))


@router.get("/blocks", response=Listed[BlockOut], auth=token_auth, operation_id="listBlocks")
@door("order.read")
def list_blocks(
    request: HttpRequest,
    paging: Annotated[Paging, Query()],
    state: BlockState | None = None,
    order_id: str | None = None,
) -> dict[str, object]:
    rows = blocks_visible_to(actor_of(request))
    rows = rows.filter(state=state) if state else rows
    rows = rows.filter(order_id=Order.key_of(order_id)) if order_id else rows
    page, after = page_of(rows, paging.cursor, paging.limit)
    now = timezone.now()
    return {"items": [BlockOut.of(block, now=now) for block in page], "next": after}


@router.get("/blocks/{block_id}", response=BlockOut, auth=token_auth, operation_id="getBlock")
@door("order.read")
def get_block(request: HttpRequest, block_id: str) -> BlockOut:
    """A block, with what cancelling it now (`POST /orders/{order_id}/cancel`) would cost."""
    return BlockOut.of(block_visible_to(actor_of(request), Block.key_of(block_id)), now=timezone.now())
