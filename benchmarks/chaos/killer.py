"""Sends SIGKILL to parts of one hub at seeded random times; never to a process that is not that hub's."""

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

MEAN_S: Final = 6.0
"""Between two kills, about; never under a second, so that something can happen in between."""
GAP_S_MAX: Final = 12.0
PARTS: Final = ("web", "worker", "agent", "postgres")
"""Each is killed once, in a random order, before chance alone decides: within four times the longest gap."""
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
        for target in targets_of(self._choice):
            gap_s = min(GAP_S_MAX, 1.0 + self._choice.expovariate(1 / (MEAN_S - 1.0)))
            fraction = self._choice.random()
            if self._stopping.wait(gap_s):
                return
            while (pid := self._pid_of(target, fraction)) is None:
                if self._stopping.wait(0.2):  # it comes up again
                    return
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills[target] += 1
                self.log.append((time.time(), target, pid))

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def kill_part(self, part: str) -> bool:
        """Kill one part now; whether it was there."""
        pid = self._pid_of(part, 0.0)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[part] += 1
        return True

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


def targets_of(choice: random.Random) -> Iterator[str]:
    """What to kill, without end: first each part once."""
    yield from choice.sample(PARTS, len(PARTS))
    while True:
        yield choice.choice(TARGETS)


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
