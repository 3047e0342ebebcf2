"""What foreign currencies are worth in the hub's: dated rates, by which quotes convert list prices."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from mosu.kernel.refusals import DomainError
from mosu.kernel.time import day_in
from mosu.market.hub import hub_zone
from mosu.market.models import ExchangeRate

RATE_DAYS_MAX: Final = 15
"""A rate older than this is not quoted by: longer than any string of bank holidays."""


class NoRate(DomainError):
    """No rate of this currency is recent enough to promise a price by."""

    code = "no_rate"


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate as a quote freezes it: `rate` of the hub's currency for one of `currency`."""

    currency: str
    rate: Decimal
    dated: date
    source: str

    def converted(self, micros: int) -> int:
        """Micros of the hub's currency, rounded half-even: what the promised unit price is from then on."""
        return int((micros * self.rate).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))

    def frozen(self, list_micros: int) -> dict[str, Any]:
        """For `Quote.fx`, by meter."""
        return {
            "currency": self.currency,
            "list_price_micros": list_micros,
            "rate": f"{self.rate.normalize():f}",
            "dated": self.dated.isoformat(),
            "source": self.source,
        }


def rates_of(*, now: datetime) -> dict[str, Rate]:
    """The latest rate of each foreign currency, however old: for showing and comparing."""
    rows = (
        ExchangeRate.objects.filter(dated__lte=day_in(hub_zone(), now))
        .order_by("currency", "-dated", "-recorded_at")
        .distinct("currency")
    )
    return {row.currency: Rate(row.currency, row.rate, row.dated, row.source) for row in rows}


def usable(rates: Mapping[str, Rate], currency: str, *, now: datetime) -> Rate | None:
    """The rate to promise a price by; None if there is none, or only one that is too old."""
    found = rates.get(currency)
    if found is None or day_in(hub_zone(), now) - found.dated > timedelta(days=RATE_DAYS_MAX):
        return None
    return found


def rate_for(currency: str, rates: Mapping[str, Rate], *, now: datetime) -> Rate:
    """The rate by which a list price in a foreign `currency` is promised in the hub's.

    Raises:
        NoRate: none, or only one that is too old.
    """
    found = usable(rates, currency, now=now)
    if found is None:
        raise NoRate(no_rate(currency, now=now), hint="The hub's operator enters a rate.", currency=currency)
    return found


def no_rate(currency: str, *, now: datetime) -> str:
    return f"There is no rate for {currency} on {day_in(hub_zone(), now)}."
