"""Reads of the compute shelf; every list takes the actor."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import F, Prefetch, QuerySet

from mosu.compute.models import (
    WHOLE,
    Allocation,
    Attempt,
    Blackout,
    Connection,
    Device,
    Endpoint,
    Extension,
    IdleRule,
    MeterSample,
    Node,
    Pool,
    PoolShare,
    Quota,
    Run,
)
from mosu.compute.session_apps import environments_with_sshd, start_in
from mosu.compute.states import BlackoutState, PoolState, RunState
from mosu.kernel.refusals import NotFound
from mosu.kernel.time import Period
from mosu.market import rules as market_rules
from mosu.market.models import Order, OrderLine
from mosu.platform.actors import Actor
from mosu.wire.task import App

LIVE: Final = timedelta(seconds=30)
"""A pool is live for so long after the last word of its agent."""

_LISTED: Final = (
    *(
        "id",
        "name",
        "state",
        "request",
        "created_at",
        "started_at",
        "ended_at",
        "exit_code",
        "reason",
        "measures",
        "organisation_id",
        "idle_stop_s",
        "kept_at",
    ),
    *("outputs", "order__total_micros", "order__currency", "order__quote__offer_id", "order__quote__terms"),
    *("pool__state", "pool__last_seen_at", "pool__sandbox_ok", "pool__sandbox", "pool__reaches"),
)
_ATTEMPT_LISTED: Final = (
    *("run_id", "pool_id", "epoch", "state", "started_at", "ended_at", "reason", "expected_at"),
    *("idle_since", "wall_limit_s", "extended_s"),
)
_SHARE_LISTED: Final = ("attempt_id", "period", "live", "node__name")


def runs_visible_to(actor: Actor) -> QuerySet[Run]:
    """Runs of the actor's organisations, or all for the hub's people; newest first."""
    rows = Run.objects.select_related("pool", "order__quote").order_by("-created_at", "-id")
    rows = rows.prefetch_related(
        "attempts", Prefetch("attempts__allocations", Allocation.objects.select_related("node"))
    )
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def runs_listed(actor: Actor) -> QuerySet[Run]:
    """The same with only what a list of them says: whole rows and their frozen documents cost twice as much."""
    shares = Allocation.objects.select_related("node").only(*_SHARE_LISTED)
    attempts = Attempt.objects.only(*_ATTEMPT_LISTED).prefetch_related(Prefetch("allocations", shares))
    rows = runs_visible_to(actor).prefetch_related(None)
    return rows.only(*_LISTED).prefetch_related(Prefetch("attempts", attempts))


def run_visible_to(actor: Actor, run_id: UUID) -> Run:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    run = runs_visible_to(actor).filter(id=run_id).first()
    if run is None:
        raise NotFound("There is no such run.", hint="See your runs: mosu runs.")
    return run


def sessions_of(actor: Actor) -> QuerySet[Run]:
    """Sessions that the actor ordered and that run, the longest first; read with their attempts."""
    rows = runs_visible_to(actor).prefetch_related(None).prefetch_related("attempts")
    rows = rows.filter(state=RunState.RUNNING, request__kind="session", order__placed_by=actor.id)
    return rows.order_by("started_at", "id")


def connections_of(actor: Actor, run_id: UUID) -> QuerySet[Connection]:
    """Who was joined to which port of the run, newest first.

    Raises:
        NotFound: there is no such run, or the actor may not know.
    """
    if not runs_visible_to(actor).filter(id=run_id).exists():
        raise NotFound("There is no such run.", hint="See your runs: mosu runs.")
    return Connection.objects.filter(run_id=run_id).select_related("user").order_by("-opened_at", "-id")


def run_of_order(actor: Actor, order_id: UUID) -> Run | None:
    """The run that the order bought."""
    return runs_visible_to(actor).filter(order_id=order_id).first()


def observed_run(actor: Actor, order_id: UUID) -> Run | None:
    """The run that the order bought, or gave more time, with attempts, allocations and their cards: what the hub
    observed of it."""
    rows = runs_visible_to(actor).prefetch_related("attempts__allocations__devices")
    return rows.filter(order_id=order_id).first() or _given_time(rows, order_id)


def shares_of(attempt: Attempt) -> list[Allocation]:
    """What the attempt has, or had last, of each of its nodes, in the order of the ranks."""
    every = sorted(attempt.allocations.all(), key=lambda one: one.id)
    return [one for one in every if (one.period, one.live) == (every[-1].period, every[-1].live)]


def costs_of(runs: Sequence[Run]) -> Mapping[UUID, int]:
    """What each run's own order has cost so far, in micros: the settled total, before that what counts of its usage."""
    costs = costs_of_orders([run.order for run in runs])
    return {run.id: costs[run.order_id] for run in runs}


