"""What is there of pools, what is held of it, and taking a share: never twice.

Its statements are SQL that each connection plans once: the pool waits behind its lock while they run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from mosu.compute.models import Allocation, Attempt, DeviceAllocation
from mosu.compute.placement import Card, Need, NodeView, Placement, Share, Taken, Unplaced, free_of, place
from mosu.compute.placement.policies import DEFAULT
from mosu.compute.states import BlackoutState, Fitness, NodeState, Placing
from mosu.kernel.refusals import DomainError
from mosu.kernel.time import Period
from mosu.platform.database.base import prepared_cursor
from mosu.platform.rows import insert

NOTICE: Final = timedelta(seconds=120)
"""How long an interruptible attempt has to stop, from the order that takes its place."""

POLICY_OF: Final = MappingProxyType({Placing.PACK: DEFAULT, Placing.SPREAD: "spread"})

_LOCK: Final = """
select p.placing from compute_node n join compute_pool p on p.id = n.pool_id
 where n.pool_id = %s order by n.id for no key update of n
"""
_NODES: Final = f"""
select n.pool_id, n.id, n.name, n.cores, n.memory_bytes, n.disk_bytes, n.reached,
       array(select d.index from compute_device d where d.node_id = n.id and d.present order by d.index),
       array(select d.accelerator from compute_device d where d.node_id = n.id and d.present order by d.index)
  from compute_node n
 where n.pool_id = any(%s::uuid[]) and n.state = '{NodeState.UP}' and n.fitness = '{Fitness.FIT}' order by n.id
"""  # noqa: S608 - states of the code
_TAKEN: Final = f"""
select a.node_id, a.attempt_id, lower(a.period), upper(a.period), a.yields, a.cores, a.memory_bytes,
       array(select d.index from compute_deviceallocation c
               join compute_device d on d.node_id = c.node_id and d.card = c.card and d.part && c.part
              where c.allocation_id = a.id and c.live)
  from compute_allocation a
 where a.live and a.node_id = any(%(nodes)s::uuid[])
   and case when %(inside)s::uuid is null
       then a.attempt_id is null or a.block_id is null or upper(a.period) <= %(now)s::timestamptz
       else a.attempt_id is not null and (a.block_id = %(inside)s::uuid
            or a.block_id is null and upper(a.period) <= %(now)s::timestamptz) end
union all
select n.id, null, lower(b.period), upper(b.period), false, n.cores, n.memory_bytes,
       array(select d.index from compute_device d where d.node_id = n.id)
  from compute_blackout b join compute_node n on n.id = b.node_id
 where b.node_id = any(%(nodes)s::uuid[]) and b.state = '{BlackoutState.SET}' and upper(b.period) > %(now)s::timestamptz
   and %(inside)s::uuid is null
"""  # noqa: S608 - states of the code
"""What live allocations hold, and blackouts that are not over, each as taking all of its node. A block holds its part
whatever is inside it; `inside` a block: what its runs hold, and what of others overstayed. What holds a card holds
all its shares, however it was cut since."""
_TAKE_CARDS: Final = """
insert into compute_deviceallocation (allocation_id, device_id, period, live, inside)
  select wanted.allocation_id, d.id, %s::tstzrange, true, %s
    from unnest(%s::uuid[], %s::uuid[], %s::int[]) as wanted(allocation_id, node_id, index)
    join compute_device d on d.node_id = wanted.node_id and d.index = wanted.index order by d.id
"""
_RELEASE: Final = """
with released as (
  update compute_allocation set live = false, released_at = %s where attempt_id = %s and live returning id),
cards as (
  update compute_deviceallocation c set live = false from released r where c.allocation_id = r.id and c.live)
