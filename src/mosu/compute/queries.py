"""Reads of the compute shelf; every list takes the actor."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum

from mosu.compute.models import Allocation, Device, DeviceAllocation, Node, Pool, Run
from mosu.compute.states import AttemptState, NodeState, PoolState
from mosu.kernel.refusals import NotFound
from mosu.market import rules as market_rules
from mosu.market.models import OrderLine
from mosu.platform.actors import Actor

LIVE: Final = timedelta(seconds=30)
"""A pool is live for so long after the last word of its agent."""


def runs_visible_to(actor: Actor) -> QuerySet[Run]:
    """Runs of the actor's organisations, or all for the hub's people; newest first."""
    rows = Run.objects.select_related("pool", "order__quote").order_by("-created_at", "-id")
    rows = rows.prefetch_related("attempts__allocations__node")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def run_visible_to(actor: Actor, run_id: UUID) -> Run:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    run = runs_visible_to(actor).filter(id=run_id).first()
    if run is None:
        raise NotFound("There is no such run.", hint="See your runs: mosu runs.")
    return run


def run_of_order(actor: Actor, order_id: UUID) -> Run | None:
    """The run that the order bought."""
    return runs_visible_to(actor).filter(order_id=order_id).first()


def costs_of(runs: Sequence[Run]) -> Mapping[UUID, int]:
    """What each run has cost so far, in micros: the settled total, before that what counts of its usage."""
    open_orders = [run.order_id for run in runs if run.order.total_micros is None]
    used: dict[UUID, int] = defaultdict(int)
    lines = OrderLine.objects.filter(order_id__in=open_orders).select_related("order").order_by()
    for line in lines.annotate(used=Sum("usage__quantity_accepted")):
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
        run.id: used.get(run.order_id, 0) if run.order.total_micros is None else run.order.total_micros
        for run in runs
    }


def pools_visible_to(actor: Actor) -> QuerySet[Pool]:
    """Pools of the actor's organisations, or all for the hub's people."""
    rows = Pool.objects.select_related("organisation").order_by("name", "id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def nodes_visible_to(actor: Actor) -> QuerySet[Node]:
    """Nodes of those pools."""
    rows = Node.objects.select_related("pool").prefetch_related("devices").order_by("pool_id", "name")
    return rows if actor.sees_all else rows.filter(pool__organisation_id__in=actor.organisation_ids)


def why_not_live(pool: Pool | None, *, now: datetime) -> str | None:
    """Why nothing of the pool can be accepted now; None if it can."""
    if pool is None or pool.last_seen_at is None or now - pool.last_seen_at > LIVE:
        return "no live agent"
    if pool.state != PoolState.OPEN:
        return f"the pool is {pool.state}"
    if not pool.sandbox_ok:
        return f"the pool has no sandbox: {pool.sandbox}"
    return None


def pools_by_id(pool_ids: Iterable[UUID]) -> Mapping[UUID, Pool]:
    """The pools that are there."""
    return Pool.objects.in_bulk(list(pool_ids))


def pools_with(environment: str) -> frozenset[UUID]:
    """Pools that have an environment of this name laid out."""
    rows = Pool.objects.filter(environments__contains=[{"name": environment}])
    return frozenset(rows.values_list("id", flat=True))


def cores_of(pool_ids: Sequence[UUID]) -> Mapping[UUID, tuple[int, int, int]]:
    """By pool: all cores in service, those reserved for what has not started, those taken."""
    nodes = Node.objects.filter(pool_id__in=pool_ids, state=NodeState.UP)
    live = Allocation.objects.filter(live=True, node__pool_id__in=pool_ids)
    totals = _sums(nodes, key="pool_id")
    reserved = _sums(live.filter(attempt__state=AttemptState.WAITING), key="node__pool_id")
    taken = _sums(live.exclude(attempt__state=AttemptState.WAITING), key="node__pool_id")
    return {
        pool_id: (totals.get(pool_id, 0), reserved.get(pool_id, 0), taken.get(pool_id, 0))
        for pool_id in pool_ids
    }


def cards_of(pool_ids: Sequence[UUID]) -> Mapping[tuple[UUID, str], tuple[int, int, int]]:
    """By pool and accelerator: all cards in service, those reserved for what has not started, those taken."""
    rows = (
        Device.objects.filter(node__pool_id__in=pool_ids, node__state=NodeState.UP, present=True)
        .order_by()
        .values_list("node__pool_id", "accelerator")
        .annotate(total=Count("id"))
    )
    waiting = Q(allocation__attempt__state=AttemptState.WAITING)
    held = {
        (pool_id, accelerator): (reserved, taken)
        for pool_id, accelerator, reserved, taken in DeviceAllocation.objects.filter(
            live=True, device__node__pool_id__in=pool_ids
        )
        .order_by()
        .values_list("device__node__pool_id", "device__accelerator")
        .annotate(reserved=Count("id", filter=waiting), taken=Count("id", filter=~waiting))
    }
    return {
        (pool_id, accelerator): (total, *held.get((pool_id, accelerator), (0, 0)))
        for pool_id, accelerator, total in rows
    }


def _sums(rows: "QuerySet[Node] | QuerySet[Allocation]", *, key: str) -> dict[UUID, int]:
    return dict(rows.order_by().values_list(key).annotate(sum=Sum("cores")))
