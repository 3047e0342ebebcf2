"""What a running job takes, looked at from outside: for machines where no cgroup is delegated."""

import os
import stat
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_ENTRY_BYTES: Final = 1024
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


def tree_memory_bytes(root: int) -> int:
    """Private memory of a process and all below it; every orphan in a sandbox falls to its first process."""
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        try:
            _, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
            total += (int(resident) - int(shared)) * _PAGE_BYTES
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError, ValueError):
            continue
    return total


def folder_bytes(folder: Path) -> int:
    """Disk that a folder takes, without following links; what vanishes meanwhile does not count."""
    total, todo = 0, [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    facts = entry.stat(follow_symlinks=False)
                    total += facts.st_blocks * 512 + _ENTRY_BYTES
                    if stat.S_ISDIR(facts.st_mode):
                        todo.append(entry.path)
        except OSError:
            continue
    return total
