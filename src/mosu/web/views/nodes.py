"""The machines of a pool: what each has, what runs there, how its health tests went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.models import Node, Pool
from mosu.compute.queries import nodes_visible_to
from mosu.compute.services import check_now, publish_node, set_node_state
from mosu.compute.states import Fitness, NodeState
from mosu.compute.supply import NodeNow, attempts_in, drift_of_node, nodes_now, pool_visible_to
from mosu.kernel.refusals import Invalid
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.labels import accelerator_name
from mosu.web.pages import page, why_of
from mosu.web.presenters import moment
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.blackouts import NewBlackout, keep
from mosu.web.views.pools import tabs_of
from mosu.web.views.work import AttemptShown
from mosu.web.words import said_here, state_name_lazy

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
                is_free = self.is_sold and device.index not in self.now_at.cards.keys() | self.now_at.reserved
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
            return _("until %s") % moment(one.period.upper)
        return _("from %s") % moment(one.period.lower)


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
        context={"pool": row, "tabs": tabs_of(row, "pool_nodes")},
    )


def _nodes_shown(rows: Sequence[Node], *, now: datetime) -> list[NodeShown]:
    """Each node with what holds it: as many queries for fifty as for one."""
    held = nodes_now(rows, now=now)
    return [NodeShown(one, held[one.id], now) for one in rows]


@require_http_methods(["GET", "POST"])
@page("pool.read")
def node(request: HttpRequest, node_id: str) -> HttpResponse:
    """One machine: its cards, what runs there, its blackouts; a post keeps it for a while."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(nodes_visible_to(actor), node_id)
    form = NewBlackout(request.POST or None)
    if request.method == "POST" and form.is_valid() and keep(request, row, form, now=now):
        return redirect("node", row.public_id)
    status = 422 if form.errors else 200
    return render(request, "pages/node.html", _node_context(actor, row, form, now=now), status=status)


def _node_context(actor: Actor, row: Node, form: NewBlackout, *, now: datetime) -> dict[str, Any]:
    here = nodes_now([row], now=now)[row.id]
    attempts = attempts_in(row.pool_id).filter(id__in=[one.id for one in here.attempts])
    placed = {one.id: AttemptShown.of(one, sees_all=actor.sees_all) for one in attempts}
    cards = [
        (device, accelerator_name(device.accelerator), placed.get(here.cards.get(device.index, row.id)))
        for device in sorted(row.devices.all(), key=lambda one: (one.card, one.index))
    ]
    return {
        "node": row,
        "pool": row.pool,
        "shown": NodeShown(row, here, now),
        "cores_free": max(0, row.cores - here.cores),
        "cores_taken": here.cores,
        "cards": cards,
        "reserved": here.reserved,
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