def whole_costs_of(runs: Sequence[Run]) -> Mapping[UUID, int]:
    """The same with what was bought while each ran; the runs are read with their attempts."""
    further = bought_while_running(runs)
    orders = [run.order for run in runs] + [order for more in further.values() for order in more]
    costs = costs_of_orders(orders)
    return {
        run.id: costs[run.order_id] + sum(costs[order.id] for order in further.get(run.id, ()))
        for run in runs
    }


def bought_while_running(runs: Iterable[Run]) -> Mapping[UUID, Sequence[Order]]:
    """By run the orders of more time for it, as they follow each other; no query where none was extended.

    The runs are read with their attempts.
    """
    extended = [run.id for run in runs if any(one.extended_s for one in run.attempts.all())]
    found: dict[UUID, list[Order]] = defaultdict(list)
    rows = Extension.objects.filter(attempt__run_id__in=extended).select_related("order", "attempt")
    for row in rows.order_by("id") if extended else ():
        found[row.attempt.run_id].append(row.order)
    return found


def run_given_time(actor: Actor, order_id: UUID) -> Run | None:
    """The run for which the order bought more time."""
    return _given_time(runs_visible_to(actor), order_id)


def _given_time(rows: QuerySet[Run], order_id: UUID) -> Run | None:
    return rows.filter(attempts__extensions__order_id=order_id).first()


def costs_of_orders(orders: Sequence[Order]) -> Mapping[UUID, int]:
    """What each order has cost so far, in micros; the caller has shown that they may be seen."""
    open_orders = [order.id for order in orders if order.total_micros is None]
    used: dict[UUID, int] = defaultdict(int)
    lines = OrderLine.objects.filter(order_id__in=open_orders).select_related("order").order_by()
    for line in lines.annotate(used=F("usage_total__quantity_accepted")):
        price = market_rules.Price(
            meter=line.meter,
            unit=line.unit,
            per=line.per,
            unit_price_micros=line.unit_price_micros,
            tax_rate_bp=line.tax_rate_bp,
            tax_included=line.tax_included,
        )
        used[line.order_id] += market_rules.amount_of(line.used or 0, price, currency=line.order.currency)
    return {
        order.id: used.get(order.id, 0) if order.total_micros is None else order.total_micros
        for order in orders
    }


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What an attempt took between two samples."""

    seconds: float
    """Since the attempt started."""
    cores: float
    """CPU seconds per second since the sample before."""
    memory_bytes: int
    accelerator_util: float | None = None
    """How busy its cards were, from 0 to 1; None where its engine cannot say."""
    accelerator_memory_bytes: int | None = None


def last_attempt_of(run: Run) -> Attempt | None:
    """The run's last attempt, of those that were read with it."""
    return max(run.attempts.all(), key=lambda one: one.epoch, default=None)


def curve_of(run: Run) -> list[CurvePoint]:
    """The curve of the run's last attempt, in order of time; empty where its engine takes no samples."""
    attempt = last_attempt_of(run)
    if attempt is None or attempt.started_at is None:
        return []
    points: list[CurvePoint] = []
    before_at, before_cpu_s = attempt.started_at, 0.0
    rows = MeterSample.objects.filter(attempt=attempt).order_by("at")
    taken = ("at", "cpu_s", "memory_bytes", "accelerator_util", "accelerator_memory_bytes")
    for at, cpu_s, memory_bytes, util, of_cards in rows.values_list(*taken):
        gone_s = (at - before_at).total_seconds()
        cores = max(0.0, cpu_s - before_cpu_s) / gone_s if gone_s > 0 else 0.0
        since_s = (at - attempt.started_at).total_seconds()
        points.append(CurvePoint(since_s, cores, memory_bytes, util, of_cards))
        before_at, before_cpu_s = at, cpu_s
    return points


