"""The curves of a run: samples come with heartbeats, ever further apart, so that a long run has no more than a few."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from mosu.compute.models import Attempt, MeterSample
from mosu.wire.agent import AttemptStatus

_CLOSEST: Final = timedelta(seconds=2)
_PARTS: Final = 240
"""The next sample is kept when a 240th part of the time since the start has gone by: a day has some 1,500."""


def keep_samples(pairs: Iterable[tuple[Attempt, AttemptStatus]], *, now: datetime) -> None:
    """Keep the samples that are due, in one statement; their attempts are locked, and saved by the caller."""
    kept = []
    for attempt, status in pairs:
        if status.sample is None or attempt.started_at is None or not _is_due(attempt, now=now):
            continue
        attempt.sampled_at = now
        kept.append(
            MeterSample(
                attempt=attempt,
                at=now,
                cpu_s=status.sample.cpu_s,
                memory_bytes=status.sample.memory_bytes,
            )
        )
    if kept:
        MeterSample.objects.bulk_create(kept, ignore_conflicts=True)


def _is_due(attempt: Attempt, *, now: datetime) -> bool:
    if attempt.sampled_at is None:
        return True
    ran = now - (attempt.started_at or now)
    return now - attempt.sampled_at >= max(_CLOSEST, ran / _PARTS)
