"""What the components draw: plain values that a view makes and a tag of `{% load mosu %}` takes.

Each component is one tag with one part: `{% steps steps %}` draws `Step`s with `parts/steps.html`. The page `/look/`
shows every state of each, with the line that calls it (docs/adr/0013-components.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import floor, log10
from typing import Any, Final

CELLS_MAX: Final = 16
CURVE_WIDTH: Final = 600
CURVE_HEIGHT: Final = 120
NEAR: Final = 0.25
"""A curve whose peak is above this part of its limit has the limit on its axis."""

Words = Any
"""A `str`, one that is translated when it is shown, or `{"zh": ..., "en": ...}`."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, its value, and where it comes from."""

    name: Words
    value: Any
    source: Words = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a stepper; `at` is `done`, `now` or `later`."""

    title: Words
    at: str
    note: Words = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or will (`at` is None if nobody knows when)."""

    title: Words
    at: datetime | None
    mark: str = "ok"
    note: Words = ""


@dataclass(frozen=True, slots=True)
class Tab:
    """One of several views of the same thing."""

    title: Words
    href: str
    is_current: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a facet, and how many there are of it."""

    value: str
    title: Words
    count: int
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facet:
    """A group of choices in the address: `?name=value`, as often as values are chosen."""

    name: str
    title: Words
    choices: Sequence[Choice]
    shown: int = 6
    """How many are seen before one asks for more."""


@dataclass(frozen=True, slots=True)
class Point:
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A measure over time: zero-based, with its unit, a direct label and the table behind it."""

    title: Words
    unit: str
    points: Sequence[Point]
    limit: float | None = None
    """What it may come to at most, where that is known (64 GB): a line if the values come near it, else said."""
    form: str = "H:i:s"
    """How its times are written, as Django's `date` takes it."""

    @property
    def top(self) -> float:
        """The end of the axis: the limit if the values come near it, else the next 1, 2 or 5 above them."""
        peak = max((point.value for point in self.points), default=0.0)
        if self.limit is None:
            return peak or 1
        return max(self.limit, peak) if not peak or peak > self.limit * NEAR else _round_above(peak)

    @property
    def limit_y(self) -> float | None:
        """Where the line of the limit is drawn; None if it lies above the axis, or there is none."""
        if not self.limit or self.limit > self.top:
            return None
        return CURVE_HEIGHT * (1 - self.limit / self.top)

    @property
    def last(self) -> Point | None:
        return self.points[-1] if self.points else None

    @property
    def line(self) -> str:
        """The points of an SVG polyline in a box of `CURVE_WIDTH` x `CURVE_HEIGHT`."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self._places())

    @property
    def area(self) -> str:
        places = self._places()
        if not places:
            return ""
        return f"{places[0][0]:.1f},{CURVE_HEIGHT} {self.line} {places[-1][0]:.1f},{CURVE_HEIGHT}"

    def _places(self) -> list[tuple[float, float]]:
        if not self.points:
            return []
        first, last = self.points[0].at, self.points[-1].at
        span = (last - first).total_seconds() or 1
        return [
            (
                CURVE_WIDTH * (point.at - first).total_seconds() / span,
                CURVE_HEIGHT * (1 - min(point.value / self.top, 1)),
            )
            for point in self.points
        ]


def _round_above(value: float) -> float:
    """The least of 1, 2, 5, 10 times a power of ten that is not below."""
    step = 10.0 ** floor(log10(value))
    return next(step * times for times in (1, 2, 5, 10) if step * times >= value)


@dataclass(frozen=True, slots=True)
class Bar:
    """A part and its whole, such as what was promised of a day's capacity."""

    name: Words
    """Short, beneath the bar."""
    part: float
    most: float
    label: Words = ""
    """In the table; empty: its name."""

    @property
    def share(self) -> float:
        return min(1.0, self.part / self.most) if self.most else 0.0

    @property
    def height(self) -> str:
        """Percent, for the SVG; something is never drawn as nothing."""
        return f"{max(1.0, self.share * 100) if self.part > 0 else 0:.1f}%"

    @property
    def y(self) -> str:
        return f"{100 - float(self.height.rstrip('%')):.1f}%"


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar for each day or kind, each against its own whole: zero-based, with the table behind it."""

    title: Words
    unit: Words
    bars: Sequence[Bar]

    @property
    def share(self) -> float:
        """Of all the wholes together."""
        whole = sum(bar.most for bar in self.bars)
        return sum(bar.part for bar in self.bars) / whole if whole else 0.0


HEAT_LEVELS: Final = 4
_CELL_WIDTH, _CELL_HEIGHT, _HEAT_LEFT, _HEAT_TOP = 22, 18, 76, 16


@dataclass(frozen=True, slots=True)
class HeatCell:
    """What is free in an hour. `level`: 0 where nothing is, `HEAT_LEVELS` where all is."""

    x: int
    free: int
    level: int

    @property
    def text_x(self) -> int:
        return self.x + _CELL_WIDTH // 2


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A day of a heat map; an hour that is over is None."""

    day: datetime
    y: int
    cells: Sequence[HeatCell | None]


@dataclass(frozen=True, slots=True)
class Heat:
    """What is free hour by hour, a row for each day, with its figures in the cells and the table behind it."""

    title: Words
    rows: Sequence[HeatRow]
    total: int

    @classmethod
    def of(cls, title: Words, hours: Sequence[tuple[datetime, int, int]]) -> "Heat":
        """From each hour (in the zone to show), what is free in it, and of how much."""
        days: dict[date, dict[int, HeatCell]] = {}
        first: dict[date, datetime] = {}
        for at, free, total in hours:
            level = -(-free * HEAT_LEVELS // total) if total else 0
            cell = HeatCell(_HEAT_LEFT + at.hour * _CELL_WIDTH, free, level)
            days.setdefault(at.date(), {})[at.hour] = cell
            first.setdefault(at.date(), at)
        rows = [
            HeatRow(first[day], _HEAT_TOP + place * _CELL_HEIGHT, [cells.get(hour) for hour in range(24)])
            for place, (day, cells) in enumerate(days.items())
        ]
        return cls(title, rows, max((total for _at, _free, total in hours), default=0))

    @property
    def hours(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"name": f"{hour:02d}", "x": _HEAT_LEFT + hour * _CELL_WIDTH + _CELL_WIDTH // 2}
            for hour in range(24)
        ]

    @property
    def width(self) -> int:
        return _HEAT_LEFT + 24 * _CELL_WIDTH

    @property
    def height(self) -> int:
        return _HEAT_TOP + len(self.rows) * _CELL_HEIGHT


def cells_of(free: int, reserved: int, taken: int) -> list[str]:
    """One cell for each unit; of more than `CELLS_MAX`, so many in the same proportions, none of them vanishing."""
    counts: Mapping[str, int] = {"free": free, "reserved": reserved, "taken": taken}
    total = sum(counts.values())
    if total <= CELLS_MAX:
        return [kind for kind, count in counts.items() for _ in range(count)]
    cells = {kind: max(CELLS_MAX * count // total, 1) if count else 0 for kind, count in counts.items()}
    # What rounding left over goes to, or comes from, the largest.
    largest = max(counts, key=lambda kind: counts[kind])
    cells[largest] += CELLS_MAX - sum(cells.values())
    return [kind for kind, count in cells.items() for _ in range(count)]
