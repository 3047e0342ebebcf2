"""When accelerators do nothing, and what follows. Pure."""

from datetime import datetime, timedelta
from typing import Final

UTIL: Final = 0.01
"""Cards busy for less than a hundredth of the time do nothing."""
CORES: Final = 0.01
"""Where no engine says how busy the cards are: a process that takes no processor time feeds no card either."""
TOLD_AFTER: Final = timedelta(minutes=15)


def is_idle(*, accelerator_util: float | None, cores: float | None) -> bool:
    """Whether a run's cards did nothing, by the engine's word of them, else by the cores it took."""
    if accelerator_util is not None:
        return accelerator_util < UTIL
    return cores is not None and cores < CORES


def is_to_be_told(idle_since: datetime, told_at: datetime | None, *, now: datetime) -> bool:
    """Whether its people are to hear of it, once for each time."""
    return told_at is None and now - idle_since >= TOLD_AFTER


def is_to_be_stopped(idle_since: datetime, *, stop_after_s: int | None, now: datetime) -> bool:
    """Whether the organisation wants it stopped by now."""
    return stop_after_s is not None and now - idle_since >= timedelta(seconds=stop_after_s)
