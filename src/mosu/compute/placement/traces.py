"""Reading clusters and what was asked of them: CSV in the layouts of openb and philly, each cell checked."""

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from mosu.compute.placement.fleet import MILLI, Machine, Shape
from mosu.kernel.refusals import Invalid

T = TypeVar("T")

COUNT_MAX: Final = 10**12
CARDS_MAX: Final = 1024
"""Of one node."""


class TraceRefused(Invalid):
    """A file of a cluster or of what was asked cannot be used: which line and column, what stands there."""

    code = "trace_refused"


@dataclass(frozen=True, slots=True)
class Pod:
    """Something that asked for one node. Times in seconds since the trace began."""

    name: str
    shape: Shape
    created_s: float = 0.0
    lasts_s: float | None = None
    """How long it stayed; unknown where the file does not say."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that asked for whole cards of a cluster. Seconds since 1970 or any other moment."""

    submitted_s: float
    lasts_s: float
    cards: int
    cluster: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Alike nodes."""

    name: str
    nodes: int
    cards: int
    """Of each node."""


class _Row:
    """One line, whose cells are read by their column's name."""

    def __init__(self, path: Path, line: int, cells: Mapping[str, str]) -> None:
        self._path, self._line, self._cells = path, line, cells

    def refused(self, column: str, allowed: str) -> TraceRefused:
        found = self._cells.get(column, "")[:60]
        return TraceRefused(
            f"{self._path}, line {self._line}, column {column}: {found!r} cannot be used.",
            hint=f"Allowed: {allowed}.",
            file=str(self._path),
            line=self._line,
            field=column,
            found=found,
            allowed=allowed,
        )

    def text(self, column: str) -> str:
        return self._cells.get(column) or ""

    def count(self, column: str, *, least: int = 0, most: int = COUNT_MAX) -> int:
        allowed = f"a whole number from {least} to {most}"
        return int(self._checked(column, int, allowed, lambda value: least <= value <= most))

    def seconds(self, column: str) -> float:
        allowed = f"seconds from 0 to {COUNT_MAX}"
        return self._checked(column, float, allowed, lambda value: 0 <= value <= COUNT_MAX)

    def instant(self, column: str) -> float:
        text = self.text(column)
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise self.refused(column, "a date and time such as 2017-10-09 07:01:55") from None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

    def _checked(
        self, column: str, kind: Callable[[str], float], allowed: str, is_allowed: Callable[[float], bool]
    ) -> float:
        try:
            value = kind(self.text(column))
        except ValueError:
            raise self.refused(column, allowed) from None
        if not is_allowed(value):
            raise self.refused(column, allowed)
        return value


def machines_in(path: Path) -> list[Machine]:
    """Nodes: `sn,cpu_milli,memory_mib,gpu,model` (openb).

    Raises:
        TraceRefused: the file cannot be read, a column is missing, a cell cannot be used, a name stands twice.
    """
    seen: set[str] = set()

    def machine(row: _Row) -> Machine:
        name = row.text("sn")
        if not name or name in seen:
            raise row.refused("sn", "a name that no other node has")
        seen.add(name)
        return Machine(
            name=name,
            cpu_milli=row.count("cpu_milli"),
            memory=row.count("memory_mib"),
            cards=row.count("gpu", most=CARDS_MAX),
            kind=row.text("model"),
        )

    return _read(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model"), machine)


def pods_in(path: Path) -> list[Pod]:
    """Pods: `name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec,creation_time,deletion_time]` (openb).

    `gpu_spec` names the cards that will do, such as `A10|T4`; empty: any. A pod of several cards has them whole.

    Raises:
        TraceRefused: as `machines_in`.
    """

    def pod(row: _Row) -> Pod:
        cards = row.count("num_gpu", most=CARDS_MAX)
        milli = row.count("gpu_milli", least=1, most=MILLI) if cards else MILLI
        if cards > 1 and milli < MILLI:
            raise row.refused("gpu_milli", f"{MILLI} where num_gpu is above 1")
        kinds = frozenset(row.text("gpu_spec").split("|")) - {""}
        began = row.seconds("creation_time") if row.text("creation_time") else 0.0
        ended = row.seconds("deletion_time") if row.text("deletion_time") else None
        if ended is not None and ended < began:
            raise row.refused("deletion_time", "not before creation_time")
        return Pod(
            name=row.text("name"),
            shape=Shape(row.count("cpu_milli"), row.count("memory_mib"), cards, milli, kinds),
            created_s=began,
            lasts_s=None if ended is None else ended - began,
        )

    return _read(path, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"), pod)


def clusters_in(path: Path, *, scale: float = 1.0) -> list[Cluster]:
    """Clusters: `cluster,nodes,gpus_per_node` (philly), each with `scale` times its nodes, rounded up.

    Raises:
        TraceRefused: as `machines_in`.
    """

    def cluster(row: _Row) -> Cluster:
        nodes = math.ceil(round(row.count("nodes", least=1, most=1_000_000) * scale, 9))
        return Cluster(row.text("cluster"), nodes, row.count("gpus_per_node", least=1, most=CARDS_MAX))

    return _read(path, ("cluster", "nodes", "gpus_per_node"), cluster)


def jobs_in(path: Path) -> list[Job]:
    """Jobs: `timestamp,duration,num_gpus,cluster` (philly), by time of submission, as the file has them if equal.

    Raises:
        TraceRefused: as `machines_in`.
    """

    def job(row: _Row) -> Job:
        cards = row.count("num_gpus", most=COUNT_MAX)
        return Job(row.instant("timestamp"), row.seconds("duration"), cards, row.text("cluster"))

    found = _read(path, ("timestamp", "duration", "num_gpus", "cluster"), job)
    return sorted(found, key=lambda one: one.submitted_s)


def _read(path: Path, columns: Sequence[str], read: Callable[[_Row], T]) -> list[T]:
    found = [read(row) for row in _rows(path, columns)]
    if not found:
        raise TraceRefused(f"{path} has no line below its headings.", hint="Name a file with data.")
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise TraceRefused(
                    f"{path}, line 1: there is no column {', '.join(missing)}.",
                    hint=f"It needs: {', '.join(columns)}.",
                    file=str(path),
                    line=1,
                )
            for cells in reader:
                yield _Row(path, reader.line_num, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as unreadable:
        why = unreadable.strerror if isinstance(unreadable, OSError) else "it is not a CSV file in UTF-8"
        raise TraceRefused(f"{path} cannot be read: {why}.", hint="Name a CSV file.") from unreadable
