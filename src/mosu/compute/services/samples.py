"""The curves of a run: samples come with heartbeats, ever further apart, so that a long run has no more than a few."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from mosu.compute.idleness import LOOKED_EVERY, is_idle, is_session_idle
from mosu.compute.models import Attempt, MeterSample
from mosu.compute.reach import is_reached
from mosu.wire.agent import AttemptStatus
from mosu.wire.agent import MeterSample as Sample

_CLOSEST: Final = timedelta(seconds=2)
_PARTS: Final = 240
"""The next sample is kept when a 240th part of the time since the start has gone by: a day has some 1,500."""


def keep_samples(pairs: Iterable[tuple[Attempt, AttemptStatus]], *, now: datetime) -> None:
    """Keep the samples that are due, in one statement; their attempts are locked, and saved by the caller."""
    kept = []
    for attempt, status in pairs:
        if status.sample is None or attempt.started_at is None:
            continue
        _note_idleness(attempt, status.sample, now=now)
        if not _is_due(attempt, now=now):
            continue
        attempt.sampled_at = now
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
    """Since when it does nothing: since the look before the first that says so."""
    judge = is_session_idle if is_reached(attempt.run) else is_idle
    before = attempt.looked_at or attempt.started_at or now
    if (judge is is_idle and not attempt.run.request["cards"]) or now - before < LOOKED_EVERY:
        return
    cores = max(0.0, sample.cpu_s - attempt.looked_cpu_s) / (now - before).total_seconds()
    attempt.looked_at, attempt.looked_cpu_s = now, sample.cpu_s
    if not judge(accelerator_util=sample.accelerator_util, cores=cores):
        attempt.idle_since = None
    elif attempt.idle_since is None:
        attempt.idle_since = before


def _is_due(attempt: Attempt, *, now: datetime) -> bool:
    if attempt.sampled_at is None:
        return True
    ran = now - (attempt.started_at or now)
    return now - attempt.sampled_at >= max(_CLOSEST, ran / _PARTS)
