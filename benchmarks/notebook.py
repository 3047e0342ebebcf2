"""From `mosu notebook` to a kernel that answers: bought, started, joined by the relay, a cell executed."""

import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.environments.kernel import run_cell
from tests.hub import MOSU, Hub

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from mosu.client import Client

BAR_S: Final = 8.0
TASK: Final = json.dumps({"resources": {"cpus": 1}, "mosu": {"kind": "session", "apps": ["jupyter"]}})
_READY_S_MAX: Final = 120.0


def build(hub: Hub) -> str:
    """Have the hub's own pool offer JupyterLab; why not, if the environment cannot be built here."""
    done = hub.mosu("admin", "environments", "add", "jupyter")
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[0]


def opened(hub: Hub, buyer: Buyer, folder: Path, *, times: int) -> list[Figure]:
    """How long people wait, once the environment lies there."""
    with Client(hub.url, buyer.token) as client:
        until = time.monotonic() + _READY_S_MAX
        while not client.make_quotes(TASK, vouchers="none").quotes:
            if time.monotonic() > until:
                raise RuntimeError("no quote for a notebook")
            time.sleep(0.5)
        took = [_once(hub, buyer, client, folder) for _ in range(times)]
    note = f"median of {times}; slowest {max(took):.1f} s"
    return [
        Figure("`mosu notebook` to a kernel that answers", statistics.median(took), "s", bar=BAR_S, note=note)
    ]


def _once(hub: Hub, buyer: Buyer, client: Client, folder: Path) -> float:
    words = ["notebook", "--yes", "--json", "--no-browser", "--port", "0", "--wall-limit", "10m"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*MOSU, *words, "--vouchers", "none"],
        env={**hub.env, "MOSU_URL": hub.url, "MOSU_TOKEN": buyer.token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise RuntimeError(f"no notebook: {process.communicate()[1]}")
        facts = json.loads(line)
        if run_cell(facts["url"], "1 + 1") != "2":
            raise RuntimeError("the kernel cannot count")
        took = time.perf_counter() - began
    finally:
        process.terminate()
        process.communicate(timeout=60)
    client.cancel_run(facts["run_id"])
    while not client.run(facts["run_id"]).is_over:  # so that the next one has the machine for itself
        time.sleep(0.1)
    return took
