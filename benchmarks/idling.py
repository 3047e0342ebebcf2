"""What a hub takes that nobody uses, and a site agent that has nothing to run."""

import time
from pathlib import Path
from typing import Final

from tests.hub import Hub

from benchmarks.bars import Figure
from benchmarks.processes import cpu_s, descendants_of, pss_bytes

_SETTLED: Final = 0.15
"""Of a core."""
_SETTLED_S_MAX: Final = 300.0


def idle(hub: Hub, *, seconds: float) -> list[Figure]:
    """Memory of all processes of the hub after `seconds` without a request, and the CPU they took meanwhile."""
    time.sleep(seconds)
    pids = descendants_of(hub.process.pid)
    before = cpu_s(pids)
    time.sleep(5)
    share = (cpu_s(pids) - before) / 5 * 100
    return [
        Figure(
            "idle hub, memory (sum of PSS)",
            pss_bytes(descendants_of(hub.process.pid)) / 1e6,
            "MB",
            700,
            note=f"{len(pids)} processes, after {seconds:.0f} s",
        ),
        Figure("idle hub, CPU", share, "% of a core"),
    ]


def settled(hub: Hub) -> None:
    """Wait until the hub has caught up with rows that were written past it: its processes do next to nothing.

    Raises:
        RuntimeError: it has not after `_SETTLED_S_MAX`.
    """
    deadline = time.monotonic() + _SETTLED_S_MAX
    while time.monotonic() < deadline:
        pids = descendants_of(hub.process.pid)
        before = cpu_s(pids)
        time.sleep(5)
        if (cpu_s(pids) - before) / 5 < _SETTLED:
            return
    raise RuntimeError(f"the hub is still busy with what was written past it after {_SETTLED_S_MAX:.0f} s")


def idle_agent(pid: int, *, seconds: float) -> list[Figure]:
    """What a registered agent holds resident, and the CPU that it takes over `seconds` of waiting for orders."""
    before = cpu_s([pid])
    time.sleep(seconds)
    share = (cpu_s([pid]) - before) / seconds * 100
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return [
        Figure("site agent, resident", resident_kib * 1024 / 1e6, "MB", 80),
        Figure("site agent, CPU when idle", share, "% of a core", 1, note=f"over {seconds:.0f} s"),
    ]
