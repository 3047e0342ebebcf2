"""What a cell of an offers file says: text, numbers, memory. Pure; None where it does not fit."""

import re
import unicodedata
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from mosu.kernel.csv import meant
from mosu.kernel.money import MICROS

_PLAIN = re.compile(r"[0-9]{1,15}(\.[0-9]{0,12})?|\.[0-9]{1,12}")
_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3}){1,4}(\.[0-9]{0,12})?")
_SMALL = re.compile(r"[0-9](\.[0-9]{1,15})?[eE]-?[0-9]{1,2}")
_NUMBER_MAX: Final = Decimal(10**15)
_MEMORY = re.compile(r"([0-9.,]+)\s*(MiB|GiB|TiB|MB|GB|TB|M|G|T)?B?", re.IGNORECASE)
_SIZE_IN_INFO = re.compile(r"""['"]SizeInMiB['"]\s*:\s*['"]?([0-9]{1,12}(?:\.[0-9]{1,6})?)""")

NUMBER: Final = "a number such as 12.50 or 1,234.50"


def text_of(cell: str) -> str | None:
    """Visible text with single spaces, as it is meant; None if it holds characters that cannot be seen.

    A text that begins like a formula is text here; it goes out inert again.
    """
    if not cell:
        return ""
    if cell.isascii() and cell.isprintable() and "  " not in cell:
        return meant(cell.strip())
    text = " ".join(unicodedata.normalize("NFC", meant(cell.strip())).split())
    return text if text.isprintable() else None  # control, direction and private characters are not


def number_of(cell: str) -> Decimal | None:
    """A decimal that is not negative: plain, with commas between thousands, or `1e-05`; full-width digits too."""
    text = cell if cell.isascii() else unicodedata.normalize("NFKC", cell)
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    if _GROUPED.fullmatch(text):
        return Decimal(text.replace(",", ""))
    number = Decimal(text) if _SMALL.fullmatch(text) else None
    return number if number is not None and number < _NUMBER_MAX else None


def count_of(cell: str, *, maximum: int = 1_000_000_000) -> int | None:
    """A whole number from 0 on; `8.0` is 8."""
    number = number_of(cell)
    if number is None or number != number.to_integral_value() or number > maximum:
        return None
    return int(number)


def truth_of(cell: str) -> bool | None:
    return {
        "true": True, "yes": True, "1": True, "是": True,
        "false": False, "no": False, "0": False, "否": False,
    }.get(cell.strip().lower())  # fmt: skip


def memory_of(cell: str) -> tuple[Decimal, str] | None:
    """A number and its unit (`MiB`, `GiB`, `GB`...; empty if none is written)."""
    found = _MEMORY.fullmatch(cell.strip())
    number = number_of(found[1]) if found else None
    if found is None or number is None:
        return None
    unit = (found[2] or "").upper().replace("IB", "iB")
    return number, f"{unit}B" if unit in {"M", "G", "T"} else unit


def size_in_info(cell: str) -> Decimal | None:
    """`SizeInMiB` out of a GpuInfo cell, be it JSON or Python's own notation; whatever it really counts."""
    found = _SIZE_IN_INFO.search(cell)
    return Decimal(found[1]) if found else None


def micros_per(listed: Decimal, units: int) -> int:
    """Micros of one of `units`, rounded half-even."""
    return int((listed * MICROS / units).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
