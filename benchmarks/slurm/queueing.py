"""What mosu costs over bare `sbatch`: the same jobs, on the same Slurm, one way and the other."""

import random
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from tests.slurm.cluster import CORES, SlurmCluster, running_slurm

from benchmarks.bars import Figure
from benchmarks.hubs import hub_in, join, make_buyers
from benchmarks.slurm.site import SUPPLIER, site_in
from mosu.client import Client, ProblemError
from mosu.kernel.ids import typeid, uuid_of

_NODES = 2
_TASK = """
resources: {{cpus: 1, memory: 1+, disk_size: 1}}
run: sleep {seconds}
mosu: {{wall_limit: 120s, suppliers: [{supplier}]}}
"""
_SHOPPERS = 3
_PATIENCE_S = 300.0
"""For the pool to come on the shelf, for a lone run to end, and for each job that shares the slots."""


def through_mosu_and_bare(folder: Path, *, jobs: int, alone: int) -> list[Figure]:
    """Makespans of `jobs` jobs of 2 to 20 s, and how soon one of `alone` lone orders is with Slurm."""
    choice = random.Random(1)  # noqa: S311 - a fixed mix
    durations = [round(choice.uniform(2, 20), 1) for _ in range(jobs)]
    with running_slurm() as cluster:
        bare_s = _bare(cluster, durations)
        with hub_in(folder) as hub:
            config = join(hub)
            (buyer,) = make_buyers(vouchers=[None])
            with site_in(folder / "site", hub, cluster) as site, Client(hub.url, buyer.token) as client:
                _wait_for_pool(client)
                soon = [_to_slurm_s(client, config.owner_dsn(), site.folder) for _ in range(alone)]
                bought = _through(hub.url, buyer.token, durations)
                attempts = _attempts_of(config.owner_dsn(), bought)
                ours_s = _makespan_s(cluster, attempts, count=jobs)
    note = f"{jobs} jobs of 2 to 20 s on {_NODES * CORES} slots"
    return [
        Figure("Slurm, makespan by bare sbatch", bare_s, "s", note=note),
        Figure("Slurm, makespan through mosu", ours_s, "s", note=f"{note}, first Submit to last End"),
        Figure("Slurm, makespan through mosu to bare", ours_s / bare_s, "", 1.10, note="ratio"),
        Figure(
            "Slurm, accepted to submitted",
            statistics.median(soon) * 1000,
            "ms",
            300,
            note=f"median of {alone}; to sbatch's answer, since Slurm's Submit counts whole seconds",
        ),
    ]


def _bare(cluster: SlurmCluster, durations: Sequence[float]) -> float:
    for seconds in durations:
        cluster.ask(
            *(
                "sbatch",
                "--parsable",
                "--mem=256",
                "--time=2",
                "--output=/dev/null",
                "--wrap",
                f"sleep {seconds}",
            )
        )
    return _makespan_s(cluster, {"wrap"}, count=len(durations))


def _through(url: str, token: str, durations: Sequence[float]) -> list[str]:
    """Order all, each as soon as it has a quote; their runs."""
    left = list(reversed(durations))
    guard = threading.Lock()
    runs: list[str] = []

    def shop() -> None:
        with Client(url, token) as client:
            while True:
                with guard:
                    if not left:
                        return
                    seconds = left.pop()
                runs.append(_ordered(client, seconds))

    shoppers = [threading.Thread(target=shop) for _ in range(_SHOPPERS)]
    for one in shoppers:
        one.start()
    for one in shoppers:
        one.join()
    return runs


def _attempts_of(owner_dsn: str, runs: Sequence[str]) -> set[str]:
    """What these runs' jobs are called: mosu has other jobs too, such as a node's health test and its repetition."""
    query = "select id from compute_attempt where run_id = any(%s)"
    with psycopg.connect(owner_dsn) as rows:
        found = rows.execute(query, [[uuid_of("run", run) for run in runs]]).fetchall()
    return {typeid("attempt", attempt) for (attempt,) in found}


def _ordered(client: Client, seconds: float) -> str:
    """The order's run; again where somebody else was quicker."""
    while True:
        found = client.make_quotes(_TASK.format(seconds=seconds, supplier=SUPPLIER), vouchers="none")
        try:
            order = client.accept(found.quotes[0].id)
        except ProblemError as problem:
            if problem.status != 409:
                raise
            continue
        assert order.run_id is not None  # noqa: S101 - the compute shelf always makes one
        return order.run_id


def _wait_for_pool(client: Client) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not client.make_quotes(_TASK.format(seconds=1, supplier=SUPPLIER), vouchers="none").quotes:
        if time.monotonic() > until:
            raise RuntimeError("the pool never came on the shelf")
        time.sleep(0.5)


def _to_slurm_s(client: Client, owner_dsn: str, site: Path) -> float:
    """From the accepted order to `sbatch`'s answer; returns once the run is over."""
    run_id = _ordered(client, 0.1)
    query = "select id, created_at from compute_attempt where run_id = %s"
    with psycopg.connect(owner_dsn) as rows:
        row = rows.execute(query, [uuid_of("run", run_id)]).fetchone()
    assert row is not None  # noqa: S101
    job_id = site / "state" / "attempts" / typeid("attempt", row[0]) / "job_id"
    until = time.monotonic() + _PATIENCE_S
    submitted_at = 0.0
    while not submitted_at or not client.run(run_id).is_over:
        with suppress(FileNotFoundError):  # not yet
            submitted_at = job_id.stat().st_mtime
        if time.monotonic() > until:
            raise RuntimeError(f"{run_id} never ended, or its job's id was never seen")
        time.sleep(0.02)
    accepted_at: datetime = row[1]
    return submitted_at - accepted_at.timestamp()


def _makespan_s(cluster: SlurmCluster, names: set[str], *, count: int) -> float:
    """From the first Submit to the last End of the jobs so named, once all have ended."""
    until = time.monotonic() + _PATIENCE_S * count
    while time.monotonic() < until:
        rows = [row for row in _jobs(cluster) if row["name"] in names]
        if len(rows) == count and all(row["state"] == "COMPLETED" for row in rows):
            return float(max(row["end"] for row in rows) - min(row["submit"] for row in rows))
        time.sleep(1)
    raise RuntimeError(f"not all of {count} jobs ended well: {rows}")


def _jobs(cluster: SlurmCluster) -> list[dict[str, Any]]:
    text = cluster.ask(
        *("sacct", "-X", "-P", "-n", "--starttime=1970-01-01", "--endtime=now+1hour"),
        "--format=JobName,State,Submit,End",
    )
    return [
        {"name": name, "state": state, "submit": int(submit), "end": int(end) if end.isdecimal() else 0}
        for name, state, submit, end in (line.split("|") for line in text.splitlines())
    ]