def endpoints_visible_to(actor: Actor) -> QuerySet[Endpoint]:
    """Endpoints of the actor's organisations, or all for the hub's people; newest first."""
    rows = Endpoint.objects.select_related("owner").order_by("-created_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def endpoint_visible_to(actor: Actor, endpoint_id: UUID) -> Endpoint:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    endpoint = endpoints_visible_to(actor).filter(id=endpoint_id).first()
    if endpoint is None:
        raise NotFound("There is no such endpoint.", hint="See your endpoints: mosu endpoints.")
    return endpoint


def idle_stop_of(organisation_id: UUID) -> int | None:
    """After how many seconds the organisation has idle runs stopped; the caller has shown that it may be seen."""
    return (
        IdleRule.objects.filter(organisation_id=organisation_id)
        .values_list("stop_after_s", flat=True)
        .first()
    )


def quotas_visible_to(actor: Actor) -> QuerySet[Quota]:
    """Quotas of the actor's organisations, or all for the hub's people."""
    rows = Quota.objects.select_related("organisation", "project").order_by("id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def pool_shares_of(actor: Actor, pool_id: UUID) -> QuerySet[PoolShare]:
    """The weights of organisations in a pool, for the hub's people: buyers are not their suppliers' to see."""
    rows = PoolShare.objects.select_related("organisation").order_by("id")
    return rows.filter(pool_id=pool_id) if actor.sees_all else rows.none()


def pools_visible_to(actor: Actor) -> QuerySet[Pool]:
    """Pools of the actor's organisations, or all for the hub's people."""
    rows = Pool.objects.select_related("organisation").order_by("name", "id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def nodes_visible_to(actor: Actor) -> QuerySet[Node]:
    """Nodes of those pools."""
    rows = Node.objects.select_related("pool").prefetch_related("devices").order_by("pool_id", "name")
    return rows if actor.sees_all else rows.filter(pool__organisation_id__in=actor.organisation_ids)


@dataclass(frozen=True, slots=True)
class Used:
    """How much of a pool's cores and cards was promised on a day, in core-hours and card-hours."""

    day: date
    promised: float
    capacity: float
    cards_promised: float = 0
    cards_capacity: float = 0


def utilisation_of(actor: Actor, pool_id: UUID, *, span: Period, zone: ZoneInfo) -> list[Used]:
    """By day of the hub's zone: core-hours and card-hours that allocations held, beside what the pool has now.

    An allocation counts until it was released, also past its period; the last day ends at `span.end`.

    Raises:
        NotFound: there is no such pool, or the actor may not know.
    """
    seen = None if actor.sees_all else list(actor.organisation_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            _UTILISATION,
            {"pool": pool_id, "seen": seen, "start": span.start, "end": span.end, "zone": zone.key},
        )
        found = cursor.fetchall()
    if not found:
        raise NotFound("There is no such pool.", hint="See your pools.")
    return [
        Used(day, float(held), float(hours * cores), float(held_cards), float(hours * cards))
        for day, hours, cores, held, cards, held_cards in found
    ]


_UTILISATION: Final = f"""
with there as (
  select (select coalesce(sum(n.cores), 0) from compute_node n where n.pool_id = p.id) as cores,
         (select coalesce(sum(upper(d.part) - lower(d.part)), 0)::numeric / {WHOLE}
            from compute_device d join compute_node n on n.id = d.node_id
           where n.pool_id = p.id and d.present) as cards
    from compute_pool p
   where p.id = %(pool)s and (%(seen)s::uuid[] is null or p.organisation_id = any(%(seen)s::uuid[]))),
days as (
  select day::date as day, greatest(day at time zone %(zone)s, %(start)s) as begins,
         least((day + interval '1 day') at time zone %(zone)s, %(end)s) as ends
    from generate_series(date_trunc('day', %(start)s at time zone %(zone)s),
                         %(end)s at time zone %(zone)s, interval '1 day') as day),
held as (
  select a.cores, lower(a.period) as begins,
         (select coalesce(sum(upper(d.part) - lower(d.part)), 0)::numeric / {WHOLE}
            from compute_deviceallocation d where d.allocation_id = a.id) as cards,
         case when a.live then greatest(upper(a.period), %(end)s) else a.released_at end as ends
    from compute_allocation a join compute_node n on n.id = a.node_id
   where n.pool_id = %(pool)s and lower(a.period) < %(end)s and (a.block_id is null or a.attempt_id is null)
     and (a.live or (a.released_at > %(start)s and a.released_at > lower(a.period))))
select d.day, extract(epoch from d.ends - d.begins) / 3600, t.cores,
       coalesce(sum(h.cores * extract(epoch from least(h.ends, d.ends) - greatest(h.begins, d.begins)) / 3600), 0),
       t.cards,
       coalesce(sum(h.cards * extract(epoch from least(h.ends, d.ends) - greatest(h.begins, d.begins)) / 3600), 0)
  from there t cross join days d left join held h on h.begins < d.ends and h.ends > d.begins
 where d.ends > d.begins group by d.day, d.ends, d.begins, t.cores, t.cards order by d.day
"""  # noqa: S608 - a number of ours
"""A share of a card counts as the part of it that it is."""


def blackouts_visible_to(actor: Actor, *, now: datetime) -> QuerySet[Blackout]:
    """Blackouts of those pools' nodes that are set and not over, the next first."""
    rows = Blackout.objects.select_related("node__pool").filter(
        state=BlackoutState.SET, period__endswith__gt=now
    )
    rows = rows.order_by("period", "id")
    return rows if actor.sees_all else rows.filter(node__pool__organisation_id__in=actor.organisation_ids)


def why_not_live(pool: Pool | None, *, now: datetime) -> str | None:
    """Why nothing of the pool can be accepted now; None if it can."""
    if pool is not None and pool.state == PoolState.DRAINING:
        return why_not_served(pool, now=now) or f"the pool is {pool.state}"
    return why_not_served(pool, now=now)


def why_not_served(pool: Pool | None, *, now: datetime) -> str | None:
    """Why nothing can be started in the pool now, whatever was sold of it; None if it can."""
    if pool is None or pool.last_seen_at is None or now - pool.last_seen_at > LIVE:
        return "no live agent"
    if pool.state == PoolState.CLOSED:
        return f"the pool is {pool.state}"
    if not pool.sandbox_ok:
        return f"the pool has no sandbox: {pool.sandbox}"
    return None


def pools_by_id(pool_ids: Iterable[UUID]) -> Mapping[UUID, Pool]:
    """The pools that are there."""
    return Pool.objects.in_bulk(list(pool_ids))


def shares_listed(pool_ids: Collection[UUID]) -> list[str]:
    """The kinds of shares into which cards of these pools are cut; the caller has shown that they may be seen."""
    rows = Device.objects.filter(node__pool_id__in=pool_ids, present=True, accelerator__contains="/")
    return list(rows.order_by("accelerator").values_list("accelerator", flat=True).distinct())


def pools_with(environment: str) -> frozenset[UUID]:
    """Pools that have an environment of this name laid out."""
    rows = Pool.objects.filter(environments__contains=[{"name": environment}])
    return frozenset(rows.values_list("id", flat=True))


def pools_of_single_nodes() -> frozenset[UUID]:
    """Pools whose nodes do not reach each other, so that a task has one of them."""
    return frozenset(Pool.objects.filter(spans_nodes=False).values_list("id", flat=True))


def pools_without_sessions() -> frozenset[UUID]:
    """Pools whose agents join nobody to the ports of what runs there."""
    return frozenset(Pool.objects.filter(reaches=False).values_list("id", flat=True))


def pools_without_sshd(apps: Sequence[App], environment: str, *, image: str) -> frozenset[UUID]:
    """Pools with no OpenSSH server for a session of these apps, in the environment of this name or without one in any;
    an image that a task names is taken to have it only where all have."""
    rows = Pool.objects.filter(has_sshd=False).values_list("id", "environments")
    fit = ((key, [] if image else environments_with_sshd(apps, has)) for key, has in rows)
    return frozenset(key for key, names in fit if not names or (environment and environment not in names))


def image_prefixes_of_pools() -> dict[UUID, list[str]]:
    """From where each pool that runs images of containers takes them."""
    return dict(Pool.objects.exclude(images=[]).values_list("id", "images"))


def pools_not_starting(apps: Sequence[App], environment: str) -> frozenset[UUID]:
    """Pools with no environment in which these apps of a session start; with a name, whose one of that name is none."""
    rows = Pool.objects.values_list("id", "environments")
    return frozenset(key for key, has in rows if not start_in(apps, environment, has))
