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
    """The first day of the hub's calendar month of an instant: the month whose budgets a purchase counts against."""
    return day_in(zone, at).replace(day=1)


def span_of_month(month: date, *, zone: ZoneInfo) -> Period:
    """The instants of the month that `month` is a day of, in the hub's zone."""
    first = month.replace(day=1)
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return Period(
        datetime.combine(first, time(), tzinfo=zone).astimezone(UTC),
        datetime.combine(following, time(), tzinfo=zone).astimezone(UTC),
    )


def year_in(zone: ZoneInfo, at: datetime) -> int:
    """The hub's calendar year of an instant: the year whose caps a purchase counts against."""
    return at.astimezone(zone).year


def typed(seconds: int) -> str:
    """So long as a person types it: `2h`, `1h30m`, `45s`."""
    minutes, left = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (left, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def last_days(days: int, *, now: datetime, zone: ZoneInfo) -> Period:
    """From the midnight with which the first of the last `days` days began, today among them, until now."""
    first = day_in(zone, now) - timedelta(days=days - 1)
    return Period(datetime.combine(first, time(), tzinfo=zone).astimezone(UTC), now)
