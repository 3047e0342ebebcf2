"""The machines of a pool: what each has, what runs there, when its supplier keeps it for itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.models import Attempt, Blackout, Node, Pool
from mosu.compute.queries import blackouts_visible_to, nodes_visible_to
from mosu.compute.services import (
    AlreadyTaken,
    check_now,
    lift_blackout,
    publish_node,
    set_blackout,
    set_node_state,
    span_between,
)
from mosu.compute.states import HELD, AttemptState, BlackoutKind, Fitness, NodeState
from mosu.compute.supply import NodeNow, attempts_at, attempts_in, drift_of_node, nodes_now, pool_visible_to
from mosu.kernel.refusals import DomainError, Invalid
from mosu.market.models import SoldBy
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.labels import accelerator_name
from mosu.web.pages import page, why_of
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.pools import tabs_of
from mosu.web.words import said_here, said_of, state_name_lazy

_LOCAL: Final = "%Y-%m-%dT%H:%M"
_GIB: Final = 2**30
CHECKS: Final = 8


@dataclass(frozen=True, slots=True)
class NodeShown:
    """A node with what holds it now."""

    node: Node
    now_at: NodeNow
    now: datetime

    @property
    def state(self) -> str:
        return f"node_{self.node.state}"

    @property
    def is_kept(self) -> bool:
        return self.now_at.blackout_at(self.now) is not None

    @property
    def is_sold(self) -> bool:
        """Whether new work may be placed on it now."""
        return self.node.state == NodeState.UP and self.node.fitness == Fitness.FIT and not self.is_kept

    @property
    def health(self) -> str:
        return f"node_{self.node.fitness}"

    @property
    def drift(self) -> list[str]:
        return [said_here(text) for text in drift_of_node(self.node)]

    @property
    def cores(self) -> str:
        free = max(0, self.node.cores - self.now_at.cores) if self.is_sold else 0
        return f"{free:,} / {self.node.cores:,}"

    @property
    def memory(self) -> str:
        free = max(0, self.node.memory_bytes - self.now_at.memory_bytes) if self.is_sold else 0
        return f"{free // _GIB:,} / {self.node.memory_bytes // _GIB:,}"

    @property
    def cards(self) -> str:
        counts: dict[str, tuple[int, int]] = {}
        for device in self.node.devices.all():
            if device.present:
                free, total = counts.get(device.accelerator, (0, 0))
                is_free = self.is_sold and device.index not in self.now_at.cards
                counts[device.accelerator] = (free + is_free, total + 1)
        return "; ".join(
            f"{accelerator_name(code)} {free} / {total}" for code, (free, total) in counts.items()
        )

    @property
    def kept(self) -> str:
        """The blackout that it is in, else the next one."""
        if not self.now_at.blackouts:
            return ""
        one = self.now_at.blackouts[0]
        if one.period.lower <= self.now:
            return _("until %s") % _said(one.period.upper)
        return _("from %s") % _said(one.period.lower)


def _said(at: datetime) -> str:
    return timezone.localtime(at).strftime("%m-%d %H:%M")


NODES: Final = Plan(
    name="nodes",
    title=_lazy("Nodes"),
    columns=(
        Column(
            "name",
            _lazy("Node"),
            lambda one: one.node.name,
            sort="name",
            href=lambda one: reverse("node", args=[one.node.public_id]),
        ),
        Column("state", _lazy("State"), lambda one: one.state, kind="state", sort="state"),
        Column("health", _lazy("Health"), lambda one: one.health, kind="state", sort="fitness"),
        Column("drift", _lazy("Drift"), lambda one: " ".join(one.drift), hidden=True),
        Column("cores", _lazy("Cores free"), lambda one: one.cores, kind="mono", sort="cores"),
        Column("memory", _lazy("GiB free"), lambda one: one.memory, kind="mono", sort="memory_bytes"),
        Column("cards", _lazy("Cards free"), lambda one: one.cards),
        Column("runs", _lazy("Attempts here"), lambda one: len(one.now_at.attempts), kind="number"),
        Column("kept", _lazy("Blackout"), lambda one: one.kept),
        Column(
            "since",
            _lazy("Known since"),
            lambda one: one.node.created_at,
            kind="day",
            sort="created_at",
            hidden=True,
        ),
    ),
    order="name",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(f"node_{state.value}")) for state in NodeState],
        ),
        Filter("name", _lazy("Name"), lambda rows, name: rows.filter(name__icontains=name)),
    ),
    empty=Empty(
        _lazy("No nodes yet."), _lazy("The agent lists its machines as soon as it is started beside them.")
    ),
)


@dataclass(frozen=True, slots=True)
class AttemptShown:
    """An attempt as the supplier sees it: its order and what it takes, not what the buyer runs."""

    attempt: Attempt
    order_id: str
    order_number: str
    buyer: str
    node: str
    cores: int | None
    cards: int | None
    ends_by: datetime | None

    @classmethod
    def of(cls, attempt: Attempt, *, sees_all: bool) -> "AttemptShown":
        order = attempt.run.order
        place = max(attempt.allocations.all(), key=lambda one: (one.live, one.id), default=None)
        tells = sees_all or order.quote.terms["sold_by"] == SoldBy.SUPPLIER
        return cls(
            attempt=attempt,
            order_id=order.public_id if sees_all else "",
            order_number=order.number,
            buyer=order.quote.organisation.name if tells else "",
            node=place.node.name if place else "",
            cores=place.cores if place else None,
            cards=len(place.devices.all()) if place else None,
            ends_by=place.period.upper if place and place.live else None,
        )


_OPEN: Final = [AttemptState.WAITING.value, *(state.value for state in HELD)]
WORK: Final = Plan(
    name="work",
    title=_lazy("Work"),
    columns=(
        Column(
            "order",
            _lazy("Order"),
            lambda one: one.order_number,
            href=lambda one: reverse("order", args=[one.order_id]) if one.order_id else "",
        ),
        Column("state", _lazy("State"), lambda one: one.attempt.state, kind="state", sort="state"),
        Column("node", _lazy("Node"), lambda one: one.node),
        Column("cores", _lazy("Cores"), lambda one: one.cores, kind="number"),
        Column("cards", _lazy("Cards"), lambda one: one.cards, kind="number"),
        Column("made", _lazy("Bought"), lambda one: one.attempt.created_at, kind="time", sort="created_at"),
        Column("started", _lazy("Started"), lambda one: one.attempt.started_at, kind="time"),
        Column("ended", _lazy("Ended"), lambda one: one.attempt.ended_at, kind="time"),
        Column("by", _lazy("Ends by"), lambda one: one.ends_by, kind="time"),
        Column("buyer", _lazy("Buyer"), lambda one: one.buyer, hidden=True),
        Column("try", _lazy("Attempt no."), lambda one: one.attempt.epoch, kind="number", hidden=True),
    ),
    order="-made",
    filters=(
        Filter(
            "now",
            _lazy("Now"),
            lambda rows, now: (
                rows.filter(state__in=_OPEN) if now == "open" else rows.exclude(state__in=_OPEN)
            ),
            [("open", _lazy("running or waiting")), ("ended", _lazy("ended"))],
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state.value, state_name_lazy(state.value)) for state in AttemptState],
        ),
    ),
    empty=Empty(
        _lazy("Nothing has run here yet."), _lazy("What is bought of this pool appears here, newest first.")
    ),
)

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
def nodes(request: HttpRequest, pool_id: str) -> HttpResponse:
    """The pool's machines."""
    actor, now = actor_of(request), timezone.now()
    row = pool_visible_to(actor, Pool.key_of(pool_id))

    return list_page(
        request,
        "pages/pool_list.html",
        NODES,
        nodes_visible_to(actor).filter(pool=row),
        prepare=lambda found: _nodes_shown(found, now=now),
        context=_around(row, "pool_nodes"),
    )


