"""Days and months of the hub's zone, as lists are filtered by them."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _

from mosu.market.bills import month_of, span_of
from mosu.market.hub import hub_zone
from mosu.web.tables import Filter

MONTHS: Final = 24
"""So many are offered as a filter."""

Apply = Callable[[Any, str], Any]
"""What a filter does with the rows and the value that was typed or chosen."""


def day_began(day: date) -> datetime:
    """The midnight with which a day of the hub's began."""
    return datetime.combine(day, time(), tzinfo=hub_zone())


def dated(take: Callable[[Any, datetime], Any], *, days: int = 0) -> Apply:
    """A filter by a typed day: `take` gets the rows and the midnight `days` after it. What is no day finds nothing."""

    def apply(rows: Any, text: str) -> Any:
        try:
            day = parse_date(text.strip())
            at = day_began(day + timedelta(days=days)) if day else None
        except (ValueError, OverflowError):
            at = None
        return rows.none() if at is None else take(rows, at)

    return apply


def monthly(field: str, *, last: date) -> Filter:
    """The filter `?month=2026-11` of rows whose instant `field` lies in it: one of the `MONTHS` up to `last`."""

    def apply(rows: Any, month: str) -> Any:
        span = span_of(month_of(month), zone=hub_zone())
        return rows.filter(**{f"{field}__gte": span.start, f"{field}__lt": span.end})

    first = last.year * 12 + last.month - 1
    codes = [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(first, first - MONTHS, -1)]
    return Filter("month", _("Month"), apply, [(code, code) for code in codes])
