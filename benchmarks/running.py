"""How soon a leased attempt's process starts, and how soon what it prints is shown to who follows it."""

import statistics
import time
from datetime import datetime
from typing import Any

import psycopg

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from mosu.client import Client
from mosu.client.logs import LogText
from mosu.kernel.ids import uuid_of

# The first line is the process's own start; the others are printed while somebody follows.
_TASK = """
resources: {cpus: 1, memory: 1}
run: 'date +%s.%N; sleep 1; for i in 1 2 3 4 5 6 7 8; do date +%s.%N; sleep 0.25; done'
mosu: {wall_limit: 60s}
"""
_ORDER_S_MAX = 300.0


def lease_and_log(url: str, buyer: Buyer, *, owner_dsn: str, runs: int) -> list[Figure]:
    """Medians over `runs` jobs, one after the other, in the real sandbox."""
    starts, lines = [], []
    with Client(url, buyer.token) as client, psycopg.connect(owner_dsn, autocommit=True) as rows:
        for _ in range(runs):
            run_id, shown = _followed(client)
            first, *others = shown
            starts.append((first[0] - _leased_at(rows, run_id).timestamp()) * 1000)
            lines += [(at - printed) * 1000 for printed, at in others]
    note = f"{runs} runs"
    return [
        Figure("lease to process started", statistics.median(starts), "ms", 300, note=f"median, {note}"),
        Figure(
            "log line printed to shown", statistics.median(lines), "ms", 500, note=f"median of {len(lines)}"
        ),
    ]


def _followed(client: Client) -> tuple[str, list[tuple[float, float]]]:
    """A run, and for each of its lines when it was printed and when it was shown here."""
    order = client.accept(_quote(client))
    assert order.run_id is not None  # noqa: S101 - the compute shelf always makes one
    shown = []
    for event in client.follow_log(order.run_id):
        if isinstance(event, LogText):
            at = time.time()
            shown += [(float(line), at) for line in event.text.split()]
    _settled(client, order.id)
    return order.run_id, shown


def _quote(client: Client) -> str:
    """The local pool's, as soon as it starts at once."""
    until = time.monotonic() + _ORDER_S_MAX
    while time.monotonic() < until:
        found = client.make_quotes(_TASK, vouchers="none")
        if found.quotes:
            return found.quotes[0].id
        time.sleep(0.5)
    raise RuntimeError(f"no quote: {found.refused}")


def _settled(client: Client, order_id: str) -> None:
    until = time.monotonic() + _ORDER_S_MAX
    while client.order(order_id).state != "settled" and time.monotonic() < until:
        time.sleep(0.1)


def _leased_at(rows: psycopg.Connection[Any], run_id: str) -> datetime:
    query = "select leased_at from compute_attempt where run_id = %s"
    row = rows.execute(query, [uuid_of("run", run_id)]).fetchone()
    assert row is not None  # noqa: S101 - it was leased, since it ran
    at: datetime = row[0]
    return at
