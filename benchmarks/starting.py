"""How long until something is there: the command line's help, and a hub that answers."""

import os
import statistics
import subprocess
import time
from pathlib import Path

from tests.hub import MOSU

from benchmarks.bars import Figure
from benchmarks.hubs import hub_in


def help_shown(*, times: int) -> list[Figure]:
    """`mosu --help`, from start to end of the process."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([*MOSU, "--help"], check=True, capture_output=True, env=os.environ)
        took.append(time.perf_counter() - began)
    return [Figure("mosu --help", statistics.median(took), "s", 0.3, note=f"median of {times}")]


def up(folder: Path) -> list[Figure]:
    """From the start of `mosu up` to the first 200 of /readyz, on an empty folder and again on the same one."""
    figures = []
    for what, bar in (("mosu up, empty folder", 25.0), ("mosu up, warm", 5.0)):
        began = time.perf_counter()
        with hub_in(folder):
            figures.append(Figure(what, time.perf_counter() - began, "s", bar, note="to the first 200"))
    return figures
