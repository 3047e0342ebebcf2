"""What pools have to sell now: cores and cards in service, what is promised of them, whether they are live."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from mosu.compute.models import Pool
from mosu.compute.queries import why_not_live
from mosu.compute.states import AttemptState, BlackoutState, Fitness, NodeState
from mosu.market.services import Stock
from mosu.market.shelves import Delivery, Place, Standing
from mosu.platform.database.base import prepared_cursor

Figures: TypeAlias = tuple[int, int, int]
"""All in service, reserved for what has not started, taken."""
NOTHING: Final[Figures] = (0, 0, 0)


def stocks_of(pool_ids: Collection[UUID] | None, *, now: datetime) -> Mapping[Place, Figures]:
    """Of pools (None: all), cores (the place without an accelerator) and cards by accelerator; one query.

    A node that is drained, down, in a blackout or not fit is not in service, and what holds it is not counted either.
    A block takes what it has while it runs; one that has not begun is for the calendar to show.
    """
    with prepared_cursor() as cursor:
        cursor.execute(
            _STOCKS,
            {
                "pools": None if pool_ids is None else list(pool_ids),
                "now": now,
                "up": NodeState.UP.value,
                "fit": Fitness.FIT.value,
                "kept": BlackoutState.SET.value,
                "waiting": AttemptState.WAITING.value,
            },
        )
        return {(row[0], row[1]): (row[2], row[3], row[4]) for row in cursor.fetchall()}


_STOCKS: Final = """
with there as materialized (
  select n.id, n.pool_id, n.cores from compute_node n
   where n.state = %(up)s and n.fitness = %(fit)s and (%(pools)s::uuid[] is null or n.pool_id = any(%(pools)s::uuid[]))
     and not exists (select from compute_blackout b
                      where b.node_id = n.id and b.state = %(kept)s and b.period @> %(now)s::timestamptz)),
held as materialized (
  select a.id, a.cores, t.pool_id, coalesce(w.state = %(waiting)s, false) as waits
    from compute_allocation a join there t on t.id = a.node_id left join compute_attempt w on w.id = a.attempt_id
   where a.live and (a.block_id is null or (a.attempt_id is null and a.period @> %(now)s::timestamptz))),
cores as (
  select t.pool_id, '' as accelerator, t.cores as total, 0 as reserved, 0 as taken from there t
  union all
  select h.pool_id, '', 0, case when h.waits then h.cores else 0 end, case when h.waits then 0 else h.cores end
    from held h),
cards as (
  select t.pool_id, d.accelerator, 1 as total, 0 as reserved, 0 as taken
    from compute_device d join there t on t.id = d.node_id where d.present
  union all
  select h.pool_id, d.accelerator, 0, h.waits::int, (not h.waits)::int
    from compute_deviceallocation c join held h on h.id = c.allocation_id join compute_device d on d.id = c.device_id
   where c.live)
select pool_id, accelerator, sum(total), sum(reserved), sum(taken)
  from (table cores union all table cards) every group by pool_id, accelerator having sum(total) > 0
"""


def liveness_of(pool_ids: Collection[UUID] | None) -> Mapping[UUID, Pool]:
    """The pools (None: all) with no more than `why_not_live` and a label need."""
    rows = Pool.objects.only("last_seen_at", "state", "sandbox_ok", "sandbox", "ordered_s", "delivered_s")
    return {pool.id: pool for pool in (rows if pool_ids is None else rows.filter(id__in=pool_ids))}


def free_of(figures: Figures) -> int:
    """How much can be had now."""
    total, reserved, taken = figures
    return max(0, total - reserved - taken)


def standing_of(pool: Pool | None, figures: Figures, *, now: datetime) -> Standing:
    """How goods of the pool stand at the counter."""
    total, reserved, taken = figures
    stock = Stock(free=free_of(figures), reserved=reserved, taken=taken, total=total)
    delivery = Delivery(pool.ordered_s, pool.delivered_s) if pool is not None else None
    return Standing(stock, why_not_live(pool, now=now), delivery)
