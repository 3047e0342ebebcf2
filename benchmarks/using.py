"""Usage taken per second through the agent's door, in batches of 1,000, a twentieth of them sent before.

Orders on one supplier's pool, accepted like any other; that they run is written by the tables' owner. Afterwards all
are settled: what is billed is each record once.
"""

# ruff: noqa: PLC0415 - Django is set up before these are called
import http.client
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from tests.hub import Hub

from benchmarks.accepting import placed_orders
from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from benchmarks.processes import cpu_s, descendants_of
from mosu.kernel.ids import typeid

ORDERS: Final = 60
BATCH: Final = 1_000
REPEATED: Final = 50
"""Of each batch, from the one before it."""

_RUNNING: Final = """
alter table compute_attempt disable trigger user;
update compute_attempt set state = 'running', leased_at = now() - interval '2 hours',
  first_running_at = now() - interval '2 hours', last_contact_at = now(), leased_until = now() + interval '1 day';
alter table compute_attempt enable trigger user;
"""


def taken(hub: Hub, buyers: Sequence[Buyer], *, owner_dsn: str, batches: int) -> list[Figure]:
    """Records per second by one agent that waits for each answer, and what of them was billed."""
    url = hub.url
    token, orders = placed_orders(url, buyers, owner_dsn=owner_dsn, orders=ORDERS)
    with psycopg.connect(owner_dsn, autocommit=True) as rows:
        rows.execute(_RUNNING)
        found = rows.execute(
            "select a.id from compute_attempt a join compute_run r on r.id = a.run_id where r.order_id = any(%s)",
            [orders],
        ).fetchall()
    bodies = _bodies([typeid("attempt", attempt) for (attempt,) in found], batches)
    warm, *measured = bodies
    _sent(url, token, [warm])
    began, worked = time.perf_counter(), _worked_s(hub)
    answers = _sent(url, token, measured)
    seconds, worked = time.perf_counter() - began, _worked_s(hub) - worked
    distinct = BATCH + len(measured) * (BATCH - REPEATED)
    wrong = sum(
        answer != {"accepted": BATCH - REPEATED, "repeated": REPEATED, "quarantined": 0} for answer in answers
    )
    billed = _billed(orders)
    return [
        Figure(
            "usage records taken", len(measured) * BATCH / seconds, "/s", 10_000, "more",
            note=f"one agent, {len(measured)} batches of {BATCH:,} over HTTP, 5% repeated;"
            f" the hub and its database worked {worked / len(measured) * 1000:.0f} ms a batch",
        ),
        Figure("records not billed exactly once", abs(billed - distinct) + wrong, "", 0,
               note=f"{distinct:,} sent, {billed:,} billed"),
    ]  # fmt: skip


def _worked_s(hub: Hub) -> float:
    """CPU seconds of the hub's processes so far, PostgreSQL's among them: it tells a slow hub from a busy machine."""
    return cpu_s([hub.process.pid, *descendants_of(hub.process.pid)])


def _bodies(attempts: Sequence[str], batches: int) -> list[bytes]:
    """Each record one core for one second; the first of each batch repeat the last of the batch before."""
    start = datetime.now(UTC) - timedelta(hours=1)
    fresh = 0
    bodies: list[bytes] = []
    last: list[dict[str, Any]] = []
    for _ in range(batches):
        records: list[dict[str, Any]] = list(last)
        while len(records) < BATCH:
            sequence = fresh // len(attempts)
            records.append(
                {
                    "attempt_id": attempts[fresh % len(attempts)],
                    "meter": "core_second",
                    "sequence": sequence,
                    "quantity": 1,
                    "start": (start + timedelta(seconds=sequence)).isoformat(),
                    "end": (start + timedelta(seconds=sequence + 1)).isoformat(),
                }
            )
            fresh += 1
        last = records[-REPEATED:]
        bodies.append(json.dumps({"records": records}).encode())
    return bodies


def _sent(url: str, token: str, bodies: Sequence[bytes]) -> list[dict[str, int]]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answers = []
    for body in bodies:
        connection.request("POST", "/agent/v1/usage", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"usage: {answer.status} {said[:500]!r}")
        answers.append(json.loads(said))
    connection.close()
    return answers


def _billed(orders: Sequence[UUID]) -> int:
    """What the charges of all orders come to, once they are settled; in records, each of one core-second."""
    from django.db.models import Sum

    from mosu.market.models import Charge, Outcome
    from mosu.market.services import settle_order

    now = datetime.now(UTC)
    for order_id in orders:
        settle_order(order_id=order_id, ended_at=now, outcome=Outcome.SUCCEEDED, now=now)
    return int(
        Charge.objects.filter(order_line__order_id__in=orders).aggregate(sum=Sum("quantity"))["sum"] or 0
    )
