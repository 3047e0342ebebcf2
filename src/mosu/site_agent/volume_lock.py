"""Who uses a volume: the lock beside it. Standard library only: a supervisor reads this."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def held_lock(volume: Path, *, writes: bool) -> int | None:
    """The volume's lock, held until it is closed: by one who writes, or by any number who read. None: others have it.

    Raises:
        FileNotFoundError: there is no such volume any more.
    """
    fd = os.open(volume / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    with suppress(BlockingIOError):
        fcntl.flock(fd, (fcntl.LOCK_EX if writes else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        return fd
    os.close(fd)
    return None
