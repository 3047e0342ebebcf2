"""Layouts of other people's catalogues: SkyPilot's v8 (machines, and Slurm's prices) and gpuhunt's v2.

Their traps are known: columns come in any order and with extras, a spot price of 0 means unknown, an empty price
beside a spot price means that only spot is sold, cards without a machine are to be added to one, and the memory of a
card is now in MiB, now in GB, now of all cards together. Prices are in US dollars.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from mosu.wire.offers.cells import NUMBER, count_of, micros_per, number_of, size_in_info, text_of
from mosu.wire.offers.rows import KEY_CHARACTERS_MAX, UNITS_MAX, OfferRow
from mosu.wire.offers.tables import Problems

CURRENCY: Final = "USD"
V8: Final = frozenset({"acceleratorname", "region"})
SLURM: Final = frozenset({"priceper" + "vcpu", "priceperaccelerator", "acceleratorname"})
GPUHUNT: Final = frozenset({"instance_name", "location", "price", "gpu_name", "spot"})
NAMES_ONLY: Final = frozenset({"acceleratorname", "clouds"})
_MODE_NAMES: Final = {"on_demand": ("", ""), "spot": ("（竞价）", " (spot)")}


@dataclass(slots=True)
class _Machine:
    """What one row of a catalogue sells, in whatever modes."""

    line: int
    name: str
    cloud: str
    region: str
    zone: str
    accelerator: str
    count: int
    cores: Decimal
    memory_gib: Decimal | None
    card_memory: Decimal | None
    card_memory_unit: str
    currency: str
    prices: dict[str, Decimal | None]

    def rows(self) -> Iterator[OfferRow]:
        units = self.count if self.accelerator else max(1, int(self.cores))
        place = "/".join(part for part in (self.region, self.zone) if part)
        micros = {
            mode: micros_per(listed, units) for mode, listed in self.prices.items() if listed is not None
        }
        for mode, listed in self.prices.items():
            other = next((price for which, price in micros.items() if which != mode), None)
            what = f"{units} × {self.accelerator}" if self.accelerator else f"{units} vCPU"
            where = " ".join(part for part in (self.cloud, place) if part)
            zh, en = _MODE_NAMES[mode]
            title = " · ".join(part for part in (what, self.name, where) if part)[:180]
            yield OfferRow(
                line=self.line,
                key="|".join((self.cloud, self.name or f"{units}x{self.accelerator}", place, mode)),
                unit="card_hour" if self.accelerator else "core_hour",
                price_micros=micros.get(mode, 0),
                listed=listed,
                currency=self.currency,
                title_zh=title + zh,
                title_en=title + en,
                accelerator=self.accelerator,
                region=self.region,
                mode=mode,
                min_units=units,
                max_units=units,
                other_micros=other,
                card_memory=self.card_memory,
                card_memory_unit=self.card_memory_unit,
                cores=int(self.cores) or None,
                memory_gib=self.memory_gib,
                card_alone=bool(self.accelerator) and not self.name,
            )


def v8_rows(line: int, cells: Mapping[str, str], problems: Problems, *, currency: str) -> Iterator[OfferRow]:
    """The offers of one row of `vms.csv`, or of the snapshot with `Cloud` and `PriceUSDPerHour`."""
    read = _Cells(line, cells, problems)
    info = cells.get("gpuinfo", "")
    machine = _Machine(
        line=line,
        name=read.text("instancetype"),
        cloud=read.text("cloud"),
        region=read.text("region"),
        zone=read.text("availabilityzone"),
        accelerator=read.text("acceleratorname"),
        count=read.count("acceleratorcount"),
        cores=read.number("vcpus") or Decimal(0),
        memory_gib=read.number("memorygib"),
        card_memory=size_in_info(info) if info else read.number("acceleratormemorymib"),
        card_memory_unit="",
        currency=currency or CURRENCY,
        prices=_modes(
            read.number("price" if "price" in cells else "priceusdperhour"),
            read.number("spotprice" if "spotprice" in cells else "spotpriceusdperhour"),
        ),
    )
    yield from _whole(machine, read)


def gpuhunt_rows(
    line: int, cells: Mapping[str, str], problems: Problems, *, currency: str
) -> Iterator[OfferRow]:
    """The offer of one row of a gpuhunt file: spot and on demand are rows of their own."""
    read = _Cells(line, cells, problems)
    mode = "spot" if cells["spot"].strip().lower() in {"true", "1"} else "on_demand"
    machine = _Machine(
        line=line,
        name=read.text("instance_name"),
        cloud="",
        region=read.text("location"),
        zone="",
        accelerator=read.text("gpu_name"),
        count=read.count("gpu_count"),
        cores=read.number("cpu") or Decimal(0),
        memory_gib=read.number("memory"),
        card_memory=read.number("gpu_memory"),
        card_memory_unit="GB",
        currency=currency or CURRENCY,
        prices={mode: read.number("price")},
    )
    yield from _whole(machine, read)


def slurm_rows(
    line: int, cells: Mapping[str, str], problems: Problems, *, currency: str
) -> Iterator[OfferRow]:
    """Up to two offers of one row of `slurm/pricing.csv`: cores, and cards; an empty region is any."""
    read = _Cells(line, cells, problems)
    place = "/".join(part for part in (read.text("region"), read.text("zone")) if part)
    accelerator = read.text("acceleratorname")
    wanted = [("core_hour", "", read.number("pricepervcpu"))]
    if accelerator:
        wanted.append(("card_hour", accelerator, read.number("priceperaccelerator")))
    memory = read.number("pricepermemorygb")
    if memory:
        problems.add(
            line,
            "PricePerMemoryGB",
            "Memory is not sold by itself here.",
            found=str(memory),
            allowed="0, or an empty cell",
        )
        return
    for unit, name, listed in wanted:
        if accelerator and unit == "core_hour" and not listed:
            continue  # a row for cards names no price of cores
        title = " · ".join(part for part in (name or "vCPU", place) if part)
        yield OfferRow(
            line=line,
            key="|".join(("slurm", name or "vcpu", place)),
            unit=unit,
            price_micros=micros_per(listed, 1) if listed is not None else 0,
            listed=listed,
            currency=currency or CURRENCY,
            title_zh=title,
            title_en=title,
            accelerator=name,
            region=read.text("region"),
            max_units=UNITS_MAX,
        )


def _modes(price: Decimal | None, spot: Decimal | None) -> dict[str, Decimal | None]:
    """What is sold: on demand unless only spot has a price; spot where it has one (0 is unknown)."""
    modes: dict[str, Decimal | None] = {}
    if price is not None or not spot:
        modes["on_demand"] = price
    if spot:
        modes["spot"] = spot
    return modes


def _whole(machine: _Machine, read: "_Cells") -> Iterator[OfferRow]:
    if read.broken:
        return
    if machine.accelerator and not 1 <= machine.count <= UNITS_MAX:
        read.refuse("AcceleratorCount", str(machine.count), "a whole number from 1 on beside a name")
        return
    rows = list(machine.rows())
    if len(rows[0].key) > KEY_CHARACTERS_MAX:
        read.refuse(
            "InstanceType", machine.name, f"at most {KEY_CHARACTERS_MAX} characters with region and zone"
        )
        return
    yield from rows


class _Cells:
    """One row's cells, read as what they must be; `broken` once one is not."""

    def __init__(self, line: int, cells: Mapping[str, str], problems: Problems) -> None:
        self._line, self._cells, self._problems = line, cells, problems
        self.broken = False

    def text(self, column: str) -> str:
        found = text_of(self._cells.get(column, ""))
        if found is None or len(found) > 100:
            self.refuse(column, self._cells[column], "up to 100 visible characters")
            return ""
        return found

    def number(self, column: str) -> Decimal | None:
        cell = self._cells.get(column, "").strip()
        if not cell:
            return None
        found = number_of(cell)
        if found is None:
            self.refuse(column, cell, NUMBER)
        return found

    def count(self, column: str) -> int:
        cell = self._cells.get(column, "").strip()
        found = count_of(cell) if cell else 0
        if found is None:
            self.refuse(column, cell, "a whole number")
        return found or 0

    def refuse(self, column: str, found: str, allowed: str) -> None:
        self.broken = True
        self._problems.add(
            self._line,
            column,
            f"{found[:60]!r} does not fit; allowed is {allowed}.",
            found=found,
            allowed=allowed,
        )
