"""A figure, the bar it is held to, and the machine on which it was measured."""

import math
import os
import platform
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

FSYNCS: Final = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. Without a bar it is told for comparison only."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    better: Literal["less", "more"] = "less"
    note: str = ""

    @property
    def holds(self) -> bool:
        if self.bar is None:
            return True
        return self.value <= self.bar if self.better == "less" else self.value >= self.bar

    @property
    def is_measured(self) -> bool:
        """Not when what measures it is not here: then the note says what."""
        return not math.isnan(self.value)

    @property
    def verdict(self) -> str:
        if not self.is_measured:
            return "NOT MEASURED"
        return "" if self.bar is None else "holds" if self.holds else "FALLS SHORT"

    def row(self) -> tuple[str, str, str, str, str]:
        sign = "<=" if self.better == "less" else ">="
        bar = "" if self.bar is None else f"{sign} {_number(self.bar)} {self.unit}"
        value = f"{_number(self.value)} {self.unit}" if self.is_measured else ""
        return self.what, value, bar, self.verdict, self.note

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "value": self.value if self.is_measured else None, "holds": self.holds}


def machine(folder: Path) -> dict[str, Any]:
    """What the figures depend on: cores, memory, Python, load, and how long an fsync takes on the hub's disk."""
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 2**20, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "fsync_ms": round(fsync_ms(folder), 2),
    }


def fsync_ms(folder: Path) -> float:
    """Median of writing 8 KiB and having it on the disk."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as Markdown, which is also readable on a terminal; the last column, of notes, is as long as each is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] + [4]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