select count(*) from released
"""


class SoldOut(DomainError):
    """The capacity went to someone else; the hint names the next start time."""

    code = "sold_out"


def nodes_of(
    pool_ids: Iterable[UUID], *, now: datetime, without: UUID | None = None, reclaims: bool = False
) -> Mapping[UUID, Sequence[NodeView]]:
    """Nodes in service and fit, by pool, with all that live allocations and blackouts hold.

    Who `reclaims` sees what interruptible attempts hold as free after their notice. What the attempt `without` holds
    counts as free.

    A live allocation whose period is over holds what it has until it is released: its end is unknown.
    """
    return _nodes(pool_ids, now=now, without=without, reclaims=reclaims)


def find_place(
    *,
    pool_id: UUID,
    need: Need,
    earliest: datetime,
    latest: datetime,
    duration: timedelta,
    now: datetime,
    without: UUID | None = None,
    reclaims: bool = False,
    within: UUID | None = None,
) -> Placement | Unplaced:
    """A placement in the pool as it is now, what the attempt `without` holds counted as free.

    `within` a block there is what the block holds, in its time, and nothing else. Who `reclaims` has
    `interruption.give_way` make the room that was found.

    Takes the lock that guards the pool's cores and memory, its nodes by id: what is found can be taken.
    """
    with prepared_cursor() as cursor:
        # A statement of its own: what was waited for has changed what the next ones read.
        cursor.execute(_LOCK, [pool_id])
        placing = cursor.fetchone()
    if within is not None:
        return place_within(
            within,
            pool_id=pool_id,
            need=need,
            earliest=earliest,
            latest=latest,
            duration=duration,
            now=now,
            without=without,
        )
    views = nodes_of([pool_id], now=now, without=without, reclaims=reclaims)[pool_id]
    policy = POLICY_OF[Placing(placing[0])] if placing else DEFAULT
    return place(views, need, earliest=earliest, latest=latest, duration=duration, policy=policy)


def place_within(
    block_id: UUID,
    *,
    pool_id: UUID,
    need: Need,
    earliest: datetime,
    latest: datetime,
    duration: timedelta,
    now: datetime,
    without: UUID | None = None,
) -> Placement | Unplaced:
    """A placement in what the block holds of the pool's nodes in service, all of it inside the block's time.

    What overstayed there before the block began is in the way until it is gone.
    """
    holds = list(Allocation.objects.filter(block_id=block_id, attempt=None, live=True).order_by("id"))
    if not holds:
        return Unplaced("block_over", "The block is over.", "Ask for quotes without it.", None)
    period = Period(holds[0].period.lower, holds[0].period.upper)
    first, last = max(earliest, period.start), min(latest, period.end - duration)
    if last < first:
        return Unplaced(
            "block_too_short",
            f"The block runs from {period.start:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC, "
            "and the run would not end in it.",
            "Set a shorter mosu.wall_limit.",
            None,
        )
    nodes = _nodes([pool_id], now=now, without=without, inside=block_id)[pool_id]
    return place(_parts(holds, nodes), need, earliest=first, latest=last, duration=duration)


def _parts(holds: Sequence[Allocation], nodes: Sequence[NodeView]) -> list[NodeView]:
    """The block's part of each node as if it were the node."""
    by_id = {node.id: node for node in nodes}
    own: dict[UUID, set[int]] = defaultdict(set)
    rows = DeviceAllocation.objects.filter(live=True, allocation__in=holds)
    for node_id, index in rows.values_list("allocation__node_id", "device__index"):
        own[node_id].add(index)
    return [
        replace(
            by_id[hold.node_id],
            cores=hold.cores,
            memory_bytes=hold.memory_bytes,
            cards=tuple(card for card in by_id[hold.node_id].cards if card.index in own[hold.node_id]),
        )
        for hold in holds
        if hold.node_id in by_id
    ]


def allocate(
    *, need: Need, placement: Placement, attempt: Attempt | None = None, block_id: UUID | None = None
) -> None:
    """Write a placement down: an allocation per node, in the order of the ranks.

    An attempt's, a block's, or with both the attempt's place inside the block. The caller holds the pool's lock and
    has checked it; cards the database checks too.
    """
    period = range_of(placement.period)
    allocations = [
        Allocation(
            attempt=attempt,
            block_id=block_id,
            node_id=share.node_id,
            cores=need.cores,
            memory_bytes=need.memory_bytes,
            period=period,
            yields=attempt is not None and attempt.run.request.get("interruptible", False),
        )
        for share in placement.shares
    ]
    insert(*allocations)
    wanted = [
        (allocation.id, share.node_id, index)
        for allocation, share in zip(allocations, placement.shares, strict=True)
        for index in share.card_indices
    ]
    if wanted:
        inside = attempt is not None and block_id is not None
        with prepared_cursor() as cursor:
            cursor.execute(_TAKE_CARDS, [period, inside, *map(list, zip(*wanted, strict=True))])


@dataclass(frozen=True, slots=True)
class Prolonged:
    """What an attempt holds, from its end on: how much of the time that was asked for it is free."""

    placement: Placement
    """The same nodes and cards, for all of that time."""
    free_until: datetime

    @property
    def is_free(self) -> bool:
        return self.free_until == self.placement.period.end


