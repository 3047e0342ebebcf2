"""A supplier's pools: what they are, what is free, what was promised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.compute.models import Pool
from mosu.compute.queries import (
    Used,
    blackouts_visible_to,
    nodes_visible_to,
    pools_visible_to,
    utilisation_of,
    why_not_live,
)
from mosu.compute.services import set_placing, set_pool_state
from mosu.compute.states import Placing, PoolState
from mosu.compute.stocks import NOTHING, Figures, free_of, standing_of, stocks_of
from mosu.compute.supply import (
    Promised,
    drift_of_node,
    nodes_unwell,
    pool_at_work,
    pool_visible_to,
    promised_of,
)
from mosu.compute.volume_shelf import standing_of as room_standing
from mosu.compute.volumes import SHELF as VOLUMES
from mosu.compute.volumes import room_sold, taken_gb
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period, last_days
from mosu.market.hub import hub_zone
from mosu.market.queries import offers_visible_to, shown_as
from mosu.market.shelves import Delivery, Place, Standing
from mosu.platform.actors import HubRole
from mosu.platform.models import Capability
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.components import Bar, Bars, Fact, Tab
from mosu.web.labels import accelerator_name, delivered_of, label_of
from mosu.web.navigation import address_of
from mosu.web.pages import organisations_known, page, why_of
from mosu.web.places import region_named
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.agents import agent_steps
from mosu.web.words import said_here, state_name_lazy, supplier_named, words_of_liveness

WEEK: Final = timedelta(days=7)
DAYS: Final = 14
SHOWN_MAX: Final = 12
SKEW_S_MAX: Final = 5
"""A clock further off than this is said to be: leases and usage are timed by the hub's."""


@dataclass(frozen=True, slots=True)
class PoolShown:
    """A pool in a list or on its page."""

    pool: Pool
    now: datetime
    stocks: Mapping[str, Figures]
    """By accelerator's id; cores by none."""
    promised: Promised

    @property
    def public_id(self) -> str:
        return self.pool.public_id

    @property
    def state(self) -> str:
        return f"pool_{self.pool.state}"

    def standing(self, shelf: str, place: Place) -> Standing:
        """How goods of the pool stand at the counter, by what was read of it already."""
        if shelf == VOLUMES:
            return room_standing(self.pool, taken_gb([self.pool.id]), now=self.now)
        return standing_of(self.pool, self.stocks.get(place[1], NOTHING), now=self.now)

    @property
    def why_not_live(self) -> str:
        return words_of_liveness(why_not_live(self.pool, now=self.now))

    @property
    def last_word(self) -> str:
        return seen_ago(self.pool.last_seen_at, now=self.now)

    @property
    def agent(self) -> str:
        return f"{self.pool.engine} {self.pool.agent_version}".strip()

    @property
    def cores(self) -> Figures:
        return self.stocks.get("", NOTHING)

    @property
    def cards(self) -> list[tuple[str, Figures]]:
        """By accelerator's name."""
        return [(accelerator_name(one), self.stocks[one]) for one in sorted(self.stocks) if one]

    @property
    def cores_free(self) -> str:
        return _of(self.cores)

    @property
    def cards_free(self) -> str:
        return "; ".join(f"{name} {_of(figures)}" for name, figures in self.cards)

    @property
    def skew(self) -> str:
        return _skew(self.pool) if self.pool.last_seen_at else ""

    @property
    def used(self) -> str:
        """Of its cards where it has any: they are what it sells."""
        part = self.promised.cards if self.promised.cards is not None else self.promised.cores
        return "" if part is None else f"{part:.0%}"


def _of(figures: Figures) -> str:
    return f"{free_of(figures):,} / {figures[0]:,}"


def _skew(pool: Pool) -> str:
    return f"{round(pool.clock_skew_s, 1) + 0:+.1f} s"


