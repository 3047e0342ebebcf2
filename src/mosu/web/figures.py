"""What the hub tells Prometheus: orders, runs, cards, queues, agents, use and money, counted in the database.

Labels are states, pools, accelerators, meters, currencies: never an organisation, a person, a run. Each series is one
query, whatever the number of rows, and an answer stands for some seconds, so that nobody who asks often is a load.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.utils import timezone
from prometheus_client import REGISTRY, Gauge, generate_latest

from mosu.compute.models import Pool
from mosu.kernel.ids import typeid
from mosu.market.hub import hub_zone

FRESH_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Series:
    """Its meaning, its labels, and the query whose rows are those labels and a figure."""

    name: str
    means: str
    labels: Sequence[str]
    query: str


SERIES: Final = (
    Series(
        "mosu_orders", "Orders by state", ["state"], "select state, count(*) from market_order group by state"
    ),
    Series(
        "mosu_attempts",
        "Attempts by state",
        ["state"],
        "select state, count(*) from compute_attempt group by state",
    ),
    Series(
        "mosu_tasks",
        "Background tasks by status",
        ["status"],
        "select status, count(*) from procrastinate_jobs group by status",
    ),
    Series(
        "mosu_runs",
        "Runs under way by state and pool",
        ["state", "pool"],
        "select state, pool_id, count(*) from compute_run where state in ('queued', 'running') group by 1, 2",
    ),
    # By id: two suppliers' pools may have one name.
    Series(
        "mosu_pool_silence_seconds",
        "Seconds since a pool's site agent was last heard",
        ["pool"],
        "select id, extract(epoch from now() - last_seen_at) from compute_pool where last_seen_at is not null",
    ),
    Series(
        "mosu_cards",
        "Cards on nodes that are up, by pool and accelerator",
        ["pool", "accelerator"],
        "select n.pool_id, d.accelerator, count(*) from compute_device d join compute_node n on n.id = d.node_id"
        " where n.state = 'up' group by 1, 2",
    ),
    Series(
        "mosu_cards_allocated",
        "Cards that somebody holds now, by pool and accelerator",
        ["pool", "accelerator"],
        "select n.pool_id, d.accelerator, count(*) from compute_deviceallocation a"
        " join compute_device d on d.id = a.device_id join compute_node n on n.id = d.node_id"
        " where a.live and lower(a.period) <= now() group by 1, 2",
    ),
    Series(
        "mosu_queue_length",
        "Attempts that wait for their pool",
        ["pool"],
        "select pool_id, count(*) from compute_attempt where state = 'waiting' group by 1",
    ),
    Series(
        "mosu_queue_oldest_seconds",
        "How long the first of those that wait has waited",
        ["pool"],
        "select pool_id, extract(epoch from now() - min(created_at)) from compute_attempt where state = 'waiting'"
        " group by 1",
    ),
    Series(
        "mosu_charged_use_today",
        "What today's settled orders used, in their meter's unit: card_second, core_second",
        ["meter"],
        "select l.meter, sum(h.quantity) from market_order o join market_orderline l on l.order_id = o.id"
        " join market_charge h on h.order_line_id = l.id where o.settled_at >= %(today)s group by 1",
    ),
    Series(
        "mosu_charged_today",
        "What today's receipts charge, by who pays: vouchers, or the buyers themselves",
        ["currency", "payer"],
        "select content ->> 'currency', payer, sum(amount) from market_receipt, lateral (values"
        " ('voucher', (content ->> 'voucher_share')::numeric), ('buyer', (content ->> 'paid')::numeric))"
        " as share (payer, amount) where issued_at >= %(today)s group by 1, 2",
    ),
    Series(
        "mosu_money",
        "What stands on the ledger's accounts, by kind: balance, voucher, pool, payable, fee and so on",
        ["currency", "account"],
        "select currency, kind, sum(balance_micros) / 1000000.0 from ledger_account group by 1, 2",
    ),
)
_gauges: Final = {one.name: Gauge(one.name, one.means, one.labels) for one in SERIES}


class Answer:
    """The figures as text, kept for `FRESH_S`: one process counts once, however many ask."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._text, self._until = b"", float("-inf")

    def text(self) -> bytes:
        with self._lock:
            if self._clock() >= self._until:
                _count()
                self._text, self._until = generate_latest(REGISTRY), self._clock() + FRESH_S
            return self._text


def _count() -> None:
    today = timezone.now().astimezone(hub_zone()).replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        for one in SERIES:
            cursor.execute(one.query, {"today": today})
            gauge = _gauges[one.name]
            gauge.clear()
            for *labels, value in cursor.fetchall():
                gauge.labels(*map(_label, labels)).set(float(value))


def _label(value: Any) -> str:
    return typeid(Pool.prefix, value) if isinstance(value, UUID) else str(value)
