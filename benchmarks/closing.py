"""The month's close: a made-up hub with a million records of usage in one month, closed by the operator's command."""

import json
import resource
import subprocess
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tests.hub import MOSU, Hub

from benchmarks.bars import Figure
from benchmarks.processes import descendants_of
from benchmarks.seeded.books import ZONE
from benchmarks.seeded.hub import seed
from mosu.runtime.config import Config

DAYS: Final = 28
RECORDS_PER_ORDER: Final = 10
LOOK_S: Final = 0.2


def closed(hub: Hub, config: Config, *, organisations: int, orders: int) -> list[Figure]:
    """How long the last whole month takes, and the most memory that the command and its database session had."""
    month_end = datetime.now(ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    seed(
        config.owner_dsn(), now=month_end, organisations=organisations, orders=orders, offers=10_000, days=DAYS,
        usage_parts=(RECORDS_PER_ORDER,),
    )  # fmt: skip
    month = f"{month_end - timedelta(days=1):%Y-%m}"
    began = time.perf_counter()
    command = subprocess.Popen(
        [*MOSU, "admin", "close-month", month, "--json"], env=hub.env, stdout=subprocess.PIPE, text=True
    )
    watch = _Watch(hub.process.pid)
    with watch:
        said, _ = command.communicate()
    seconds = time.perf_counter() - began
    if command.returncode:
        raise RuntimeError(f"close-month: {said}")
    facts = json.loads(said)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    note = (
        f"{facts['bills']:,} bills, {facts['statements']:,} statements, {facts['receipts']:,} receipts,"
        f" {facts['usage_records']:,} records of usage summed again"
    )
    return [
        Figure("month's close", seconds, "s", 120, note=note),
        Figure("month's close, memory of the command", peak, "MB", 500, note="largest resident"),
        Figure(
            "month's close, memory of its database session", watch.peak_mb, "MB", 500, note="private, largest"
        ),
    ]


class _Watch:
    """The most private memory that any of the hub's PostgreSQL sessions had while this was entered."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            for pid in descendants_of(self._pid):
                self.peak_mb = max(self.peak_mb, _private_mb(pid))


def _private_mb(pid: int) -> float:
    try:
        if "postgres" not in Path(f"/proc/{pid}/comm").read_text():
            return 0.0
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
