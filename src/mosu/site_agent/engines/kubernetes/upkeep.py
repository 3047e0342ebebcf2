"""How a service fared, by what its pod's first process left of it on the volume.

In a container that process and the task are one user, so this is the task's word: a file that may be anything, and
figures that are believed no further than they are possible.
"""

import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from mosu.wire.agent import Measures

_SAID: Final = re.compile(rb"([0-9]{1,9}) ([0-9]{1,10}) ([0-9]{1,12})\n")
"""How often it was started again; for how many seconds it was well until then; since when it is (0: it is not)."""
_BYTES_MAX: Final = 64
_STARTS_PER_S_MAX: Final = 5
"""The shortest pause between two is 0.2 s."""


def upkeep_in(path: Path, *, started_at: datetime, ended_at: datetime) -> Measures | None:
    """Its measures, of which no more than was possible while it ran; None where nothing that can be read is there."""
    said = _SAID.fullmatch(_beginning_of(path))
    if said is None:
        return None
    restarts, up_s, since = map(int, said.groups())
    wall_s = max(0.0, (ended_at - started_at).total_seconds())
    if since:
        up_s += max(0, int(ended_at.timestamp()) - since)
    return Measures(
        wall_s=wall_s,
        uptime_s=min(wall_s, float(up_s)),
        restarts=min(restarts, _STARTS_PER_S_MAX * (int(wall_s) + 1)),
    )


def _beginning_of(path: Path) -> bytes:
    """Of a plain file; of what waits, leads elsewhere or is not there nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, _BYTES_MAX) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)
