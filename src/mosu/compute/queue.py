"""The queue over all pools, for the hub's people: what runs, what waits and why, what is out of reach."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from mosu.compute.models import Allocation, Attempt
from mosu.compute.queries import why_not_live
from mosu.compute.states import ATTEMPT_ENDS, AttemptState
from mosu.platform.actors import Actor

_OPEN = tuple(state.value for state in AttemptState if state not in ATTEMPT_ENDS)


@dataclass(frozen=True, slots=True)
class Queued:
    """An attempt in the queue. `place` counts from 1 within its pool, for what waits."""

    attempt: Attempt
    place: int | None
    starts_at: datetime | None
    """When its capacity is promised for; it starts earlier if there is room."""
    pool_trouble: str
    """Why its pool takes nothing now; empty if it does."""
    holds_capacity: bool

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
    holding = Allocation.objects.filter(live=True).order_by().values("attempt_id")
    rows = rows.filter(id__in=open_ones.union(holding)).order_by("id")
    return rows if actor.sees_all else rows.none()


def attempt_in_queue(actor: Actor, attempt_id: UUID) -> Attempt | None:
    """Any attempt, also one that has ended."""
    rows = Attempt.objects.select_related("run__organisation", "run__order", "pool__organisation")
    return rows.filter(id=attempt_id).first() if actor.sees_all else None


def queued(attempts: Sequence[Attempt], *, now: datetime) -> list[Queued]:
    """Each with its place and what it waits for: two queries for all."""
    pools = {one.pool_id for one in attempts if one.state == AttemptState.WAITING}
    places: dict[UUID, int] = {}
    counted: dict[UUID, int] = defaultdict(int)
    waiting = Attempt.objects.filter(pool_id__in=pools, state=AttemptState.WAITING).order_by("pool_id", "id")
    for pool_id, attempt_id in waiting.values_list("pool_id", "id"):
        counted[pool_id] += 1
        places[attempt_id] = counted[pool_id]
    held = Allocation.objects.filter(attempt__in=attempts, live=True).order_by("-id")
    starts = {one.attempt_id: one.period.lower for one in held}
    return [
        Queued(
            attempt=one,
            place=places.get(one.id),
            starts_at=starts.get(one.id) if one.state == AttemptState.WAITING else None,
            pool_trouble=why_not_live(one.pool, now=now) or "",
            holds_capacity=one.id in starts,
        )
        for one in attempts
    ]
