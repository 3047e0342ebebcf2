"""What a hub takes that nobody uses."""

import time

from tests.hub import Hub

from benchmarks.bars import Figure
from benchmarks.processes import cpu_s, descendants_of, pss_bytes


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
