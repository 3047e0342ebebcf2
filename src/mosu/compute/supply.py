"""What a supplier sees of its pools: what is free, what runs on which node, how much of it was promised."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from mosu.compute.health import drift_of
from mosu.compute.models import WHOLE, Allocation, Attempt, Blackout, Block, Device, Node, Pool
from mosu.compute.queries import pools_visible_to
from mosu.compute.states import AttemptState, BlackoutState, Fitness
from mosu.kernel.refusals import NotFound
from mosu.kernel.time import Period
from mosu.platform.actors import Actor


def pool_visible_to(actor: Actor, pool_id: UUID) -> Pool:
    """One of `pools_visible_to`.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    pool = pools_visible_to(actor).filter(id=pool_id).first()
    if pool is None:
        raise NotFound("There is no such pool.", hint="See your pools.")
    return pool


def pool_at_work(actor: Actor, pool_id: UUID) -> tuple[Pool, int, int]:
    """One of `pools_visible_to`, how many attempts its agent has, and how many wait; one query.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    held = _attempts([AttemptState.LEASED, AttemptState.RUNNING, AttemptState.UNREACHABLE])
    rows = pools_visible_to(actor).annotate(held=held, waiting=_attempts([AttemptState.WAITING]))
    pool = rows.filter(id=pool_id).first()
    if pool is None:
        raise NotFound("There is no such pool.", hint="See your pools.")
    return pool, pool.held, pool.waiting


def _attempts(states: Sequence[AttemptState]) -> Coalesce:
    """How many attempts of a pool are in these states."""
    there = Attempt.objects.filter(
        pool=OuterRef("pk"), state__in=[state.value for state in states]
    ).order_by()
    return Coalesce(Subquery(there.values("pool").annotate(count=Count("id")).values("count")), 0)


def drift_of_node(node: Node) -> list[str]:
    """How the node differs from what was published of it; its devices are read with it, or now."""
    published = [device for device in node.devices.all() if device.published]
    there = {device.card for device in published if device.present or device.found}
    return drift_of(
        cores=(node.cores_published, node.cores),
        memory_bytes=(node.memory_bytes_published, node.memory_bytes),
        missing=[
            (device.card, device.share if device.card in there else None)
            for device in published
            if not device.present and not device.found
        ],
        others={device.card: (device.accelerator, device.found) for device in published if device.found},
    )


@dataclass(frozen=True, slots=True)
class Promised:
    """Which part of a pool was promised over a span, from 0 to 1; None where it has none of the kind."""

    cores: float | None = None
    cards: float | None = None


def promised_of(pool_ids: Sequence[UUID], *, span: Period) -> Mapping[UUID, Promised]:
    """By pool: core-hours and card-hours that allocations held, of what the pool's nodes have now; one query.

    The caller has shown that the pools may be seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PROMISED, {"pools": list(pool_ids), "start": span.start, "end": span.end})
        found = {
            pool_id: Promised(_part(cores, cores_max), _part(cards, cards_max))
            for pool_id, cores, cores_max, cards, cards_max in cursor.fetchall()
        }
    return {pool_id: found.get(pool_id, Promised()) for pool_id in pool_ids}


def _part(promised: float, capacity: float) -> float | None:
    return min(1.0, float(promised) / float(capacity)) if capacity else None


_PROMISED: Final = f"""
with held as (
  select n.pool_id, a.cores, (select coalesce(sum(upper(d.part) - lower(d.part)), 0)::numeric / {WHOLE}
                            from compute_deviceallocation d where d.allocation_id = a.id) as cards,
         extract(epoch from least(case when a.live then %(end)s else a.released_at end, %(end)s)
                            - greatest(lower(a.period), %(start)s)) / 3600 as hours
    from compute_allocation a join compute_node n on n.id = a.node_id
   where n.pool_id = any(%(pools)s) and lower(a.period) < %(end)s and (a.block_id is null or a.attempt_id is null)
     and (a.live or (a.released_at > %(start)s and a.released_at > lower(a.period)))),
there as (
  select n.pool_id, sum(n.cores) as cores,
         sum((select coalesce(sum(upper(d.part) - lower(d.part)), 0)::numeric / {WHOLE}
                from compute_device d where d.node_id = n.id and d.present)) as cards
    from compute_node n where n.pool_id = any(%(pools)s) group by n.pool_id),
used as (
  select pool_id, sum(cores * hours) as cores, sum(cards * hours) as cards from held group by pool_id)
select t.pool_id, coalesce(u.cores, 0), t.cores * s.hours, coalesce(u.cards, 0), t.cards * s.hours
  from there t left join used u using (pool_id),
       (select extract(epoch from %(end)s - %(start)s) / 3600 as hours) s
"""  # noqa: S608 - a number of ours
"""Shares of cards count as the part of a card that they are."""


