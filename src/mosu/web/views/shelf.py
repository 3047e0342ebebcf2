"""From a question to an order: ranked quotes, the press of the button."""

from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from mosu.compute.services import quote_run
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.models import Quote
from mosu.market.services import accept_quote
from mosu.platform.queries import projects_visible_to
from mosu.platform.requests import actor_of
from mosu.web.forms import QuoteAsk
from mosu.web.pages import page
from mosu.web.presenters import QuoteShown, refused_groups
from mosu.web.words import said_of
from mosu.wire.task import dump_task, parse_task

FIRST_COMMAND: Final = 'python3 -c \'print("hello from", __import__("platform").node())\''


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
