"""The words for what is sold and metered, in both languages: the one home of pages, papers and the terminal."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_UNITS: Final = MappingProxyType(
    {
        "core_hour": ("核时", "core-hour"),
        "card_hour": ("卡时", "card-hour"),
        "gb_month": ("GB·月", "GB-month"),
    }
)
_METERS: Final = MappingProxyType(
    {
        "core_second": ("核秒", "core-second"),
        "card_second": ("卡秒", "card-second"),
        "gb_second": ("GB·秒", "GB-second"),
    }
)


def one_unit(unit: str) -> Mapping[str, str]:
    """The name of one of it, as behind a price: `core_hour` is core-hour, 核时. An unknown one names itself."""
    return _said(_UNITS.get(unit, (unit, unit)))


def many_units(unit: str) -> Mapping[str, str]:
    """The name of many of it, as behind a quantity: core-hours, 核时."""
    chinese, english = _UNITS.get(unit, (unit, unit))
    return _said((chinese, f"{english}s" if unit in _UNITS else english))


def one_count(meter: str) -> Mapping[str, str]:
    """The unit in which a meter counts: core-second, 核秒."""
    return _said(_METERS.get(meter, (meter, meter)))


def short_count(meter: str) -> Mapping[str, str]:
    """The same for narrow columns: core-s, 核秒."""
    chinese, english = _METERS.get(meter, (meter, meter))
    return _said((chinese, english.removesuffix("econd") if meter in _METERS else english))


def _said(words: tuple[str, str]) -> Mapping[str, str]:
    return {"zh": words[0], "en": words[1]}
