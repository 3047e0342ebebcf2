"""What was bought: orders and their runs."""

from dataclasses import replace
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.compute.blocks import block_of_order
from mosu.compute.queries import bought_while_running, costs_of_orders, run_given_time, run_of_order
from mosu.compute.requests import is_of_extension
from mosu.compute.volumes import SHELF as STORAGE
from mosu.compute.volumes import cost_so_far, volumes_visible_to
from mosu.kernel.refusals import NotFound
from mosu.market.models import Order, OrderState
from mosu.market.queries import budget_spent_by, orders_numbered, orders_visible_to
from mosu.market.services import cancel_order
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.buying.block import BlockShown
from mosu.web.buying.connect import ConnectShown
from mosu.web.buying.run import curves_of, moments_of
from mosu.web.buying.session import SessionShown, may_be_extended
from mosu.web.days import monthly
from mosu.web.pages import page
from mosu.web.presenters import OrderShown, RunShown
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.words import state_name_lazy

ORDERS: Final = Plan(
    name="orders",
    title=_lazy("Orders"),
    columns=(
        Column(
            "number",
            _lazy("Number"),
            lambda shown: shown.number,
            sort="number",
            href=lambda shown: reverse("order", args=[shown.public_id]),
        ),
        Column("name", _lazy("Run"), lambda shown: shown.name),
        Column("placed", _lazy("Placed"), lambda shown: shown.placed_at, kind="time", sort="placed_at"),
        Column("offer", _lazy("Offer"), lambda shown: shown.title),
        Column("supplier", _lazy("Supplier"), lambda shown: shown.supplier),
        Column("state", _lazy("State"), lambda shown: shown.state, kind="state", sort="state"),
        Column(
            "most", _lazy("At most"), lambda shown: shown.total_max, kind="money", sort="total_max_micros"
        ),
        Column("total", _lazy("Total"), lambda shown: shown.total, kind="money"),
        Column("vouchers", _lazy("Vouchers"), lambda shown: shown.vouchers, kind="money", hidden=True),
        Column("paid", _lazy("Paid"), lambda shown: shown.paid, kind="money", hidden=True),
    ),
    order="-placed",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(state)) for state in OrderState.values],
        ),
        Filter("number", _lazy("Number"), lambda rows, text: orders_numbered(rows, text[:20].upper())),
    ),
    empty=Empty(
        _lazy("No orders yet."),
        _lazy("A first run takes a minute and a voucher pays for it."),
        "/quote/",
        _lazy("Ask for a quote"),
    ),
)


@require_GET
@page("order.read")
def orders(request: HttpRequest) -> HttpResponse:
    """The organisation's orders, newest first."""
    actor = actor_of(request)
    months = monthly("placed_at", last=timezone.localdate())
    return list_page(
        request,
        "pages/orders.html",
        replace(ORDERS, filters=[*ORDERS.filters, months]),
        orders_visible_to(actor),
        prepare=lambda rows: [OrderShown.of(row) for row in rows],
        context={"may_ask": allows(actor, "quote.ask")},
    )


@require_GET
@page("order.read")
def order(request: HttpRequest, order_id: str) -> HttpResponse:
    """One order and its run: what it does, what it costs, what it made."""
    return render(request, "pages/order.html", _order_shown(request, order_id, with_log=True))


@require_GET
@page("order.read")
def order_now(request: HttpRequest, order_id: str) -> HttpResponse:
    """The parts of the order's page that change while it runs; its script asks for them."""
    return render(request, "parts/order_now.html", _order_shown(request, order_id, with_log=False))


def _order_shown(request: HttpRequest, order_id: str, *, with_log: bool) -> dict[str, Any]:
    actor = actor_of(request)
    row = orders_visible_to(actor).filter(id=Order.key_of(order_id)).first()
    if row is None:
        raise NotFound(_("There is no such order."), hint=_("See the list of your orders."))
    now = timezone.now()
    run = run_of_order(actor, row.id)
    shown = RunShown.of_order(row, run, now=now, with_log=with_log) if run else None
    may_cancel = allows(actor, "order.cancel", row.organisation_id)
    is_storage = row.shelf == STORAGE
    volume = volumes_visible_to(actor).filter(terms__order_id=row.id).first() if is_storage else None
    kept_cost = cost_so_far(volume, row, now=now) if volume and row.total_micros is None else None
    block = block_of_order(actor, row.id) if "block" in row.quote.terms else None
    given = run_given_time(actor, row.id) if is_of_extension(row.quote.request) else None
    if given is not None and row.total_micros is None:
        kept_cost = costs_of_orders([row])[row.id]
    further = bought_while_running([run]).get(run.id, ()) if run else ()
    return {
        "here": "orders",
        "volume": volume,
        "given": given,
        "further": [OrderShown.of(one) for one in further],
        "may_extend": run is not None
        and may_be_extended(run)
        and allows(actor, "quote.ask", row.organisation_id),
        "reserved": BlockShown.of(block, may_cancel=may_cancel, now=now) if block else None,
        "order": OrderShown.of(row, cost=shown.cost if shown else kept_cost),
        "run": shown,
        "session": SessionShown.of(run, actor=actor, now=now) if run else None,
        "connect": ConnectShown.of(run, actor=actor, now=now) if run else None,
        "moments": moments_of(row, run, now=now) if run else [],
        "curves": curves_of(run) if run else [],
        "spent_by": budget_spent_by([row.id, *(one.id for one in further)]) if shown and shown.live else None,
        "may_ask": allows(actor, "quote.ask", row.organisation_id),
        "may_cancel": may_cancel,
    }


@require_POST
@page("order.cancel")
def cancel(request: HttpRequest, order_id: str) -> HttpResponse:
    """Stop the order's run, or cancel what has not started."""
    order = cancel_order(actor=actor_of(request), order_id=Order.key_of(order_id), now=timezone.now())
    if "block" in order.quote.terms:
        messages.success(request, _("The block is cancelled; what its rules give back is yours again."))
    else:
        messages.success(request, _("The run is being stopped; what is left of the hold comes back."))
    return redirect("order", order_id)
