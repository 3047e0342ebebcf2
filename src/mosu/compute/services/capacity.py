"""What is there of pools, what is held of it, and taking a share: never twice.

Its statements are SQL that each connection plans once: the pool waits behind its lock while they run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from mosu.compute.models import Allocation, Attempt
from mosu.compute.placement import Card, Need, NodeView, Placement, Taken, Unplaced, place
from mosu.compute.states import BlackoutState, Fitness, NodeState
from mosu.kernel.refusals import DomainError
from mosu.kernel.time import Period
from mosu.platform.database.base import prepared_cursor
from mosu.platform.rows import insert

NOTICE: Final = timedelta(seconds=120)
"""How long an interruptible attempt has to stop, from the order that takes its place."""

_LOCK: Final = "select from compute_node where pool_id = %s order by id for no key update"
_NODES: Final = f"""
select n.pool_id, n.id, n.name, n.cores, n.memory_bytes, n.disk_bytes,
       array(select d.index from compute_device d where d.node_id = n.id and d.present order by d.index),
       array(select d.accelerator from compute_device d where d.node_id = n.id and d.present order by d.index)
  from compute_node n
 where n.pool_id = any(%s::uuid[]) and n.state = '{NodeState.UP}' and n.fitness = '{Fitness.FIT}' order by n.id
"""  # noqa: S608 - states of the code
_TAKEN: Final = f"""
select a.node_id, a.attempt_id, lower(a.period), upper(a.period), a.yields, a.cores, a.memory_bytes,
       array(select d.index from compute_deviceallocation c join compute_device d on d.id = c.device_id
              where c.allocation_id = a.id and c.live)
  from compute_allocation a where a.live and a.node_id = any(%(nodes)s::uuid[])
union all
select n.id, null, lower(b.period), upper(b.period), false, n.cores, n.memory_bytes,
       array(select d.index from compute_device d where d.node_id = n.id)
  from compute_blackout b join compute_node n on n.id = b.node_id
 where b.node_id = any(%(nodes)s::uuid[]) and b.state = '{BlackoutState.SET}' and upper(b.period) > %(now)s::timestamptz
"""  # noqa: S608 - states of the code
"""What live allocations hold, and blackouts that are not over, each as taking all of its node."""
_TAKE_CARDS: Final = """
insert into compute_deviceallocation (allocation_id, device_id, period, live)
  select wanted.allocation_id, d.id, %s::tstzrange, true
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
    seen: dict[UUID, list[NodeView]] = {pool_id: [] for pool_id in pool_ids}
    with prepared_cursor() as cursor:
        cursor.execute(_NODES, [list(seen)])
        nodes = cursor.fetchall()
    taken = _taken_of([row[1] for row in nodes], now=now, without=without, reclaims=reclaims)
    for pool_id, node_id, name, cores, memory_bytes, disk_bytes, indices, accelerators in nodes:
        cards = tuple(map(Card, indices, accelerators))
        seen[pool_id].append(
            NodeView(node_id, name, cores, memory_bytes, disk_bytes, cards, tuple(taken[node_id]))
        )
    return seen


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
) -> Placement | Unplaced:
    """A placement in the pool as it is now, what the attempt `without` holds counted as free.

    Who `reclaims` has `interruption.give_way` make the room that was found.

    Takes the lock that guards the pool's cores and memory, its nodes by id: what is found can be taken.
    """
    with prepared_cursor() as cursor:
        # A statement of its own: what was waited for has changed what the next ones read.
        cursor.execute(_LOCK, [pool_id])
    views = nodes_of([pool_id], now=now, without=without, reclaims=reclaims)[pool_id]
    return place(views, need, earliest=earliest, latest=latest, duration=duration)


def allocate(*, attempt: Attempt, need: Need, placement: Placement) -> None:
    """Write a placement down: an allocation per node, in the order of the ranks.

    The caller holds the pool's lock and has checked it; cards the database checks too.
    """
    period = range_of(placement.period)
    allocations = [
        Allocation(
            attempt=attempt,
            node_id=share.node_id,
            cores=need.cores,
            memory_bytes=need.memory_bytes,
            period=period,
            yields=attempt.run.request.get("interruptible", False),
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
        with prepared_cursor() as cursor:
            cursor.execute(_TAKE_CARDS, [period, *map(list, zip(*wanted, strict=True))])


def release(attempt_id: UUID, *, now: datetime) -> bool:
    """Give back all that the attempt holds; whether it held anything."""
    with prepared_cursor() as cursor:
        cursor.execute(_RELEASE, [now, attempt_id])
        return bool(cursor.fetchone()[0])


def range_of(period: Period) -> DateTimeTZRange:
    """A period as the database keeps it."""
    return DateTimeTZRange(period.start, period.end)


def _taken_of(
    node_ids: list[UUID], *, now: datetime, without: UUID | None, reclaims: bool
) -> Mapping[UUID, Sequence[Taken]]:
    taken: dict[UUID, list[Taken]] = defaultdict(list)
    with prepared_cursor() as cursor:
        cursor.execute(_TAKEN, {"nodes": node_ids, "now": now})
        for node_id, attempt_id, start, until, yields, cores, memory_bytes, cards in cursor.fetchall():
            if without is not None and attempt_id == without:
                continue
            end = until if until > now else None
            if reclaims and yields and end is not None:
                if start >= now + NOTICE:
                    continue
                end = min(end, now + NOTICE)
            taken[node_id].append(Taken(start, end, cores, memory_bytes, frozenset(cards)))
    return taken
