"""Money as integer micros of one currency: 1 CNY = 1_000_000 micros. No float ever touches it."""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from mosu.kernel.refusals import Invalid

MICROS: Final = 1_000_000
MICROS_MAX: Final = 9_000_000_000_000_000_000
"""Largest amount: fits a signed 64-bit integer."""

# ISO 4217 minor units of the currencies that a hub may settle in.
MINOR_DIGITS: Final = {"CNY": 2, "USD": 2, "EUR": 2, "INR": 2, "GBP": 2, "CAD": 2, "JPY": 0}

_DECIMAL = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,6})?")


def micros_of(text: str, *, field: str = "amount") -> int:
    """Micros of a decimal string such as `"12.80"`.

    Raises:
        Invalid: not a plain decimal with at most six places, or too large.
    """
    if not _DECIMAL.fullmatch(text):
        raise Invalid(
            f"{field}: {text!r} is not an amount.",
            hint='Write a decimal with at most six places, such as "12.80".',
            field=field,
            found=text[:40],
        )
    return int(Decimal(text) * MICROS)


def decimal_of(micros: int, *, currency: str = "CNY") -> str:
    """The shortest decimal string that is exact, with at least the currency's minor digits: `"12.80"`."""
    sign = "-" if micros < 0 else ""
    whole, part = divmod(abs(micros), MICROS)
    digits = f"{part:06d}".rstrip("0").ljust(MINOR_DIGITS[currency], "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def minor_unit(currency: str) -> int:
    """Micros of one minor unit."""
    return int(MICROS // 10 ** MINOR_DIGITS[currency])


def rounded(micros: Decimal | int, *, currency: str = "CNY") -> int:
    """Micros rounded half-even to the currency's minor unit. A line is rounded once, before posting."""
    unit = minor_unit(currency)
    return int((Decimal(micros) / unit).to_integral_value(rounding=ROUND_HALF_EVEN)) * unit


def floored(micros: Decimal | int, *, currency: str = "CNY") -> int:
    """Micros rounded down to the minor unit: for a share that must not exceed its rate. Not for negatives."""
    unit = minor_unit(currency)
    return int(micros // unit) * unit
