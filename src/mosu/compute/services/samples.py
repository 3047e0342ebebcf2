"""The curves of a run: samples come with heartbeats, ever further apart, so that a long run has no more than a few."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from mosu.compute.idleness import is_idle
from mosu.compute.models import Attempt, MeterSample
from mosu.wire.agent import AttemptStatus
from mosu.wire.agent import MeterSample as Sample

_CLOSEST: Final = timedelta(seconds=2)
_PARTS: Final = 240
"""The next sample is kept when a 240th part of the time since the start has gone by: a day has some 1,500."""


def keep_samples(pairs: Iterable[tuple[Attempt, AttemptStatus]], *, now: datetime) -> None:
    """Keep the samples that are due, in one statement; their attempts are locked, and saved by the caller."""
    kept = []
    for attempt, status in pairs:
        if status.sample is None or attempt.started_at is None or not _is_due(attempt, now=now):
            continue
        _note_idleness(attempt, status.sample, now=now)
        attempt.sampled_at, attempt.sampled_cpu_s = now, status.sample.cpu_s
        kept.append(
            MeterSample(
                attempt=attempt,
                at=now,
                cpu_s=status.sample.cpu_s,
                memory_bytes=status.sample.memory_bytes,
                accelerator_util=status.sample.accelerator_util,
                accelerator_memory_bytes=status.sample.accelerator_memory_bytes,
            )
        )
    if kept:
        MeterSample.objects.bulk_create(kept, ignore_conflicts=True)


def _note_idleness(attempt: Attempt, sample: Sample, *, now: datetime) -> None:
    """Since when its accelerators do nothing: since the sample before the first that says so."""
    if not attempt.run.request["cards"]:
        return
    before = attempt.sampled_at or attempt.started_at or now
    gone_s = (now - before).total_seconds()
    cores = max(0.0, sample.cpu_s - attempt.sampled_cpu_s) / gone_s if gone_s > 0 else None
    if not is_idle(accelerator_util=sample.accelerator_util, cores=cores):
        attempt.idle_since = attempt.idle_told_at = None
    elif attempt.idle_since is None:
        attempt.idle_since = before


def _is_due(attempt: Attempt, *, now: datetime) -> bool:
    if attempt.sampled_at is None:
        return True
    ran = now - (attempt.started_at or now)
    return now - attempt.sampled_at >= max(_CLOSEST, ran / _PARTS)
