"""What jobs that waited came to: figures over all clusters, and by how many cards they wanted."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from mosu.compute.placement.queueing import Waited, wait_in
from mosu.compute.placement.traces import Cluster, Job
from mosu.kernel.refusals import Invalid

SIZES: Final = (("1", 1, 1), ("2-4", 2, 4), ("5-8", 5, 8), ("9+", 9, 10**12))
"""Of jobs that are told apart, in cards."""
PACKING: Final = "best-fit"
"""Chooses the nodes: jobs want whole cards and nothing else, and are packed as tightly as can be."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that some jobs waited."""

    count: int
    mean_s: float
    p50_s: float
    p99_s: float
    longest_s: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Self:
        if not waits:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        ordered = sorted(waits)
        p50, p99 = (ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in (0.5, 0.99))
        return cls(len(ordered), statistics.fmean(ordered), p50, p99, ordered[-1])

    def as_json(self) -> dict[str, Any]:
        return {
            "jobs": self.count,
            "mean_s": self.mean_s,
            "p50_s": self.p50_s,
            "p99_s": self.p99_s,
            "longest_s": self.longest_s,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one discipline over all clusters."""

    all: Waits
    by_size: Mapping[str, Waits]
    too_large: int

    @property
    def mean_s(self) -> float:
        return self.all.mean_s

    def row(self, name: str) -> tuple[str, ...]:
        one = self.all
        seconds = (one.mean_s, one.p50_s, one.p99_s, one.longest_s)
        return (name, *(f"{value:,.0f} s" for value in seconds), str(self.too_large))

    def as_json(self) -> dict[str, Any]:
        by_size = {size: one.as_json() for size, one in self.by_size.items()}
        return {"wait": self.all.as_json(), "by_cards": by_size, "too_large": self.too_large}


def jobs_between(jobs: Sequence[Job], clusters: Sequence[Cluster], *, since: str, until: str) -> list[Job]:
    """Those that want cards of one of the clusters, submitted in `[since, until)`.

    Raises:
        Invalid: a date that is none, or no job is left.
    """
    names = {one.name for one in clusters}
    first, end = _date(since, "since"), _date(until, "until")
    kept = [
        job
        for job in jobs
        if job.cards
        and job.cluster in names
        and (first is None or job.submitted_s >= first)
        and (end is None or job.submitted_s < end)
    ]
    if not kept:
        raise Invalid("No job is left to simulate.", hint="Check --since, --until and the clusters' names.")
    return kept


def waits_of(
    clusters: Sequence[Cluster],
    jobs: Sequence[Job],
    *,
    discipline: str,
    tell: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Let the jobs go through their clusters, each by itself."""
    of_cluster: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        of_cluster[job.cluster].append(job)
    waits: list[Waited] = []
    too_large = 0
    for cluster in clusters:
        found = wait_in(cluster, of_cluster[cluster.name], discipline=discipline, policy=PACKING, tell=tell)
        waits += found.waits
        too_large += found.too_large
    by_size = {
        name: Waits.of([one.wait_s for one in waits if least <= one.cards <= most])
        for name, least, most in SIZES
    }
    return Outcome(Waits.of([one.wait_s for one in waits]), by_size, too_large)


def rows_by_size(outcomes: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    """By size: how many jobs, then the mean wait of each discipline."""
    sizes = next(iter(outcomes.values())).by_size
    return [
        (size, str(one.count), *(f"{found.by_size[size].mean_s:,.0f} s" for found in outcomes.values()))
        for size, one in sizes.items()
    ]


def _date(text: str, option: str) -> float | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"--{option} {text[:60]!r} is not a date.", hint="Allowed: such as 2017-10-01.", field=option
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