def prolonged(
    attempt_id: UUID, *, pool_id: UUID, need: Need, by: timedelta, now: datetime, lock: bool = False
) -> Prolonged:
    """Whether the attempt's own nodes and cards are nobody else's for so long after the end of its period.

    What interruptible attempts hold counts as free after their notice. With `lock` it can be taken: under the lock
    that guards the pool's cores and memory.
    """
    if lock:
        with prepared_cursor() as cursor:
            cursor.execute(_LOCK, [pool_id])
    holds = list(Allocation.objects.filter(attempt_id=attempt_id, live=True).order_by("id"))
    own: dict[UUID, list[int]] = defaultdict(list)
    rows = DeviceAllocation.objects.filter(live=True, allocation__in=holds).order_by("device__index")
    for node_id, index in rows.values_list("node_id", "device__index"):
        own[node_id].append(index)
    start = holds[0].period.upper
    shares = tuple(Share(hold.node_id, tuple(own[hold.node_id])) for hold in holds)
    placement = Placement(Period(start, start + by), shares)
    nodes = [
        replace(node, cards=tuple(card for card in node.cards if card.index in own[node.id]))
        for node in nodes_of([pool_id], now=now, without=attempt_id, reclaims=True)[pool_id]
        if node.id in {hold.node_id for hold in holds}
    ]
    if len(nodes) < len(holds):
        return Prolonged(placement, start)  # a node leaves service
    ends = {taken.start for node in nodes for taken in node.taken if start < taken.start < start + by}
    for end in sorted({start + by, *ends}, reverse=True):
        if all(free_of(node, Period(start, end)).holds(need) for node in nodes):
            return Prolonged(placement, end)
    return Prolonged(placement, start)


def prolong(attempt_id: UUID, *, until: datetime) -> None:
    """Let the attempt hold what it has until then; the caller has the pool's lock and checked it, cards the database
    checks too."""
    for allocation in Allocation.objects.filter(attempt_id=attempt_id, live=True).order_by("id"):
        period = range_of(Period(allocation.period.lower, until))
        allocation.devices.filter(live=True).update(period=period)
        Allocation.objects.filter(id=allocation.id).update(period=period)


def release(attempt_id: UUID, *, now: datetime) -> bool:
    """Give back all that the attempt holds; whether it held anything."""
    with prepared_cursor() as cursor:
        cursor.execute(_RELEASE, [now, attempt_id])
        return bool(cursor.fetchone()[0])


def release_block(block_id: UUID, *, now: datetime) -> None:
    """Give back what the block holds; the caller holds the pool's lock.

    A run that is still there from now on holds its own place, as any other does.
    """
    own = Allocation.objects.filter(block_id=block_id, live=True)
    DeviceAllocation.objects.filter(
        allocation__block_id=block_id, allocation__attempt=None, live=True
    ).update(live=False)
    own.filter(attempt=None).update(live=False, released_at=now)
    staying = list(own.filter(attempt__isnull=False).values_list("id", flat=True))
    Allocation.objects.filter(id__in=staying).update(block=None)
    DeviceAllocation.objects.filter(allocation_id__in=staying, live=True).update(inside=False)


def range_of(period: Period) -> DateTimeTZRange:
    """A period as the database keeps it."""
    return DateTimeTZRange(period.start, period.end)


def _nodes(
    pool_ids: Iterable[UUID],
    *,
    now: datetime,
    without: UUID | None = None,
    reclaims: bool = False,
    inside: UUID | None = None,
) -> Mapping[UUID, list[NodeView]]:
    seen: dict[UUID, list[NodeView]] = {pool_id: [] for pool_id in pool_ids}
    with prepared_cursor() as cursor:
        cursor.execute(_NODES, [list(seen)])
        nodes = cursor.fetchall()
    taken = _taken_of([row[1] for row in nodes], now=now, without=without, reclaims=reclaims, inside=inside)
    for pool_id, node_id, name, cores, memory_bytes, disk_bytes, reached, indices, accelerators in nodes:
        cards = tuple(map(Card, indices, accelerators))
        seen[pool_id].append(
            NodeView(node_id, name, cores, memory_bytes, disk_bytes, cards, tuple(taken[node_id]), reached)
        )
    return seen


def _taken_of(
    node_ids: list[UUID], *, now: datetime, without: UUID | None, reclaims: bool, inside: UUID | None
) -> Mapping[UUID, Sequence[Taken]]:
    taken: dict[UUID, list[Taken]] = defaultdict(list)
    with prepared_cursor() as cursor:
        cursor.execute(_TAKEN, {"nodes": node_ids, "now": now, "inside": inside})
        for node_id, attempt_id, start, until, yields, cores, memory_bytes, cards in cursor.fetchall():
            if without is not None and attempt_id == without:
                continue
            # A block is over when its time is; what overstayed in it holds its own place.
            end = until if until > now or attempt_id is None else None
            if reclaims and yields and end is not None:
                if start >= now + NOTICE:
                    continue
                end = min(end, now + NOTICE)
            taken[node_id].append(Taken(start, end, cores, memory_bytes, frozenset(cards)))
    return taken