def _nodes_shown(rows: Sequence[Node], *, now: datetime) -> list[NodeShown]:
    """Each node with what holds it: as many queries for fifty as for one."""
    held = nodes_now(rows, now=now)
    return [NodeShown(one, held[one.id], now) for one in rows]


@require_GET
@page("pool.read")
def work(request: HttpRequest, pool_id: str) -> HttpResponse:
    """What runs, waits and ran in the pool."""
    actor = actor_of(request)
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    return list_page(
        request,
        "pages/pool_list.html",
        WORK,
        attempts_at(actor, row.id),
        prepare=lambda found: [AttemptShown.of(one, sees_all=actor.sees_all) for one in found],
        context=_around(row, "pool_work"),
    )


@require_GET
@page("pool.read")
def blackouts(request: HttpRequest, pool_id: str) -> HttpResponse:
    """The spans, now and to come, in which nodes of the pool are not sold."""
    actor, now = actor_of(request), timezone.now()
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    rows = blackouts_visible_to(actor, now=now).filter(node__pool=row)
    return list_page(request, "pages/pool_list.html", BLACKOUTS, rows, context=_around(row, "pool_blackouts"))


def _around(row: Pool, current: str) -> dict[str, Any]:
    return {"pool": row, "tabs": tabs_of(row, current)}


