"""What people do to a run while it runs: give it more time. To a session: keep it, have it stopped, share it."""

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from mosu.compute.models import Guest, Run
from mosu.compute.queries import run_of_order
from mosu.compute.services import end_sharing, keep_run, quote_extension, set_own_idle_stop, share_run
from mosu.kernel.refusals import Invalid, NotFound
from mosu.market.models import Order
from mosu.platform.actors import Actor
from mosu.platform.requests import actor_of
from mosu.web.pages import page

_MINUTES_MAX: Final = 10_080
MORE_MINUTES_MAX: Final = 43_200


class MoreTime(forms.Form):
    """How many more minutes a run is to have."""

    minutes = forms.IntegerField(min_value=1, max_value=MORE_MINUTES_MAX)


class Stopping(forms.Form):
    """After how many minutes without use; empty: by the organisation's rule."""

    minutes = forms.IntegerField(min_value=15, max_value=_MINUTES_MAX, required=False)


@require_POST
@page("run.keep")
def keep(request: HttpRequest, order_id: str) -> HttpResponse:
    """It is still needed, though nobody uses it now."""
    actor = actor_of(request)
    keep_run(actor=actor, run_id=_run(actor, order_id).id, now=timezone.now())
    messages.success(request, _("Kept: the time without use starts anew."))
    return redirect("order", order_id)


@require_POST
@page("run.keep")
def stop_when_unused(request: HttpRequest, order_id: str) -> HttpResponse:
    """Have it stopped when nobody used it for so many minutes."""
    actor, form = actor_of(request), Stopping(request.POST)
    if not form.is_valid():
        raise Invalid(
            _("This is no time after which it can be stopped."),
            hint=_("Choose 15 to %(most)s minutes, or leave it empty.") % {"most": _MINUTES_MAX},
            field="minutes",
        )
    minutes: int | None = form.cleaned_data["minutes"]
    set_own_idle_stop(
        actor=actor,
        run_id=_run(actor, order_id).id,
        stop_after_s=minutes and minutes * 60,
        now=timezone.now(),
    )
    messages.success(
        request,
        _("It is stopped when nobody used it for %(minutes)s minutes.") % {"minutes": minutes}
        if minutes
        else _("It has no time of its own any more: the organisation's rule counts."),
    )
    return redirect("order", order_id)


@require_POST
@page("quote.ask")
def extend(request: HttpRequest, order_id: str) -> HttpResponse:
    """Ask what so many more minutes cost; they are looked at and ordered as anything else."""
    actor, form = actor_of(request), MoreTime(request.POST)
    if not form.is_valid():
        raise Invalid(
            _("This is no time that a run can be given."),
            hint=_("Choose 1 to %(most)s minutes.") % {"most": MORE_MINUTES_MAX},
            field="minutes",
        )
    quote = quote_extension(
        actor=actor,
        run_id=_run(actor, order_id).id,
        seconds=form.cleaned_data["minutes"] * 60,
        choice="auto",
        now=timezone.now(),
    )
    return redirect("checkout", quote.public_id)


@require_POST
@page("run.share")
def share(request: HttpRequest, order_id: str) -> HttpResponse:
    """Let a member in, or with `out` send one out."""
    actor, now = actor_of(request), timezone.now()
    asked: dict[str, Any] = {"actor": actor, "run_id": _run(actor, order_id).id, "now": now}
    if "out" in request.POST:
        end_sharing(guest_id=Guest.key_of(request.POST["out"]), **asked)
        messages.success(request, _("It is shared with them no more; who was connected is cut off."))
    else:
        guest = share_run(email=request.POST.get("email", "")[:254].replace("\x00", ""), **asked)
        messages.success(request, _("%(person)s may connect to it now.") % {"person": guest.user.email})
    return redirect("order", order_id)


def _run(actor: Actor, order_id: str) -> Run:
    run = run_of_order(actor, Order.key_of(order_id))
    if run is None:
        raise NotFound(_("There is no such order."), hint=_("See the list of your orders."))
    return run
