"""When what is paid for does nothing, and what follows. Pure."""

from datetime import datetime, timedelta
from typing import Final, Literal

UTIL: Final = 0.01
"""Cards busy for less than a hundredth of the time do nothing."""
CORES: Final = 0.01
"""Where no engine says how busy the cards are: a process that takes no processor time feeds no card either."""
CORES_OF_SESSION: Final = 0.05
"""A notebook server that nobody uses takes less than this of a core."""
LOOKED_EVERY: Final = timedelta(seconds=20)
"""Over a shorter time than this what cores did says little."""
TOLD_AFTER: Final = timedelta(minutes=15)
WARNED_BEFORE: Final = timedelta(minutes=10)
"""Nothing is stopped for doing nothing without a word so long before."""

Deed = Literal["tell", "warn", "stop"]


def is_idle(*, accelerator_util: float | None, cores: float | None) -> bool:
    """Whether a run's cards did nothing, by the engine's word of them, else by the cores it took."""
    if accelerator_util is not None:
        return accelerator_util < UTIL
    return cores is not None and cores < CORES


def is_session_idle(*, accelerator_util: float | None, cores: float | None) -> bool:
    """Whether neither cores nor cards of what people are joined to did anything."""
    if accelerator_util is not None and accelerator_util >= UTIL:
        return False
    return cores is not None and cores < CORES_OF_SESSION


def unused_since(
    idle_since: datetime, *, used_at: datetime | None = None, kept_at: datetime | None = None
) -> datetime:
    """Since when a run is idle: its machine does nothing, nobody's bytes came or went, and nobody kept it."""
    return max(at for at in (idle_since, used_at, kept_at) if at is not None)


def stop_after_s_of(*, kind: str, own_s: int | None, rule_s: int | None) -> int | None:
    """After how long it is stopped: the shorter of its own time and the organisation's; None: never.

    A service waits for requests, so only its own time ends it.
    """
    times = [time for time in (own_s, None if kind == "service" else rule_s) if time is not None]
    return min(times, default=None)


def deed_due(
    since: datetime,
    *,
    told_at: datetime | None,
    warned_at: datetime | None,
    stop_after_s: int | None,
    now: datetime,
) -> Deed | None:
    """What is due for what is idle since then. Words of a time before `since` do not count: they were of that one."""
    idle = now - since
    is_warned = warned_at is not None and warned_at >= since
    if stop_after_s is not None:
        stop_after = timedelta(seconds=stop_after_s)
        if warned_at is None or not is_warned:
            if idle >= stop_after - WARNED_BEFORE:
                return "warn"
        elif idle >= stop_after and now - warned_at >= WARNED_BEFORE:
            return "stop"
    is_told = is_warned or (told_at is not None and told_at >= since)
    return "tell" if idle >= TOLD_AFTER and not is_told else None