def nodes_unwell(nodes: QuerySet[Node]) -> QuerySet[Node]:
    """Those of the nodes that are not fit, or have drifted from what was published of them."""
    gone = Device.objects.filter(node=OuterRef("pk"), published=True, present=False)
    less = Q(cores__lt=F("cores_published")) | Q(memory_bytes__lt=F("memory_bytes_published"))
    return nodes.filter(~Q(fitness=Fitness.FIT) | less | Exists(gone))


def attempts_at(actor: Actor, pool_id: UUID) -> QuerySet[Attempt]:
    """All that was started, or waits, in a pool; newest first.

    A supplier sees what its machines do and for which order, never what a buyer's run is called or says.

    Raises:
        NotFound: there is no such pool, or the actor may not know.
    """
    pool_visible_to(actor, pool_id)
    return attempts_in(pool_id)


def attempts_in(pool_id: UUID) -> QuerySet[Attempt]:
    """The same, where the caller has shown that the pool may be seen."""
    placed = Allocation.objects.select_related("node").prefetch_related("devices").order_by("id")
    rows = Attempt.objects.filter(pool_id=pool_id).select_related("run__order__quote__organisation")
    return rows.prefetch_related(Prefetch("allocations", placed)).order_by("-created_at", "-id")


@dataclass
class NodeNow:
    """What holds a node now: cores and memory of live allocations, cards by index, whose attempts, blackouts."""

    cores: int = 0
    memory_bytes: int = 0
    cards: dict[int, UUID] = field(default_factory=dict)
    """The attempt that has each card, by the card's index."""
    blocks: list[Block] = field(default_factory=list)
    """Those that hold a part of it now."""
    reserved: set[int] = field(default_factory=set)
    """The cards that blocks hold, used or not, by index."""
    attempts: list[Attempt] = field(default_factory=list)
    blackouts: list[Blackout] = field(default_factory=list)
    """Those that are set and not over, the next first."""

    def blackout_at(self, now: datetime) -> Blackout | None:
        """The blackout that the node is in."""
        return next((one for one in self.blackouts if one.period.lower <= now < one.period.upper), None)


def nodes_now(nodes: Iterable[Node], *, now: datetime) -> Mapping[UUID, NodeNow]:
    """By node: what holds it; two queries, however many nodes. The caller has shown that they may be seen."""
    ids = [node.id for node in nodes]
    found: dict[UUID, NodeNow] = defaultdict(NodeNow)
    live = Allocation.objects.filter(node_id__in=ids, live=True).select_related(
        "attempt__run__order__quote", "block__order"
    )
    live = live.filter(Q(attempt__isnull=False) | Q(period__contains=now))  # blocks that have begun
    held = ArrayAgg("devices__device__index", filter=Q(devices__live=True), default=Value([]))
    for allocation in live.annotate(indices=held).order_by("id"):
        here = found[allocation.node_id]
        if (
            allocation.attempt_id is None or allocation.block_id is None
        ):  # inside a block it is counted already
            here.cores += allocation.cores
            here.memory_bytes += allocation.memory_bytes
        if allocation.attempt is None:
            here.blocks.append(allocation.block)
            here.reserved |= set(allocation.indices)
        else:
            here.attempts.append(allocation.attempt)
            here.cards |= dict.fromkeys(allocation.indices, allocation.attempt_id)
    kept = Blackout.objects.filter(node_id__in=ids, state=BlackoutState.SET, period__endswith__gt=now)
    for blackout in kept.order_by("period", "id"):
        found[blackout.node_id].blackouts.append(blackout)
    return {key: found[key] for key in ids}
