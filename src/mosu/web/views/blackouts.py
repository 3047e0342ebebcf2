"""When a supplier keeps machines for itself: the spans of a pool, setting one, lifting one."""

from datetime import datetime
from typing import Final

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.compute.models import Blackout, Node, Pool
from mosu.compute.queries import blackouts_visible_to
from mosu.compute.services import AlreadyTaken, lift_blackout, set_blackout, span_between
from mosu.compute.states import BlackoutKind
from mosu.compute.supply import pool_visible_to
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.pages import page
from mosu.web.presenters import moment
from mosu.web.tables import Column, Empty, Plan, list_page
from mosu.web.views.pools import tabs_of
from mosu.web.words import said_of

_LOCAL: Final = "%Y-%m-%dT%H:%M"
KINDS: Final = (
    (BlackoutKind.MAINTENANCE.value, pgettext_lazy("blackout", "maintenance")),
    (BlackoutKind.ELSEWHERE.value, pgettext_lazy("blackout", "sold elsewhere")),
)
BLACKOUTS: Final = Plan(
    name="blackouts",
    title=_lazy("Blackouts"),
    columns=(
        Column(
            "node",
            _lazy("Node"),
            lambda one: one.node.name,
            href=lambda one: reverse("node", args=[one.node.public_id]),
        ),
        Column("from", _lazy("Begins"), lambda one: one.period.lower, kind="time"),
        Column("to", _lazy("Ends"), lambda one: one.period.upper, kind="time"),
        Column("kind", _lazy("What for"), lambda one: str(dict(KINDS)[one.kind])),
        Column("why", _lazy("Why"), lambda one: one.why),
        Column("set", _lazy("Set at"), lambda one: one.created_at, kind="time", sort="created_at"),
    ),
    order="-set",
    empty=Empty(
        _lazy("No blackouts."),
        _lazy("To keep a machine for yourself for a while, open it under Nodes and say from when to when."),
    ),
)


class NewBlackout(forms.Form):
    """From when to when a node is kept, in the hub's zone."""

    starts_at = forms.DateTimeField(
        label=_lazy("Begins"),
        input_formats=[_LOCAL, "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL),
    )
    ends_at = forms.DateTimeField(
        label=_lazy("Ends"),
        input_formats=[_LOCAL, "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=_LOCAL),
    )
    kind = forms.ChoiceField(label=_lazy("What for"), choices=KINDS, required=False)
    why = forms.CharField(
        label=_lazy("Why"), max_length=200, help_text=_lazy("Kept on record; buyers do not see it.")
    )


@require_GET
@page("pool.read")
def blackouts(request: HttpRequest, pool_id: str) -> HttpResponse:
    """The spans, now and to come, in which nodes of the pool are not sold."""
    actor, now = actor_of(request), timezone.now()
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    rows = blackouts_visible_to(actor, now=now).filter(node__pool=row)
    return list_page(
        request,
        "pages/pool_list.html",
        BLACKOUTS,
        rows,
        context={"pool": row, "tabs": tabs_of(row, "pool_blackouts")},
    )


def keep(request: HttpRequest, row: Node, form: NewBlackout, *, now: datetime) -> bool:
    """Keep the node as `form` says, and say so; whether it was: refused, the form says why."""
    try:
        kept = set_blackout(
            actor=actor_of(request),
            node_id=row.id,
            period=span_between(form.cleaned_data["starts_at"], form.cleaned_data["ends_at"]),
            kind=BlackoutKind(form.cleaned_data["kind"] or BlackoutKind.MAINTENANCE),
            why=form.cleaned_data["why"],
            now=now,
        )
    except DomainError as refusal:
        form.add_error(None, _why_not(refusal))
        return False
    messages.success(
        request,
        _("%(node)s is yours from %(start)s to %(end)s: nothing new is placed there.")
        % {"node": row.name, "start": moment(kept.period.lower), "end": moment(kept.period.upper)},
    )
    return True


def _why_not(refusal: DomainError) -> str:
    """A refusal of a blackout; what holds the node is said with until when, in the hub's zone."""
    until = refusal.facts.get("until")
    if isinstance(refusal, AlreadyTaken) and isinstance(until, str):
        at = timezone.localtime(datetime.fromisoformat(until)).strftime("%Y-%m-%d %H:%M")
        if "orders" in refusal.facts:
            return (
                _(
                    "Orders hold this node until %s. What was sold stays sold: drain the node, and start after that."
                )
                % at
            )
        return (
            _("Another blackout covers part of this span, until %s. Lift that one first, or start after it.")
            % at
        )
    if isinstance(refusal, Invalid):
        return _(
            "This span cannot be kept: let it end after it starts, later than now, and start within a year."
        )
    said = said_of(refusal)
    return f"{said.message} {said.hint}"


@require_POST
@page("pool.manage")
def blackout_lift(request: HttpRequest, blackout_id: str) -> HttpResponse:
    """Sell from the node again."""
    actor, now = actor_of(request), timezone.now()
    row: Blackout = row_of(blackouts_visible_to(actor, now=now), blackout_id)
    lift_blackout(actor=actor, blackout_id=row.id, now=now)
    messages.success(request, _("The blackout is lifted: %s is on sale again.") % row.node.name)
    return redirect("node", row.node.public_id)