def seen_ago(at: datetime | None, *, now: datetime) -> str:
    """How long ago an agent was heard of."""
    if at is None:
        return _("never")
    seconds = max(0, int((now - at).total_seconds()))
    for size, text in ((86_400, _("%d d ago")), (3600, _("%d h ago")), (60, _("%d min ago"))):
        if seconds >= size:
            return text % (seconds // size)
    return _("%d s ago") % seconds


def pools_shown(pools: Sequence[Pool], *, now: datetime) -> list[PoolShown]:
    """Each pool with its stock and the last seven days: as many queries for fifty as for one."""
    ids = [pool.id for pool in pools]
    stocks = stocks_of(ids, now=now)
    promised = promised_of(ids, span=Period(now - WEEK, now))
    return [
        PoolShown(
            pool=pool,
            now=now,
            stocks={what: figures for (pool_id, what), figures in stocks.items() if pool_id == pool.id},
            promised=promised[pool.id],
        )
        for pool in pools
    ]


POOL_STATES: Final = tuple((one.value, state_name_lazy(f"pool_{one.value}")) for one in PoolState)
POOLS: Final = Plan(
    name="pools",
    title=_lazy("Pools"),
    columns=(
        Column(
            "name",
            _lazy("Pool"),
            lambda one: one.pool.name,
            sort="name",
            href=lambda one: reverse("pool", args=[one.public_id]),
        ),
        Column("supplier", _lazy("Supplier"), lambda one: supplier_named(one.pool.organisation.name)),
        Column("state", _lazy("State"), lambda one: one.state, kind="state", sort="state"),
        Column("live", _lazy("Why not on sale"), lambda one: one.why_not_live),
        Column("seen", _lazy("Agent heard"), lambda one: one.last_word),
        Column("agent", _lazy("Engine, agent"), lambda one: one.agent, hidden=True),
        Column("skew", _lazy("Clock off by"), lambda one: one.skew, kind="mono", hidden=True),
        Column(
            "region", _lazy("Region"), lambda one: region_named(one.pool.region), sort="region", hidden=True
        ),
        Column("cores", _lazy("Cores free"), lambda one: one.cores_free, kind="mono"),
        Column("cards", _lazy("Cards free"), lambda one: one.cards_free),
        Column("used", _lazy("Promised, 7 days"), lambda one: one.used, kind="mono"),
        Column(
            "made", _lazy("Made"), lambda one: one.pool.created_at, kind="day", sort="created_at", hidden=True
        ),
    ),
    order="name",
    filters=(
        Filter("state", _lazy("State"), lambda rows, state: rows.filter(state=state), POOL_STATES),
        Filter("name", _lazy("Name"), lambda rows, name: rows.filter(name__icontains=name)),
    ),
    empty=Empty(_lazy("No pools yet.")),
)


@require_GET
@page("pool.read")
def pools(request: HttpRequest) -> HttpResponse:
    """The supplier's pools; all of them for the hub's people."""
    actor, now = actor_of(request), timezone.now()
    return list_page(
        request,
        "pages/pools.html",
        POOLS,
        pools_visible_to(actor),
        prepare=lambda rows: pools_shown(rows, now=now),
        context={"may_make": _may_make(request), **agent_steps()},
    )


def _may_make(request: HttpRequest) -> bool:
    """Whether the person manages a supplier; said of what the frame knows already."""
    actor = actor_of(request)
    return HubRole.OPERATOR in actor.hub_roles or any(
        Capability.SUPPLIER in one.capabilities and allows(actor, "pool.manage", one.id)
        for one in organisations_known(request)
    )


@require_GET
@page("pool.read")
def pool(request: HttpRequest, pool_id: str) -> HttpResponse:
    """One pool: what is free, what was promised by day, its agent, its offers, what its supplier can do."""
    actor, now, zone = actor_of(request), timezone.now(), hub_zone()
    row, running, waiting = pool_at_work(actor, Pool.key_of(pool_id))
    [seen] = pools_shown([row], now=now)
    days = utilisation_of(actor, row.id, span=last_days(DAYS, now=now, zone=zone), zone=zone)
    offers = list(offers_visible_to(actor).filter(subject_id=row.id)[:SHOWN_MAX])
    sold = room_sold(row.id)
    kept = blackouts_visible_to(actor, now=now).filter(node__pool=row)
    context = {
        "pool": row,
        "shown": seen,
        "tabs": tabs_of(row, "pool"),
        "stocks": [(name, *_cells(figures)) for name, figures in [(_("cores"), seen.cores), *seen.cards]],
        "room_free": max(0, row.volumes_gb - sold.gb),
        "room_sold": sold,
        "bars": _bars(days),
        "facts": _agent_facts(row, now=now),
        "running": running,
        "waiting": waiting,
        "offers": [label_of(one) for one in shown_as(offers, now=now, standing=seen.standing)],
        "blackouts": list(kept.order_by("period", "id")[:SHOWN_MAX]),
        "may_manage": allows(actor, "pool.manage", row.organisation_id),
        "may_offer": bool(address_of("new_offer")),
        "unwell": [
            (one, said_here(one.unfit_why), [said_here(text) for text in drift_of_node(one)])
            for one in nodes_unwell(nodes_visible_to(actor).filter(pool=row))[:SHOWN_MAX]
        ],
        "never_seen": row.registered_at is None and row.state != PoolState.CLOSED,
        **agent_steps(),
    }
    return render(request, "pages/pool.html", context)


def tabs_of(row: Pool, current: str) -> list[Tab]:
    """The views of one pool."""
    return [
        Tab(title, reverse(name, args=[row.public_id]), name == current)
        for name, title in (
            ("pool", _("Overview")),
            ("pool_nodes", _("Nodes")),
            ("pool_work", _("Work")),
            ("pool_queue", _("Queue")),
            ("pool_calendar", _("Calendar")),
            ("pool_blackouts", _("Blackouts")),
        )
    ]


def _cells(figures: Figures) -> tuple[int, int, int]:
    return free_of(figures), *figures[1:]


def _bars(days: Sequence[Used]) -> list[Bars]:
    """Cards first: they are what a pool that has some sells."""
    cards = [(one.day, one.cards_promised, one.cards_capacity) for one in days]
    cores = [(one.day, one.promised, one.capacity) for one in days]
    return [
        Bars(
            title,
            unit,
            [Bar(f"{day:%m-%d}", promised, capacity, day.isoformat()) for day, promised, capacity in figures],
        )
        for title, unit, figures in (
            (_("Cards promised by day"), _("card-hours"), cards),
            (_("Cores promised by day"), _("core-hours"), cores),
        )
        if any(capacity for _day, _promised, capacity in figures)
    ]


def _agent_facts(row: Pool, *, now: datetime) -> list[Fact]:
    if row.last_seen_at is None:
        return [Fact(_("Agent"), _("never heard of"))]
    skew = abs(row.clock_skew_s)
    off = _("The machine's clock is off: set it by NTP.") if skew > SKEW_S_MAX else ""
    room = _("%(n)s GB") % {"n": f"{row.volumes_gb:,}"}
    names = ", ".join(f"{one['name']} {one.get('python', '')}".strip() for one in row.environments)
    return [
        Fact(_("Last word"), seen_ago(row.last_seen_at, now=now)),
        Fact(_("Engine"), row.engine or "—"),
        Fact(_("Agent's version"), row.agent_version or "—"),
        Fact(_("Runs on"), row.agent_host or "—"),
        Fact(_("Sandbox"), row.sandbox or "—", "" if row.sandbox_ok else _("Nothing is leased without one.")),
        Fact(_("Environments"), names or "—"),
        Fact(_("Images of containers"), ", ".join(row.images) or "—"),
        Fact(_("Room for volumes"), room if row.volumes_gb else _("none is sold")),
        Fact(_("Sessions"), _("sold") if row.reaches else _("not sold: its engine joins nobody to them")),
        Fact(_("Clock off by"), _skew(row), off),
        Fact(_("Delivery"), delivered_of(Delivery(row.ordered_s, row.delivered_s))),
        Fact(_("Token made"), timezone.localtime(row.token_made_at).strftime("%Y-%m-%d %H:%M")),
    ]


@require_POST
@page("pool.manage")
def pool_placing(request: HttpRequest, pool_id: str) -> HttpResponse:
    """Pack or spread what is ordered of a pool from now on."""
    actor = actor_of(request)
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    to = Placing.SPREAD if request.POST.get("to") == Placing.SPREAD else Placing.PACK
    set_placing(actor=actor, pool_id=row.id, to=to, now=timezone.now())
    is_packed = to is Placing.PACK
    messages.success(
        request,
        _("What is ordered from now on is packed.")
        if is_packed
        else _("What is ordered from now on is spread."),
    )
    return redirect("pool", row.public_id)


@require_POST
@page("pool.manage")
def pool_state(request: HttpRequest, pool_id: str) -> HttpResponse:
    """Open, drain or close a pool; closing is for good, so its name is typed."""
    actor = actor_of(request)
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    to = request.POST.get("to", "")
    if to not in set(PoolState):
        raise Invalid(_("Where shall the pool be moved?"), hint=_("Open, drain or close it."), field="to")
    if to == PoolState.CLOSED and request.POST.get("typed", "").strip() != row.name:
        raise Invalid(
            _("Nothing was closed: the name does not match."),
            hint=_("Closing is for good. Type the pool's name as it stands in its title."),
            field="typed",
        )
    set_pool_state(
        actor=actor,
        pool_id=row.id,
        to=PoolState(to),
        why=why_of(request),
        now=timezone.now(),
    )
    said = {
        PoolState.OPEN: _("The pool is open: its offers are on sale."),
        PoolState.DRAINING: _("The pool is draining: nothing new is sold; what was sold goes on."),
        PoolState.CLOSED: _("The pool is closed."),
    }
    messages.success(request, said[PoolState(to)])
    return redirect("pool", row.public_id)
