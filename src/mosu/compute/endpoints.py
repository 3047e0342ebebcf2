"""How many replicas an endpoint should have, which of them go, and when one is ordered again. No clock, no database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

SURGE: Final = 1
"""So many replicas beyond its most an endpoint may have, to put one in another's place."""
SUCCESSOR_BEFORE: Final = timedelta(minutes=5)
"""So long before a replica's time is over its successor is ordered; half of a short time."""
SILENT_MAX: Final = timedelta(seconds=60)
"""A replica whose agent was lost so long ago is given up."""
DRAINED_AT_LEAST: Final = timedelta(seconds=5)
"""Until then the relay may still give it requests, or not have said how many it has."""
DRAINED_AT_MOST: Final = timedelta(minutes=10)
STEADY_FOR: Final = timedelta(seconds=60)
"""Who was well for so long did not end at once."""
BACK_OFF_S_MAX: Final = 60
TOLD_AFTER: Final = 3
"""So many failures in a row are no passing trouble: people are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A replica whose run has not ended."""

    id: UUID
    is_current: bool
    """Of the endpoint's present version."""
    is_well: bool
    """It said so, and its agent is heard of."""
    ends_at: datetime
    """When its time is over."""
    succeeded_from: datetime
    """From then on its successor is ordered."""
    silent_since: datetime | None
    drained_at: datetime | None
    in_flight: int


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now: `drained` get no new requests, and one is `ordered` or none."""

    drained: tuple[UUID, ...]
    ordered: bool
    missing: int
    """So many are still to be ordered, now or later."""


def wanted(
    *,
    least: int,
    most: int,
    requests: int,
    in_flight: int,
    asked_at: datetime | None,
    idle_s: int,
    now: datetime,
) -> int:
    """How many replicas, `least` to `most`: for `in_flight`, the most at once of the last `idle_s`, and one for who
    asked within it."""
    asked = asked_at is not None and now - asked_at < timedelta(seconds=idle_s)
    return max(least, min(most, max(-(-in_flight // requests), 1 if asked else 0)))


def step(held: Sequence[Held], *, count: int, most: int, now: datetime) -> Step:
    """The next step towards `count` replicas of the present version.

    One that must go (another version, its time nearly over) goes when there are enough without it; until then it
    answers. So while one takes another's place there are `most` and one.
    """
    drained = {one.id for one in held if one.drained_at is None and _is_lost(one, now=now)}
    staying = [one for one in held if one.drained_at is None and one.id not in drained]
    fresh = [one for one in staying if one.is_current and now < one.succeeded_from]
    surplus = sorted(fresh, key=_goes_first)[: max(0, len(fresh) - count)]
    drained |= {one.id for one in surplus}
    well = [one for one in staying if one.is_well and one.id not in drained]
    for one in sorted((one for one in staying if one not in fresh), key=lambda one: one.ends_at):
        if not one.is_well or len(well) > count:
            drained.add(one.id)
            well = [other for other in well if other is not one]
    room = most_live(most) if len(held) > len(fresh) else most
    missing = max(0, count - len(fresh))
    return Step(
        drained=tuple(one.id for one in held if one.id in drained),
        ordered=missing > 0 and len(held) < room,
        missing=missing,
    )


def most_live(most: int) -> int:
    """How many replicas that have not ended an endpoint never passes."""
    return most + SURGE


def succeeded_from(ends_at: datetime, *, wall_limit_s: int) -> datetime:
    """From when on a replica's successor is ordered."""
    return ends_at - min(SUCCESSOR_BEFORE, timedelta(seconds=wall_limit_s) / 2)


def back_off(failures: int) -> timedelta:
    """How long after that many failures in a row nothing is ordered: 1, 2, 4 ... 60 s."""
    return timedelta(seconds=min(BACK_OFF_S_MAX, 2 ** min(failures - 1, 10)))


def is_empty(one: Held, *, now: datetime) -> bool:
    """Whether a replica that is given no new requests has none, or has had time enough for them: it is stopped."""
    if one.drained_at is None:
        return False
    since = now - one.drained_at
    return not one.is_well or since >= DRAINED_AT_MOST or (since >= DRAINED_AT_LEAST and not one.in_flight)


def _is_lost(one: Held, *, now: datetime) -> bool:
    return one.silent_since is not None and now - one.silent_since >= SILENT_MAX


def _goes_first(one: Held) -> tuple[bool, float]:
    """Of more than are needed: who is not well yet, the newest of them; then whose time is over first."""
    ends = one.ends_at.timestamp()
    return one.is_well, ends if one.is_well else -ends
