"""The queue over all pools, for the hub's people: what runs, what waits and why, what is out of reach."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from mosu.compute.forecast import ENDED_MIN, WAITS_FROM
from mosu.compute.models import Allocation, Attempt, Run
from mosu.compute.queries import why_not_live
from mosu.compute.states import ATTEMPT_ENDS, AttemptState, RunState
from mosu.compute.supply import pool_visible_to
from mosu.compute.turns import turns_in
from mosu.platform.actors import Actor

ESTIMATES_SINCE: Final = timedelta(days=30)
ESTIMATES_MAX: Final = 500

_OPEN = tuple(state.value for state in AttemptState if state not in ATTEMPT_ENDS)


@dataclass(frozen=True, slots=True)
class Queued:
    """An attempt in the queue. `place` counts from 1 within its pool, by whose turn it is, for what waits."""

    attempt: Attempt
    place: int | None
    starts_at: datetime | None
    """When its capacity is promised for; it starts earlier if there is room."""
    expected_at: datetime | None
    """When it will start by what runs here usually take."""
    pool_trouble: str
    """Why its pool takes nothing now; empty if it does."""
    holds_capacity: bool

    @property
    def priority(self) -> int:
        return int(self.attempt.run.request.get("priority", 0))

    @property
    def may_be_fenced(self) -> bool:
        """Out of reach, or ended without its agent's word while its devices are still off sale."""
        ended = self.attempt.state in ATTEMPT_ENDS
        return self.attempt.state == AttemptState.UNREACHABLE or (ended and self.holds_capacity)


def attempts_in_queue(actor: Actor) -> QuerySet[Attempt]:
    """Attempts that wait, run or are out of reach, and those that ended but still hold capacity; oldest first."""
    rows = Attempt.objects.select_related("run__organisation", "run__order", "pool__organisation")
    # The few, found by their own indexes: either condition beside the other would read every attempt there was.
    open_ones = Attempt.objects.filter(state__in=_OPEN).order_by().values("id")
    holding = Allocation.objects.filter(live=True, attempt__isnull=False).order_by().values("attempt_id")
    rows = rows.filter(id__in=open_ones.union(holding)).order_by("id")
    return rows if actor.sees_all else rows.none()


def attempt_in_queue(actor: Actor, attempt_id: UUID) -> Attempt | None:
    """Any attempt, also one that has ended."""
    rows = Attempt.objects.select_related("run__organisation", "run__order", "pool__organisation")
    return rows.filter(id=attempt_id).first() if actor.sees_all else None


def queued(attempts: Sequence[Attempt], *, now: datetime) -> list[Queued]:
    """Each with its place and what it waits for: as many queries for one as for all."""
    pools = {one.pool_id for one in attempts if one.state == AttemptState.WAITING}
    places = _places_in(pools)
    held = Allocation.objects.filter(attempt__in=attempts, live=True).order_by("-id")
    starts = {one.attempt_id: one.period.lower for one in held}
    return [
        Queued(
            attempt=one,
            place=places[one.pool_id].get(one.id) if one.pool_id in places else None,
            starts_at=starts.get(one.id) if one.state == AttemptState.WAITING else None,
            expected_at=one.expected_at if one.state == AttemptState.WAITING else None,
            pool_trouble=why_not_live(one.pool, now=now) or "",
            holds_capacity=one.id in starts,
        )
        for one in attempts
    ]


def _places_in(pool_ids: Collection[UUID]) -> Mapping[UUID, Mapping[UUID, int]]:
    """By pool: the place of each attempt that waits there, from 1."""
    turns = turns_in(pool_ids) if pool_ids else {}
    return {pool_id: {key: place for place, key in enumerate(keys, 1)} for pool_id, keys in turns.items()}


