"""What the kernel says that processes used."""

import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.chaos.killer import descendants_of

__all__ = ["cpu_s", "descendants_of", "peak_bytes", "pss_bytes"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of the processes so far, user and system, all threads."""
    total = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/schedstat")
        total += int(stat.read_text().split()[0]) if stat.exists() and _is_single(pid) else _tasks_ns(pid)
    return total / 1e9


def _is_single(pid: int) -> bool:
    return len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


def _tasks_ns(pid: int) -> int:
    return sum(
        int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
    )


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory by proportional share: what several processes share counts once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def peak_bytes(pids: Iterable[int], *, program: str) -> int:
    """The most memory that the largest process of this program ever had resident."""
    peaks = [0]
    for pid in pids:
        if program in Path(f"/proc/{pid}/cmdline").read_text():
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks += [int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")]
    return max(peaks)
