"""What the kernel says that processes used. One that has ended meanwhile counts as nothing."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.chaos.killer import descendants_of

__all__ = ["cpu_s", "descendants_of", "peak_bytes", "pss_bytes"]


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of the processes so far, user and system, all threads."""
    return sum(_task_ns(task) for pid in pids for task in _tasks(pid)) / 1e9


def pss_bytes(pids: Iterable[int]) -> int:
    """Memory by proportional share: what several processes share counts once."""
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) * 1024


def peak_bytes(pids: Iterable[int], *, program: str) -> int:
    """The most memory that the largest process of this program ever had resident."""
    of_program = [pid for pid in pids if program in _said(Path(f"/proc/{pid}/cmdline"))]
    return max((_kib(pid, "status", "VmHWM:") for pid in of_program), default=0) * 1024


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _task_ns(task: Path) -> int:
    return int((_said(task / "schedstat") or "0").split()[0])


def _kib(pid: int, file: str, label: str) -> int:
    lines = _said(Path(f"/proc/{pid}/{file}")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(label))


def _said(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
