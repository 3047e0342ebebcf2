"""The layout of mosu's own files: CSV columns, and the same names in YAML."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final

from mosu.wire.offers.cells import NUMBER, count_of, memory_of, micros_per, number_of, text_of, truth_of
from mosu.wire.offers.rows import KEY_CHARACTERS_MAX, MODES, UNITS, UNITS_MAX, WALL_S_DEFAULT, OfferRow
from mosu.wire.offers.tables import Problems

REQUIRED: Final = ("key", "price")
COLUMNS: Final = (
    "key", "title_zh", "title_en", "accelerator", "accelerator_memory", "region", "mode", "unit", "price", "currency",
    "min_units", "max_units", "wall_hours_max", "cores", "memory_gib", "pool", "kind", "domestic",
    "tax_rate", "tax_included", "sold_by", "buyer",
)  # fmt: skip
IN_CHINESE: Final = {
    "编号": "key", "中文名": "title_zh", "英文名": "title_en", "卡型": "accelerator", "显存": "accelerator_memory",
    "地区": "region", "方式": "mode", "计价单位": "unit", "单价": "price", "币种": "currency",
    "最少数量": "min_units", "最多数量": "max_units", "最长小时数": "wall_hours_max", "核数": "cores",
    "内存GiB": "memory_gib", "资源池": "pool", "国产": "domestic", "税率": "tax_rate", "含税": "tax_included",
    "购买方": "buyer",
}  # fmt: skip
_REGIONS = re.compile(r"[;；|]")
_CURRENCY = re.compile(r"[A-Z]{3}")


def column_named(name: str) -> str:
    """The column that a header cell means: in English or Chinese, letter case and spaces do not count."""
    plain = "".join(name.split())
    return IN_CHINESE.get(plain, plain.lower())


def check_columns(line: int, columns: Mapping[str, str], problems: Problems) -> None:
    """Note every column (by name, as the file writes it) that is not one of ours."""
    for column, written in columns.items():
        if column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, n=1)
            problems.add(
                line,
                written,
                f"There is no column {written[:60]!r}.",
                found=written,
                allowed=", ".join(COLUMNS),
                nearest=near[0] if near else "",
            )


_ITS_OWN: Final = ("key", "title_zh", "title_en", "price")
"""Columns in which nearly every row differs; in the others rows are much alike."""
_LIKE_MAX: Final = 5_000
_LIKE_CHARACTERS_MAX: Final = 4_000
"""Of a row's cells: blanks around them are as long as a file likes, and what is remembered stays."""
_LIKE: dict[tuple[str, ...], dict[str, Any]] = {}


def own_rows(line: int, cells: Mapping[str, str], problems: Problems, *, currency: str) -> Iterator[OfferRow]:
    """The offers of one row: one for each of its regions."""
    read = _Row(line, cells, problems)
    row = read.offer_like_another(currency)
    if read.broken:
        return
    regions = [text.strip() for text in _REGIONS.split(row.region) if text.strip()]
    if len(regions) < 2:
        row.region = regions[0] if regions else ""
        yield row
        return
    key = row.key
    for region in dict.fromkeys(regions):
        copy = read.offer(currency)
        copy.key, copy.region = f"{key}@{region}"[:KEY_CHARACTERS_MAX], region
        yield copy


_SHARED: Final = tuple(
    one.name
    for one in fields(OfferRow)
    if one.name not in ("line", "key", "price_micros", "listed", "title_zh", "title_en")
)