@require_http_methods(["GET", "POST"])
@page("pool.read")
def node(request: HttpRequest, node_id: str) -> HttpResponse:
    """One machine: its cards, what runs there, its blackouts; a post keeps it for a while."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(nodes_visible_to(actor), node_id)
    form = NewBlackout(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            kept = set_blackout(
                actor=actor,
                node_id=row.id,
                period=span_between(form.cleaned_data["starts_at"], form.cleaned_data["ends_at"]),
                kind=BlackoutKind(form.cleaned_data["kind"] or BlackoutKind.MAINTENANCE),
                why=form.cleaned_data["why"],
                now=now,
            )
        except DomainError as refusal:
            form.add_error(None, _why_not(refusal))
        else:
            messages.success(
                request,
                _("%(node)s is yours from %(start)s to %(end)s: nothing new is placed there.")
                % {"node": row.name, "start": _said(kept.period.lower), "end": _said(kept.period.upper)},
            )
            return redirect("node", row.public_id)
    status = 422 if form.errors else 200
    return render(request, "pages/node.html", _node_context(actor, row, form, now=now), status=status)


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


def _node_context(actor: Actor, row: Node, form: NewBlackout, *, now: datetime) -> dict[str, Any]:
    here = nodes_now([row], now=now)[row.id]
    attempts = attempts_in(row.pool_id).filter(id__in=[one.id for one in here.attempts])
    placed = {one.id: AttemptShown.of(one, sees_all=actor.sees_all) for one in attempts}
    cards = [
        (device, accelerator_name(device.accelerator), placed.get(here.cards.get(device.index, row.id)))
        for device in sorted(row.devices.all(), key=lambda one: one.index)
    ]
    return {
        "node": row,
        "pool": row.pool,
        "shown": NodeShown(row, here, now),
        "cores_free": max(0, row.cores - here.cores),
        "cores_taken": here.cores,
        "cards": cards,
        "attempts": list(placed.values()),
        "checks": [
            (one, said_here(one.why), _measured(one.measures))
            for one in row.checks.order_by("-at", "-id")[:CHECKS]
        ],
        "blackouts": here.blackouts,
        "now": now,
        "form": form,
        "zone": settings.HUB_ZONE,
        "may_manage": allows(actor, "pool.manage", row.pool.organisation_id),
    }


_UNITS: Final = {"bytes": (_GIB, "GiB"), "bytes_per_s": (10**9, "GB/s"), "flops": (10**9, "GFLOPS")}


def _measured(measures: dict[str, float]) -> list[tuple[str, str]]:
    """Each figure of a health test by its name, in a unit that people read; counts of what was wrong are in `why`."""
    names = {
        "cores": _("cores"),
        "memory_bytes": _("memory"),
        "write_bytes_per_s": _("disk writes"),
        "copy_bytes_per_s": _("memory copies"),
        "matrix_flops": _("matrix product"),
        "cards": _("cards"),
        "card_memory_bytes": _("memory of a card"),
        "card_copy_bytes_per_s": _("a card copies"),
        "card_matrix_flops": _("a card's matrix product"),
    }
    shown = []
    for name, title in names.items():
        if measures.get(name):
            ending = next((one for one in _UNITS if name.endswith(one)), "")
            size, unit = _UNITS.get(ending, (1, ""))
            value = measures[name] / size
            shown.append((title, f"{value:,.1f} {unit}" if unit else f"{value:,.0f}"))
    return shown


@require_POST
@page("pool.manage")
def node_check(request: HttpRequest, node_id: str) -> HttpResponse:
    """Have the node's health tested as soon as nothing runs there."""
    actor = actor_of(request)
    row = row_of(nodes_visible_to(actor), node_id)
    check_now(actor=actor, node_id=row.id, now=timezone.now())
    messages.success(request, _("%s is tested as soon as nothing runs there.") % row.name)
    return redirect("node", row.public_id)


@require_POST
@page("pool.manage")
def node_publish(request: HttpRequest, node_id: str) -> HttpResponse:
    """Publish the node as it is found."""
    actor = actor_of(request)
    row = row_of(nodes_visible_to(actor), node_id)
    publish_node(actor=actor, node_id=row.id, now=timezone.now())
    messages.success(
        request, _("%s is published as it is, and is on sale once it has passed its health test.") % row.name
    )
    return redirect("node", row.public_id)


@require_POST
@page("pool.manage")
def node_state(request: HttpRequest, node_id: str) -> HttpResponse:
    """Drain a node, take it down, bring it back."""
    actor = actor_of(request)
    row = row_of(nodes_visible_to(actor), node_id)
    to = request.POST.get("to", "")
    if to not in set(NodeState):
        raise Invalid(
            _("Where shall the node be moved?"),
            hint=_("Drain it, take it down or bring it back."),
            field="to",
        )
    set_node_state(
        actor=actor,
        node_id=row.id,
        to=NodeState(to),
        why=why_of(request),
        now=timezone.now(),
    )
    said = {
        NodeState.UP: _("%s is back on sale."),
        NodeState.DRAINING: _("%s is draining: nothing new is placed there; what runs goes on."),
        NodeState.DOWN: _("%s is down: nothing new is placed there."),
    }
    messages.success(request, said[NodeState(to)] % row.name)
    return redirect("node", row.public_id)


@require_POST
@page("pool.manage")
def blackout_lift(request: HttpRequest, blackout_id: str) -> HttpResponse:
    """Sell from the node again."""
    actor, now = actor_of(request), timezone.now()
    row: Blackout = row_of(blackouts_visible_to(actor, now=now), blackout_id)
    lift_blackout(actor=actor, blackout_id=row.id, now=now)
    messages.success(request, _("The blackout is lifted: %s is on sale again.") % row.node.name)
    return redirect("node", row.node.public_id)
