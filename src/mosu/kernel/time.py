"""Instants are aware datetimes in UTC; days, months and years are the hub's. Nothing here reads a clock."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span `[start, end)` of aware instants."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a period needs aware instants")
        if self.end < self.start:
            raise ValueError("a period ends before it starts")

    @property
    def duration(self) -> timedelta:
        return self.end - self.start

    def overlaps(self, other: "Period") -> bool:
        return self.start < other.end and other.start < self.end


def day_in(zone: ZoneInfo, at: datetime) -> date:
    """The hub's calendar day of an instant."""
    return at.astimezone(zone).date()


def month_in(zone: ZoneInfo, at: datetime) -> date:
    """The first day of the hub's calendar month of an instant."""
    return day_in(zone, at).replace(day=1)


def year_in(zone: ZoneInfo, at: datetime) -> int:
    """The hub's calendar year of an instant: the year whose caps a purchase counts against."""
    return at.astimezone(zone).year


def last_days(days: int, *, now: datetime, zone: ZoneInfo) -> Period:
    """From the midnight with which the first of the last `days` days began, today among them, until now."""
    first = day_in(zone, now) - timedelta(days=days - 1)
    return Period(datetime.combine(first, time(), tzinfo=zone).astimezone(UTC), now)