class _Row:
    """One row's cells, read as what they must be; `broken` once one is not."""

    def __init__(self, line: int, cells: Mapping[str, str], problems: Problems) -> None:
        self._line, self._cells, self._problems = line, cells, problems
        self.broken = False

    def offer_like_another(self, currency: str) -> OfferRow:
        """`offer`, but cells that were read in an earlier row are not read again."""
        cells = self._cells
        alike = (
            currency,
            *(f"{name}={cell}" for name, cell in cells.items() if cell and name not in _ITS_OWN),
        )
        known = _LIKE.get(alike)
        if known is None:
            row = self.offer(currency)
            if not self.broken and sum(map(len, alike)) <= _LIKE_CHARACTERS_MAX:
                if len(_LIKE) >= _LIKE_MAX:
                    _LIKE.clear()
                _LIKE[alike] = {name: getattr(row, name) for name in _SHARED}
            return row
        listed = self._price()
        zh, en = self._text("title_zh", 200), self._text("title_en", 200)
        made = known["accelerator"] or "vCPU"
        return OfferRow(
            line=self._line,
            key=self._key(),
            price_micros=micros_per(listed, 1),
            listed=listed,
            title_zh=zh or en or made,
            title_en=en or zh or made,
            **known,
        )

    def offer(self, currency: str) -> OfferRow:
        accelerator = self._text("accelerator", 100)
        memory, memory_unit = self._memory()
        listed = self._price()
        unit = self._one_of("unit", UNITS) or ("card_hour" if accelerator else "core_hour")
        if (unit == "card_hour") is not bool(accelerator):
            self._refuse("unit", unit, "card_hour with an accelerator, core_hour without one")
        low, high = self._count("min_units", 1, UNITS_MAX), self._count("max_units", 1, UNITS_MAX)
        if high is None:
            high = max(64, low or 1)
        if (low or 1) > high:
            self._refuse("max_units", str(high), f"at least min_units, {low}")
        hours = self._count("wall_hours_max", 1, 8784)
        zh, en = self._text("title_zh", 200), self._text("title_en", 200)
        made = accelerator or "vCPU"
        return OfferRow(
            line=self._line,
            key=self._key(),
            unit=unit,
            price_micros=micros_per(listed, 1),
            listed=listed,
            currency=self._currency() or currency,
            title_zh=zh or en or made,
            title_en=en or zh or made,
            accelerator=accelerator,
            region=self._text("region", 1000),
            mode=self._one_of("mode", MODES) or "on_demand",
            min_units=low or 1,
            max_units=high,
            wall_s_max=hours * 3600 if hours else WALL_S_DEFAULT,
            card_memory=memory,
            card_memory_unit=memory_unit,
            cores=self._count("cores", 1, UNITS_MAX),
            memory_gib=self._number("memory_gib"),
            pool=self._text("pool", 60),
            kind=self._text("kind", 100),
            domestic=self._truth("domestic"),
            tax_rate_bp=self._tax_rate(),
            tax_included=self._truth("tax_included") is not False,
            sold_by=self._one_of("sold_by", ("hub", "supplier")) or "hub",
            buyer=self._text("buyer", 60),
        )

    def _key(self) -> str:
        key = self._text("key", KEY_CHARACTERS_MAX)
        if not key and not self.broken:
            self._refuse(
                "key", "", f"1 to {KEY_CHARACTERS_MAX} visible characters, the offer's own in this file"
            )
        return key

    def _price(self) -> Decimal:
        found = number_of(self._cell("price"))
        if found is None:
            self._refuse("price", self._cell("price"), f"{NUMBER}, without a currency's sign")
        return found if found is not None else Decimal(0)

    def _currency(self) -> str:
        cell = self._cell("currency").upper()
        if cell and not _CURRENCY.fullmatch(cell):
            self._refuse("currency", cell, "a currency's three letters, such as CNY")
        return cell

    def _memory(self) -> tuple[Decimal | None, str]:
        cell = self._cell("accelerator_memory")
        if not cell:
            return None, ""
        found = memory_of(cell)
        if found is None:
            self._refuse("accelerator_memory", cell, "a size such as 80 GB, 80 GiB or 81920 MiB")
            return None, ""
        return found[0], found[1] or "GB"

    def _tax_rate(self) -> int:
        cell = self._cell("tax_rate")
        if not cell:
            return 600
        percent = cell.endswith("%")
        found = number_of(cell.removesuffix("%"))
        basis_points = found * (100 if percent else 10_000) if found is not None else None
        if basis_points is None or basis_points != int(basis_points) or basis_points > 10_000:
            self._refuse("tax_rate", cell, "a rate such as 0.06 or 6%")
            return 600
        return int(basis_points)

    def _number(self, column: str) -> Decimal | None:
        cell = self._cell(column)
        if not cell:
            return None
        found = number_of(cell)
        if found is None:
            self._refuse(column, cell, NUMBER)
        return found

    def _count(self, column: str, minimum: int, maximum: int) -> int | None:
        cell = self._cell(column)
        if not cell:
            return None
        found = count_of(cell)
        if found is None or not minimum <= found <= maximum:
            self._refuse(column, cell, f"a whole number from {minimum} to {maximum}")
            return None
        return found

    def _truth(self, column: str) -> bool | None:
        cell = self._cell(column)
        found = truth_of(cell) if cell else None
        if cell and found is None:
            self._refuse(column, cell, "true or false")
        return found

    def _one_of(self, column: str, allowed: tuple[str, ...]) -> str:
        cell = self._cell(column).lower().replace("-", "_")
        if cell and cell not in allowed:
            self._refuse(column, cell, ", ".join(allowed))
        return cell

    def _text(self, column: str, characters_max: int) -> str:
        cell = self._cells.get(column, "")
        found = text_of(cell)
        if found is None or len(found) > characters_max:
            self._refuse(column, cell, f"at most {characters_max} visible characters")
            return ""
        return found

    def _cell(self, column: str) -> str:
        return self._cells.get(column, "").strip()

    def _refuse(self, column: str, found: str, allowed: str) -> None:
        self.broken = True
        shown = repr(found[:60]) if found else "an empty cell"
        self._problems.add(
            self._line, column, f"{shown} does not fit; allowed is {allowed}.", found=found, allowed=allowed
        )
