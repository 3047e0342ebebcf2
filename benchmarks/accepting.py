"""Quotes accepted per second through HTTP: 16 clients, ready quotes, vouchers and balances held, until sold out.

Suppliers' pools with an agent that registers and beats but leases nothing: what is sold stays sold.
"""

# ruff: noqa: PLC0415 - Django is set up before these are called
import http.client
import json
import queue
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer

CLIENTS: Final = 16
PER_POOL: Final = 10
BEAT_S: Final = 8.0
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class _Pool:
    id: UUID
    supplier: str
    token: str
    cores: int


def accepted(
    url: str, buyers: Sequence[Buyer], *, owner_dsn: str, pools: int, one_pool_cores: int
) -> list[Figure]:
    """Over `pools` pools, then over one with `one_pool_cores`; each has quotes for a tenth more than it has cores."""
    figures = []
    for many, cores, bar in ((pools, PER_POOL, 40.0), (1, one_pool_cores, 25.0)):
        made = _make_pools(many, cores=cores)
        with _agents(url, made):
            ready = _ready_quotes(buyers, made, each=cores + max(1, cores // 10))
            run = _accept_all(url, ready)
        oversold = _oversold(owner_dsn, made)
        sold = run.answers[201]
        complete = sold == many * cores and set(run.answers) <= {201, 409}
        where = f"{many} pools" if many > 1 else "one pool"
        told = f"{sold} of {many * cores} cores sold, answers {dict(run.answers)}"
        figures += [
            Figure(f"quotes accepted, {where}", sold / run.seconds, "/s", bar, "more", note=told),
            Figure(f"quotes accepted, {where}, p95", run.p95_ms, "ms", 800),
            Figure(f"oversold, {where}", oversold + (not complete), "", 0, note="recounted by SQL"),
        ]
    return figures


def placed_orders(
    url: str, buyers: Sequence[Buyer], *, owner_dsn: str, orders: int
) -> tuple[str, list[UUID]]:
    """The token of a new pool's agent, and orders of one core each, placed on that pool."""
    made = _make_pools(1, cores=orders)
    with _agents(url, made):
        _accept_all(url, _ready_quotes(buyers, made, each=orders))
    with psycopg.connect(owner_dsn) as rows:
        found = rows.execute(
            "select o.id from market_order o join market_offer f on f.id = o.offer_id where f.subject_id = %s",
            [made[0].id],
        ).fetchall()
    return made[0].token, [order_id for (order_id,) in found]


def _make_pools(count: int, *, cores: int) -> list[_Pool]:
    from mosu.compute.services import create_pool
    from mosu.kernel.money import micros_of
    from mosu.market.services import OfferSpec, PriceSpec, create_offer
    from mosu.platform.actors import SYSTEM
    from mosu.platform.services import bootstrap

    now = datetime.now(UTC)
    made = []
    for number in range(count):
        name = f"Pool of {count}, {number}"
        supplier = bootstrap(
            email=f"s{count}x{number}@bench.example",
            organisation_name=name,
            capabilities=["supplier"],
            now=now,
        )
        pool, token = create_pool(
            actor=SYSTEM, organisation_id=supplier.organisation_id, name="bench", region="here", now=now
        )
        create_offer(
            actor=SYSTEM,
            spec=OfferSpec(
                supplier_id=supplier.organisation_id,
                shelf="compute",
                subject_id=pool.id,
                title_zh=name,
                title_en=name,
                max_units=cores,
                wall_s_max=86_400,
                prices=[
                    PriceSpec(meter="core_second", unit="core_hour", unit_price_micros=micros_of("1.00"))
                ],
                attributes={"accelerator": None, "region": "here", "mode": "on_demand"},
            ),
            now=now,
        )
        made.append(_Pool(pool.id, name, token, cores))
    return made


@contextmanager
def _agents(url: str, pools: Sequence[_Pool]) -> Iterator[None]:
    """One agent per pool, by its messages alone: registered, then heard of every few seconds."""
    for pool in pools:
        _told(
            url,
            pool,
            "register",
            {
                "agent_version": "bench",
                "engine": "none",
                "clock_at": _now(),
                "nodes": [
                    {
                        "name": "n1",
                        "cores": pool.cores,
                        "memory_bytes": pool.cores * _GIB,
                        "disk_bytes": 1000 * pool.cores * _GIB,
                    }
                ],
                "environments": [{"name": "bench", "python": "3", "packages": []}],
                "sandbox": "bench",
                "sandbox_ok": True,
            },
        )
        measures = {
            "cores": pool.cores,
            "memory_bytes": pool.cores * _GIB,
            "write_bytes_per_s": 5e8,
            "cards": 0,
        }
        health = {
            "node": "n1",
            "took_s": 1,
            "measures": [{"name": name, "value": value} for name, value in measures.items()],
        }
        _told(url, pool, "health", health)
    stopping = threading.Event()

    def beat() -> None:
        while not stopping.wait(BEAT_S):
            for pool in pools:
                _told(url, pool, "heartbeat", {"clock_at": _now(), "attempts": []})

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        stopping.set()
        beating.join()


def _told(url: str, pool: _Pool, call: str, message: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    headers = {"Authorization": f"Bearer {pool.token}", "Content-Type": "application/json"}
    connection.request("POST", f"/agent/v1/{call}", json.dumps(message), headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{call}: {answer.status} {said[:500]!r}")


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _ready_quotes(buyers: Sequence[Buyer], pools: Sequence[_Pool], *, each: int) -> list[tuple[Buyer, str]]:
    """Open quotes, one core each, best split of voucher and balance; the pools in turn."""
    from django.db import connections

    from mosu.compute.services import quote_run
    from mosu.compute.services.quoting import PLANS_MAX
    from mosu.kernel.ids import typeid
    from mosu.platform.actors import SYSTEM
    from mosu.platform.models import Project
    from mosu.wire.task import parse_task

    now = datetime.now(UTC)
    projects = {
        buyer: Project.objects.filter(organisation_id=buyer.organisation_id).order_by("id").first()
        for buyer in buyers
    }
    found = []
    batches = [pools[start : start + PLANS_MAX] for start in range(0, len(pools), PLANS_MAX)]
    for turn in range(each):
        for number, batch in enumerate(batches):
            buyer = buyers[(turn * len(batches) + number) % len(buyers)]
            project = projects[buyer]
            assert project is not None  # noqa: S101 - every organisation has one
            suppliers = json.dumps([pool.supplier for pool in batch])
            task = f"resources: {{cpus: 1, memory: 1}}\nrun: x\nmosu: {{wall_limit: 30m, suppliers: {suppliers}}}\n"
            result = quote_run(
                actor=SYSTEM,
                organisation_id=buyer.organisation_id,
                project_id=project.id,
                task=parse_task(task),
                workdir=[],
                choice="auto",
                now=now,
            )
            found += [(buyer, typeid("quote", quote.id)) for quote in result.quotes]
    connections.close_all()
    return found


@dataclass(frozen=True, slots=True)
class _Accepted:
    seconds: float
    answers: Counter[int]
    p95_ms: float


def _accept_all(url: str, ready: Sequence[tuple[Buyer, str]]) -> _Accepted:
    """Each client takes the next quote until none is left. Time runs until the last one is sold."""
    todo: queue.SimpleQueue[tuple[Buyer, str]] = queue.SimpleQueue()
    for one in ready:
        todo.put(one)
    answers: list[tuple[int, float, float]] = []
    clients = [threading.Thread(target=_client, args=(url, todo, answers)) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = [ms for status, ms, _ in answers if status == 201]
    last_sold = max(at for status, _, at in answers if status == 201)
    return _Accepted(
        last_sold - began, Counter(status for status, _, _ in answers), statistics.quantiles(took, n=20)[18]
    )


def _client(
    url: str, todo: queue.SimpleQueue[tuple[Buyer, str]], answers: list[tuple[int, float, float]]
) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    while True:
        try:
            buyer, quote_id = todo.get_nowait()
        except queue.Empty:
            connection.close()
            return
        headers = {
            "Authorization": f"Bearer {buyer.token}",
            "Idempotency-Key": f"bench-{quote_id}",
            "Content-Type": "application/json",
        }
        began = time.perf_counter()
        connection.request("POST", "/api/v1/orders", json.dumps({"quote_id": quote_id}), headers)
        answer = connection.getresponse()
        answer.read()
        ended = time.perf_counter()
        answers.append((answer.status, (ended - began) * 1000, ended))


def _oversold(owner_dsn: str, pools: Sequence[_Pool]) -> int:
    """Cores promised beyond what there is, over all nodes, at the worst instant: from the rows alone."""
    query = """
        select coalesce(sum(beyond), 0) from (
          select n.id, greatest(max(taken) - max(n.cores), 0) beyond
          from compute_node n join lateral (
            select (select sum(b.cores) from compute_allocation b
                    where b.node_id = n.id and b.live and b.period @> lower(a.period)) taken
            from compute_allocation a where a.node_id = n.id and a.live) t on true
          where n.pool_id = any(%s) group by n.id) each_node"""
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute(query, [[pool.id for pool in pools]]).fetchone()
        assert row is not None  # noqa: S101 - an aggregate has one row
        return int(row[0])
