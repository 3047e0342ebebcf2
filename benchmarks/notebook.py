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
from benchmarks.connecting import wait_for_end
from benchmarks.hubs import Buyer
from mosu.client import Client

BAR_S: Final = 8.0
TASK: Final = json.dumps({"resources": {"cpus": 1}, "mosu": {"kind": "session", "apps": ["jupyter"]}})
_BUILD_S_MAX: Final = 900.0
_READY_S_MAX: Final = 300.0


def build(hub: Hub) -> str:
    """Have the hub's own pool offer JupyterLab; why not, if the environment cannot be built here."""
    done = hub.mosu("admin", "environments", "add", "jupyter", timeout=_BUILD_S_MAX)
    return "" if done.returncode == 0 else done.stderr.strip().partition("\n")[0] or f"exit {done.returncode}"


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
        process.communicate(timeout=_READY_S_MAX)
    client.cancel_run(facts["run_id"])
    wait_for_end(client, facts["run_id"])
    return took
