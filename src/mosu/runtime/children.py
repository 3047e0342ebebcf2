"""What the kernel says of other processes, and how a child ends with its parent."""

import ctypes
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def process_state(pid: int) -> str | None:
    """The kernel's letter for a process (`R`, `S`, `Z` for a zombie ...); None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name in brackets may itself contain brackets and spaces.
    return chr(stat[stat.rindex(b")") + 2])


def is_running(pid: int) -> bool:
    """Whether there is such a process; a zombie is dead."""
    return process_state(pid) not in (None, "Z", "X")


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends `number` to the child when the thread that started it ends.

    Called after the change of user, which would clear it. Signals that the parent holds back are not held back in
    the child.
    """
    parent = os.getpid()

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked
            os.kill(os.getpid(), number)

    return before_exec
