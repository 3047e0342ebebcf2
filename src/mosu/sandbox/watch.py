"""What a running job takes, looked at from outside: for machines where no cgroup is delegated."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
ENTRY_BYTES: Final = 1024
"""Charged for each file and folder, so that a flood of empty ones meets the limit too."""


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names a process for good.

    None if there is no such process. A zombie counts as none.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """The name of this boot: a pid of an earlier one means nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def tree_memory_bytes(root: int, *, exact_above: int) -> int:
    """Private memory of a process and all below it; every orphan in a sandbox falls to its first process.

    Cheap to find, but pages shared since a fork count more than once: above `exact_above` they are counted
    by their share, which is dear.
    """
    pids = _tree(root)
    cheap = sum(_private_bytes(pid) for pid in pids)
    return cheap if cheap <= exact_above else sum(_proportional_bytes(pid) for pid in pids)


def tree_cpu_s(root: int) -> float:
    """CPU seconds of a process and all below it, with those that have ended: their parents remember them."""
    return sum(_cpu_ticks(pid) for pid in _tree(root)) / _TICKS_PER_S


def _cpu_ticks(pid: int) -> int:
    """User and system time of the process and of the children that it has waited for (proc(5), fields 14-17)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(field) for field in text[text.rindex(")") + 2 :].split()[11:15])


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _private_bytes(pid: int) -> int:
    try:
        _, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _proportional_bytes(pid: int) -> int:
    """Anonymous and shared memory by share; what may not be looked at counts in full."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return _private_bytes(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = (line.split() for line in lines)
    return sum(int(field[1]) * 1024 for field in fields if field[0] in {"Pss_Anon:", "Pss_Shmem:"})


def folder_bytes(folder: Path) -> int | None:
    """Disk that a folder takes, without following links; what vanishes meanwhile does not count.

    None: a part of it cannot be looked at, being too deep or closed, so it may take anything.
    """
    total, todo = 0, [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    total += facts.st_blocks * 512 + ENTRY_BYTES
                    if stat.S_ISDIR(facts.st_mode):
                        todo.append(entry.path)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
                return None
    return total


def unlinked_bytes(root: int, *, device: int) -> int:
    """Disk on `device` taken by files without a name that a process or one below it holds open."""
    sizes: dict[int, int] = {}
    for pid in _tree(root):
        try:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                for entry in entries:
                    facts = entry.stat()
                    if facts.st_nlink == 0 and facts.st_dev == device and stat.S_ISREG(facts.st_mode):
                        sizes[facts.st_ino] = facts.st_blocks * 512
        except OSError:
            continue
    return sum(sizes.values())
