"""Opening a port of a session, or an endpoint, in the browser."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from mosu.compute.models import Endpoint
from mosu.compute.queries import run_of_order
from mosu.compute.services import make_endpoint_ticket, make_ticket
from mosu.kernel.refusals import NotFound
from mosu.market.models import Order
from mosu.platform.requests import actor_of
from mosu.web.pages import page

_DIGITS_MAX = 5


@require_POST
@page("run.connect")
def open_port(request: HttpRequest, order_id: str) -> HttpResponse:
    """A page that leads to the port's own address: a redirect of the form itself would be one to a foreign site,
    which the pages' policy forbids."""
    actor = actor_of(request)
    run = run_of_order(actor, Order.key_of(order_id))
    if run is None:
        raise NotFound(_("There is no such order."), hint=_("See the list of your orders."))
    asked = request.POST.get("app") or request.POST.get("port", "")
    port = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= _DIGITS_MAX else 0
    sign_in = request.session.session_key or ""
    made = make_ticket(actor=actor, run_id=run.id, port=port, sign_in=sign_in, now=timezone.now())
    shown = {
        "here": "orders",
        "order_id": order_id,
        "port": port,
        "name": run.name or run.public_id,
        "url": made.url,
    }
    response = render(request, "pages/opening.html", shown)
    response["Referrer-Policy"] = "no-referrer"
    return response


@require_GET
@page("endpoint.enter")
def open_endpoint(request: HttpRequest, endpoint_id: str) -> HttpResponse:
    """The way back to an endpoint that asks who is signed in, with what lets this browser in there."""
    made = make_endpoint_ticket(
        actor=actor_of(request),
        endpoint_id=Endpoint.key_of(endpoint_id),
        sign_in=request.session.session_key or "",
        path=request.GET.get("path", "/"),
        now=timezone.now(),
    )
    response = HttpResponseRedirect(made.url)
    response["Referrer-Policy"] = "no-referrer"
    return response
