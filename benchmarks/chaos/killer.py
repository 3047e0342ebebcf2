"""Sends SIGKILL to parts of one hub at seeded random times; never to a process that is not that hub's."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

MEAN_S: Final = 6.0
"""Between two kills on average; never under a second, so that something can happen in between."""
TARGETS: Final = ("web", "web worker", "worker", "agent", "postgres", "postgres backend")


class Killer(threading.Thread):
    """Kills until told to stop; `kills` counts what was hit."""

    def __init__(self, data_dir: Path, *, seed: int) -> None:
        super().__init__(name="killer", daemon=True)
        self._status = data_dir / "up.json"
        self._choice = random.Random(seed)  # noqa: S311
        self._stopping = threading.Event()
        self.kills: Counter[str] = Counter()
        self.log: list[tuple[float, str, int]] = []

    def run(self) -> None:
        while not self._stopping.wait(1.0 + self._choice.expovariate(1 / (MEAN_S - 1.0))):
            target = self._choice.choice(TARGETS)
            pid = self._pid_of(target, self._choice.random())
            if pid is None:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[target] += 1
                self.log.append((time.time(), target, pid))

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _pid_of(self, target: str, fraction: float) -> int | None:
        """The part's own process, or one of its children; None while there is none."""
        part = target.split(maxsplit=1)[0]
        pid = self._parts().get(part)
        if pid is None or target == part:
            return pid
        below = children_of(pid)
        return below[int(fraction * len(below))] if below else None

    def _parts(self) -> dict[str, int]:
        try:
            parts = json.loads(self._status.read_text())["parts"]
        except (OSError, ValueError):
            return {}
        return {name: part["pid"] for name, part in parts.items() if part["pid"] and is_alive(part["pid"])}


def is_alive(pid: int) -> bool:
    state = _stat(pid)
    return state is not None and state[0] != "Z"


def children_of(pid: int) -> list[int]:
    """Its direct children, by number."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            stat = _stat(int(folder.name))
            if stat is not None and stat[0] != "Z" and stat[1] == str(pid):
                found.append(int(folder.name))
    return sorted(found)


def descendants_of(pid: int) -> list[int]:
    """Itself and all below it."""
    return [pid, *(one for child in children_of(pid) for one in descendants_of(child))]


def _stat(pid: int) -> list[str] | None:
    """State, parent and what follows in /proc/PID/stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()
