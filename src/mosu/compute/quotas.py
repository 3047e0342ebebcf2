"""How much an organisation, or a project, may hold at one time, and from when it may hold more. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from mosu.kernel.time import Period


@dataclass(frozen=True, slots=True)
class Held:
    """What one allocation holds of what is limited. `end` is None where nobody knows when it comes back."""

    start: datetime
    end: datetime | None
    units: int | Fraction

    def is_at(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota with what is held of it."""

    units_max: int
    held: tuple[Held, ...]
    of_project: bool = False


def earliest_within(
    limits: Sequence[Limit], *, units: int | Fraction, earliest: datetime, duration: timedelta
) -> datetime | None:
    """The first start from `earliest` on at which `units` more pass no limit all through; None: never."""
    ends = {one.end for limit in limits for one in limit.held if one.end and one.end > earliest}
    for start in sorted({earliest, *ends}):
        if all(_peak(limit, Period(start, start + duration)) + units <= limit.units_max for limit in limits):
            return start
    return None


def _peak(limit: Limit, period: Period) -> int | Fraction:
    """The most that is held at one moment of the period: it peaks where something starts."""
    starts = {one.start for one in limit.held if period.start < one.start < period.end}
    return max(
        sum(one.units for one in limit.held if one.is_at(moment)) for moment in {period.start, *starts}
    )
