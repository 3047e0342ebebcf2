"""When something that waits is expected to start, and how good such words were. Pure."""

from datetime import datetime, timedelta
from typing import Final

ENDED_MIN: Final = 5
"""With fewer runs that have ended, nothing is known of how long runs take."""
WAITS_FROM: Final = timedelta(minutes=1)
"""What starts within this does not wait: its estimate says nothing."""


def expected_start(*, promised: datetime, now: datetime, used_part: float) -> datetime:
    """A place is promised for when all before it have used their whole wall limit; most use a part of it."""
    return now + max(timedelta(0), promised - now) * min(1.0, max(0.0, used_part))