def waiting_in(actor: Actor, pool_id: UUID) -> list[Attempt]:
    """What waits in a pool, who is next first, with its run's order and what it holds.

    Raises:
        NotFound: there is no such pool, or the actor may not know.
    """
    places = _places_in([pool_visible_to(actor, pool_id).id])[pool_id]
    rows = Attempt.objects.select_related("run__organisation", "run__order", "pool").filter(id__in=places)
    return sorted(rows, key=lambda one: places[one.id])


@dataclass(frozen=True, slots=True)
class Estimates:
    """How far off the expected starts of what had to wait were: the last `ESTIMATES_MAX` since `ESTIMATES_SINCE`."""

    count: int = 0
    median_error_s: int | None = None


@dataclass(frozen=True, slots=True)
class InLine:
    """Where a run that waits stands in its pool."""

    place: int
    """From 1, by whose turn it is; what is promised a start takes it at that time whatever its place."""
    waiting: int
    expected_at: datetime
    promised_at: datetime
    """It starts then at the latest."""
    estimates: Estimates


def in_line(runs: Iterable[Run], *, now: datetime) -> Mapping[UUID, InLine]:
    """By run: where those of them stand that wait; no query where none does. The caller may see them.

    The runs come with their attempts and allocations.
    """
    waiting = {
        run.id: attempt
        for run in runs
        if run.state == RunState.QUEUED
        for attempt in run.attempts.all()
        if attempt.state == AttemptState.WAITING
    }
    pools = {attempt.pool_id for attempt in waiting.values()}
    places, estimates = _places_in(pools), estimates_of(pools, now=now)
    found = {}
    for run_id, attempt in waiting.items():
        starts = [place.period.lower for place in attempt.allocations.all() if place.live]
        place = places[attempt.pool_id].get(attempt.id)
        if starts and place is not None:
            promised = max(now, min(starts))
            found[run_id] = InLine(
                place=place,
                waiting=len(places[attempt.pool_id]),
                expected_at=min(promised, max(now, attempt.expected_at or promised)),
                promised_at=promised,
                estimates=estimates.get(attempt.pool_id, Estimates()),
            )
    return found


def used_part(pool_id: UUID) -> float:
    """Which part of their wall limit the pool's last runs took, the median; 1 while too few have ended."""
    with connection.cursor() as cursor:
        cursor.execute(_USED_PART, [pool_id])
        count, part = cursor.fetchone()
    return float(part) if count >= ENDED_MIN else 1.0


def estimates_of(pool_ids: Collection[UUID], *, now: datetime) -> Mapping[UUID, Estimates]:
    """By pool: how good its expected starts were; a pool in which nothing had to wait is missing."""
    if not pool_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _ERRORS,
            {
                "pools": list(pool_ids),
                "since": now - ESTIMATES_SINCE,
                "waits_s": WAITS_FROM.total_seconds(),
                "most": ESTIMATES_MAX,
            },
        )
        return {pool_id: Estimates(count, round(error)) for pool_id, count, error in cursor.fetchall()}


_USED_PART: Final = """
select count(*), percentile_cont(0.5) within group (order by part) from (
  select extract(epoch from t.ended_at - t.first_running_at)
         / nullif((r.request ->> 'wall_limit_s')::numeric + t.extended_s, 0) as part
    from compute_attempt t join compute_run r on r.id = t.run_id
   where t.pool_id = %s and t.state in ('succeeded', 'failed', 'timed_out') and t.first_running_at is not null
   order by t.created_at desc, t.id desc limit 50) as last
"""
_ERRORS: Final = """
select pool, count(*), percentile_cont(0.5) within group (order by error)
  from unnest(%(pools)s::uuid[]) as pool cross join lateral (
    select abs(extract(epoch from leased_at - expected_at)) as error from compute_attempt
     where pool_id = pool and created_at > %(since)s and leased_at is not null
       and expected_at > created_at and expected_at > created_at + %(waits_s)s * interval '1 second'
     order by created_at desc limit %(most)s) as waited
 group by pool
"""
