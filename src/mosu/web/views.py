"""The pages. Each works without JavaScript; each asks the same services as the API."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from secrets import compare_digest
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.services import quote_run
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Order, Quote, Receipt
from mosu.market.queries import (
    orders_visible_to,
    receipt_numbered,
    receipts_visible_to,
    search_of,
    search_offers,
)
from mosu.market.receipts import code_of
from mosu.market.services import accept_quote, cancel_order
from mosu.platform.actors import ALL_SCOPES
from mosu.platform.cursors import page_of
from mosu.platform.doors import door
from mosu.platform.models import ApiToken, InvitationState, Organisation, User
from mosu.platform.policy import allows
from mosu.platform.queries import invitation_with, projects_visible_to, tokens_of
from mosu.platform.requests import actor_of
from mosu.platform.services import accept_invitation, make_token, revoke_token
from mosu.web.forms import Founding, QuoteAsk
from mosu.web.presenters import (
    OrderShown,
    QuoteShown,
    RunShown,
    accelerator_choices,
    label_of,
    receipt_shown,
    refused_groups,
    vouchers_shown,
)
from mosu.web.words import role_name, said_of
from mosu.wire.task import dump_task, parse_task

FIRST_COMMAND: Final = 'python3 -c \'print("hello from", __import__("platform").node())\''
TOKEN_LIFE: Final = timedelta(days=90)

View = Callable[..., HttpResponse]
PAGE = 30
USABLE_MAX: Final = 60


def page(action: str) -> Callable[[View], View]:
    """A page behind a door: strangers are sent to the sign-in, refusals are said on a page of their own."""

    def mark(view: View) -> View:
        entered = door(action)(view)

        @wraps(entered)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                return entered(request, *args, **kwargs)
            except DomainError as refusal:
                if refusal.status == 401:
                    return redirect_to_login(request.get_full_path())
                said = {"refusal": said_of(refusal)}
                return render(request, "pages/refused.html", said, status=refusal.status)

        return shown

    return mark


@require_GET
@page("offer.read")
def shelf(request: HttpRequest) -> HttpResponse:
    """The compute shelf: the same label on every offer, what can be used now above the rest, cheapest first."""
    now, actor = timezone.now(), actor_of(request)
    given = {name: [str(value) for value in values] for name, values in request.GET.lists()}
    wanted = search_of(given, shelf="compute", limit=PAGE)
    usable = search_offers(actor, replace(wanted, live=True, limit=USABLE_MAX, after=""), now=now)
    others = search_offers(actor, replace(wanted, live=False), now=now)
    values: defaultdict[str, set[str]] = defaultdict(set)
    for shown in (*usable.facets, *others.facets):
        values[shown.facet.code] |= {one.value.value for one in shown.values}
    return render(
        request,
        "pages/shelf.html",
        {
            "here": "shelf",
            "usable": [] if wanted.after else [label_of(offer) for offer in usable.items],
            "shown_only": [] if wanted.live else [label_of(offer) for offer in others.items],
            "accelerators": accelerator_choices(values["accelerator"]),
            "regions": sorted(values["region"]),
            "chosen": {
                "accelerator": "".join(wanted.chosen.get("accelerator", ())[:1]),
                "region": "".join(wanted.chosen.get("region", ())[:1]),
                "live": wanted.live,
            },
            "more": _address_after(request, others.next) if others.next and not wanted.live else "",
        },
    )


@require_http_methods(["GET", "POST"])
@page("quote.ask")
def quote(request: HttpRequest) -> HttpResponse:
    """Say what to run; see ranked plans, each with who would pay what."""
    actor = actor_of(request)
    form = QuoteAsk(request.POST or None, initial=_wished(request))
    context: dict[str, Any] = {"here": "quote", "form": form, "quotes": [], "refused": []}
    if request.method == "POST" and form.is_valid():
        organisation_id, project_id = _buyer(request)
        try:
            found = quote_run(
                actor=actor,
                organisation_id=organisation_id,
                project_id=project_id,
                task=parse_task(dump_task(form.task())),
                workdir=[],
                choice="auto",
                now=timezone.now(),
            )
        except DomainError as refusal:
            context["problem"] = said_of(refusal)
        else:
            context["quotes"] = [QuoteShown.of(one) for one in found.quotes]
            context["refused"] = refused_groups(found)
    return render(request, "pages/quote.html", context)


@require_POST
@page("order.place")
def accept(request: HttpRequest, quote_id: str) -> HttpResponse:
    """Place the order of a quote; pressing the button twice places one."""
    order = accept_quote(
        actor=actor_of(request),
        quote_id=Quote.key_of(quote_id),
        idempotency_key=request.POST.get("key", quote_id),
        now=timezone.now(),
    )
    return redirect("order", order.public_id)


@require_GET
@page("order.read")
def orders(request: HttpRequest) -> HttpResponse:
    """The organisation's orders, newest first."""
    rows, more = _paged(request, orders_visible_to(actor_of(request)))
    return render(
        request,
        "pages/orders.html",
        {"here": "orders", "orders": [OrderShown.of(row) for row in rows], "more": more},
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
    run = RunShown.of_order(actor, row, now=timezone.now(), with_log=with_log)
    return {
        "here": "orders",
        "order": OrderShown.of(row, cost=run.cost if run else None),
        "run": run,
        "may_cancel": allows(actor, "order.cancel", row.organisation_id),
    }


@require_POST
@page("order.cancel")
def cancel(request: HttpRequest, order_id: str) -> HttpResponse:
    """Stop the order's run, or cancel what has not started."""
    cancel_order(actor=actor_of(request), order_id=Order.key_of(order_id), now=timezone.now())
    messages.success(request, _("The run is being stopped; what is left of the hold comes back."))
    return redirect("order", order_id)


@require_GET
@page("receipt.read")
def receipt(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """The receipt, as on a till; it prints well."""
    row = receipts_visible_to(actor_of(request)).filter(id=Receipt.key_of(receipt_id)).first()
    if row is None:
        raise NotFound(_("There is no such receipt."), hint=_("See the list of your orders."))
    return render(
        request,
        "pages/receipt.html",
        {
            "here": "orders",
            "receipt": receipt_shown(row),
            "verify_url": reverse("verify", args=[row.number, code_of(row)]),
        },
    )


@require_GET
@page("hub.look")
def verify(request: HttpRequest, number: str, code: str) -> HttpResponse:
    """Whether a receipt that somebody shows is one of this hub's: its hash and totals, no more."""
    row = receipt_numbered(number)
    genuine = row is not None and compare_digest(code_of(row).encode(), code.encode())
    return render(
        request,
        "pages/verify.html",
        {"number": number, "receipt": row if genuine else None},
        status=200 if genuine else 404,
    )


@require_http_methods(["GET", "POST"])
@page("self.read")
def account(request: HttpRequest) -> HttpResponse:
    """Balance, vouchers, tokens: what one has and how to reach it from elsewhere."""
    actor, now = actor_of(request), timezone.now()
    new_token = None
    if request.method == "POST" and "revoke" in request.POST:
        revoke_token(actor=actor, token_id=ApiToken.key_of(request.POST["revoke"]), now=now)
        messages.success(request, _("The token is revoked: nothing can use it any more."))
        return redirect("account")
    if request.method == "POST":
        _token, new_token = make_token(
            actor=actor,
            name=request.POST.get("name", "").strip() or "token",
            scopes=sorted(ALL_SCOPES),
            organisation_id=actor.organisation_id,
            expires_at=now + TOKEN_LIFE,
            now=now,
        )
    return render(
        request,
        "pages/account.html",
        {
            "here": "account",
            "vouchers": vouchers_shown(actor),
            "tokens": tokens_of(actor),
            "new_token": new_token,
            "founding": Founding(),
            "days": TOKEN_LIFE.days,
        },
    )


@require_POST
@page("self.change")
def choose_organisation(request: HttpRequest) -> HttpResponse:
    """Speak for another of one's organisations, in this session."""
    chosen = Organisation.key_of(request.POST.get("organisation", ""))
    if chosen not in actor_of(request).organisation_ids:
        raise NotFound(_("You do not belong to this organisation."), hint=_("Ask for an invitation."))
    request.session["organisation_id"] = str(chosen)
    return redirect("account")


@require_POST
@page("organisation.found")
def found(request: HttpRequest) -> HttpResponse:
    """An organisation of one's own, for those who signed up without one."""
    form = Founding(request.POST)
    user = request.user
    if not form.is_valid() or not isinstance(user, User):
        return render(request, "pages/account.html", {"here": "account", "founding": form}, status=422)
    form.found(user)
    return redirect("account")


@require_http_methods(["GET", "POST"])
@page("hub.enter")
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """What one is invited to; accepting takes a press of the button, since mail readers open links by themselves."""
    if request.method == "POST":
        membership = accept_invitation(actor=actor_of(request), secret=secret, now=timezone.now())
        request.session["organisation_id"] = str(membership.organisation_id)
        messages.success(request, _("Welcome to %s.") % membership.organisation.name)
        return redirect("account")
    row = invitation_with(secret)
    if row is None:
        raise NotFound(
            _("There is no such invitation."),
            hint=_("Compare the address with the letter, or ask for a new one."),
        )
    context = {
        "invitation": row,
        "role": role_name(row.role),
        "over": row.state != InvitationState.OPEN or row.expires_at <= timezone.now(),
        "is_yours": actor_of(request).label.lower() == row.email.lower(),
    }
    return render(request, "pages/invitation.html", context)


def _wished(request: HttpRequest) -> dict[str, str]:
    """What the quote's form starts with: a first command, and the accelerator of the label that was pressed."""
    return {"run": FIRST_COMMAND, "name": "first-run", "accelerators": request.GET.get("accelerators", "")}


def _buyer(request: HttpRequest) -> tuple[UUID, UUID]:
    """The organisation for which the person buys, and its first project.

    Raises:
        NotFound: they belong to no organisation.
    """
    actor = actor_of(request)
    owned = projects_visible_to(actor)
    project = owned.filter(organisation_id=actor.organisation_id).first() if actor.organisation_id else None
    if actor.organisation_id is None or project is None:
        raise NotFound(
            _("You belong to no organisation yet."), hint=_("Found one, or ask for an invitation.")
        )
    return actor.organisation_id, project.id


def _paged(request: HttpRequest, rows: Any) -> tuple[list[Any], str]:
    """One page of `rows`, and the address of the next one."""
    items, after = page_of(rows, request.GET.get("cursor"), PAGE)
    return items, _address_after(request, after) if after else ""


def _address_after(request: HttpRequest, cursor: str) -> str:
    """The address of the page behind `cursor`, with all that this one asks for."""
    kept = {name: values for name, values in request.GET.lists() if name != "cursor"}
    return "?" + urlencode({**kept, "cursor": cursor}, doseq=True)
