"""The door by which a supplier reads what was bought of it."""

from datetime import datetime
from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Query, Router

from mosu.kernel.money import decimal_of
from mosu.market.bills import month_of, span_of
from mosu.market.hub import hub_zone
from mosu.market.queries import sales_visible_to
from mosu.market.sales import Sale, sales_of
from mosu.market.shapes import Named, OfferBrief
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Out

router = Router(tags=["market"])


class UsedOut(Out):
    quantity: str
    unit: str


class SaleOut(Out):
    """An order at one's offer. `total = voucher_share + buyer_share`; money is null until the order is settled.

    `due` is what the hub owes the supplier for it, after its `fee`; `to_invoice` what the supplier bills the buyer
    itself. `reported` is what the supplier's engine said was used, `observed` the most that the hub itself can have
    seen; `used` is what counts. `buyer` is null where the hub bills: then it is the buyer's own.
    """

    order_id: str
    number: str
    state: Literal["placed", "active", "settled", "cancelled"]
    outcome: str | None
    placed_at: datetime
    settled_at: datetime | None
    offer: OfferBrief
    buyer: Named | None
    billed_by: Literal["hub", "supplier"]
    used: list[UsedOut]
    reported: list[UsedOut]
    observed: list[UsedOut]
    currency: str
    total: str | None
    voucher_share: str | None
    buyer_share: str | None
    fee: str | None
    due: str | None
    to_invoice: str | None

    @classmethod
    def of(cls, sale: Sale) -> "SaleOut":
        order, currency = sale.order, sale.order.currency
        buyer = sale.buyer

        def money(micros: int | None) -> str | None:
            return None if micros is None else decimal_of(micros, currency=currency)

        return cls(
            order_id=order.public_id,
            number=order.number,
            state=order.state,
            outcome=order.outcome,
            placed_at=order.placed_at,
            settled_at=order.settled_at,
            offer=OfferBrief.of(order.quote),
            buyer=Named(id=buyer.public_id, name=buyer.name) if buyer else None,
            billed_by=order.quote.terms["sold_by"],
            used=[UsedOut(quantity=one.quantity, unit=one.unit) for one in sale.used],
            reported=[UsedOut(quantity=one.quantity, unit=one.unit) for one in sale.reported],
            observed=[UsedOut(quantity=one.quantity, unit=one.unit) for one in sale.observed],
            currency=currency,
            total=money(sale.total_micros),
            voucher_share=money(sale.vouchers_micros),
            buyer_share=money(sale.buyer_share_micros),
            fee=money(sale.fee_micros),
            due=money(sale.due_micros),
            to_invoice=money(sale.to_invoice_micros),
        )


@router.get("/sales", response=Listed[SaleOut], auth=token_auth, operation_id="listSales")
@door("sale.read")
def list_sales(
    request: HttpRequest,
    paging: Annotated[Paging, Query()],
    state: Literal["placed", "active", "settled", "cancelled"] | None = None,
    month: str = "",
) -> dict[str, object]:
    """Orders at one's offers, newest first. `month` (2026-03) keeps what was settled in it, by the hub's zone."""
    actor = actor_of(request)
    rows = sales_visible_to(actor)
    if state:
        rows = rows.filter(state=state)
    if month:
        span = span_of(month_of(month), zone=hub_zone())
        rows = rows.filter(settled_at__gte=span.start, settled_at__lt=span.end)
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [SaleOut.of(sale) for sale in sales_of(actor, page)], "next": after}
