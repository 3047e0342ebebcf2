"""Searches and quotes over 100,000 offers, through HTTP, while prices change; and what the catalogue takes to keep."""

# ruff: noqa: PLC0415, S311 - Django is set up before these are called; which search comes next needs no secrecy
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import psycopg

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from benchmarks.offers import POOLS, fill, keep_alive
from benchmarks.processes import descendants_of, pss_bytes

WARM_UP: Final = 20
_BROAD: Final[tuple[dict[str, str], ...]] = (
    {},
    {"sort": "effective"},
    {"sort": "-created_at"},
    {"free_now": "true"},
    {"country": "CN"},
    {"region": "shanghai-xuhui"},
    {"mode": "on_demand", "sort": "free"},
)
_NARROW: Final = (
    {"accelerator": ["ascend-910b2", "ascend-910b3"], "region": ["beijing", "shenzhen"], "count": "8"},
    {"vendor": "NVIDIA", "memory_gb_min": "80", "price_max": "40", "free_now": "true"},
    {"country": "CN", "memory_gb": "64", "mode": "reserved", "price_min": "5", "price_max": "20"},
    {"accelerator": "nvidia-h100-sxm", "count": ["4", "8"], "mode": "spot"},
    {"vendor": ["Cambricon", "Hygon"], "region": "guizhou-guian", "sort": "effective"},
)
_WORDS: Final = (
    "昇腾",
    "昇腾910B",
    "寒武纪 上海",
    "国产 推理",
    "贵州昇腾",
    "训练 按需 北京",
    "910B 杭州",
    "大模型预训练",
)
_TASKS: Final = (
    "run: x\nresources: {cpus: 8}\n",
    "run: x\nresources: {accelerators: 'Ascend910B:4', cpus: 16}\n",
    "run: x\nresources: {accelerators: 'H100:8', cpus: 32}\nmosu: {budget: '5000'}\n",
    "run: x\nresources: {accelerators: 'C500:1', cpus: 4}\nmosu: {domestic_only: true}\n",
)


def searched(url: str, *, owner_dsn: str, web_pid: int, offers: int, requests: int) -> list[Figure]:
    """Fills the hub, then asks it; then the same catalogue is kept by this process, to take its times apart."""
    before = pss_bytes(descendants_of(web_pid)) / 1e6
    filled = fill(owner_dsn, offers=offers, now=datetime.now(UTC))
    with _kept_alive(owner_dsn), _prices_change(owner_dsn):
        api = _timed(
            url,
            "/api/v1/offers?",
            lambda query: {**query, "shelf": "compute", "facets": "true", "limit": "30"},
            requests,
        )
        page = _timed(url, "/compute/?", dict, max(requests // 4, 1))
        front = _timed(url, "/?", lambda _query: {}, max(requests // 8, 1))
    after = pss_bytes(descendants_of(web_pid)) / 1e6
    note = f"{offers:,} offers, mix 50% broad, 30% narrow, 20% Chinese; a price changes every second"
    return [
        Figure("shelf search with all facets, p95", _p95(api), "ms", 50, note=note),
        Figure(
            "shelf search with all facets, median", statistics.median(api), "ms", note=f"{len(api)} requests"
        ),
        Figure("shelf page, p95", _p95(page), "ms", 150, note=f"median {statistics.median(page):.0f} ms"),
        Figure("front page, p95", _p95(front), "ms", 150, note=f"median {statistics.median(front):.0f} ms"),
        Figure("web process, memory with the catalogue", after, "MB", note=f"{before:.0f} MB before"),
        Figure("offers put in by COPY", filled.seconds, "s", note=f"{offers:,}, every trigger on"),
        *_kept(owner_dsn),
    ]


def quoted(url: str, buyer: Buyer, *, owner_dsn: str, offers: int, requests: int) -> list[Figure]:
    """Ranked quotes for four kinds of task, each with a voucher that may pay a part."""
    fill(owner_dsn, offers=offers, now=datetime.now(UTC))
    took: list[float] = []
    found: list[int] = []
    headers = {"Authorization": f"Bearer {buyer.token}", "Content-Type": "application/json"}
    with _kept_alive(owner_dsn), _prices_change(owner_dsn), _connection(url) as connection:
        for number in range(WARM_UP + requests):
            body = json.dumps({"task": _TASKS[number % len(_TASKS)], "vouchers": "auto"})
            began = time.perf_counter()
            connection.request("POST", "/api/v1/quotes", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 201:
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
            if number >= WARM_UP:
                took.append((time.perf_counter() - began) * 1000)
                found.append(len(json.loads(text)["quotes"]))
    note = f"{offers:,} offers, {POOLS} pools; {statistics.mean(found):.1f} quotes each, {len(took)} requests"
    return [
        Figure("ranked quote, p95", _p95(took), "ms", 100, note=note),
        Figure("ranked quote, median", statistics.median(took), "ms"),
    ]


def _kept(owner_dsn: str) -> list[Figure]:
    """By this process, which joined the hub: reading all, looking when nothing changed, reading one again."""
    from mosu.market.catalogue.keeping import Catalogue

    catalogue, now = Catalogue(), datetime.now(UTC)

    def looked_over(second: int) -> object:
        return catalogue.at(now + timedelta(seconds=second))

    def sorted_again(second: int) -> object:
        return catalogue.at(now + timedelta(seconds=second)).order("price")

    whole = _ms(lambda: catalogue.at(now))
    quiet, changed = [], []
    for second in range(1, 11):
        quiet.append(_ms(partial(looked_over, 4 * second)))
        _change_a_price(owner_dsn)
        changed.append(_ms(partial(sorted_again, 4 * second + 2)))
    return [
        Figure("catalogue, first reading", whole / 1000, "s", 10),
        Figure("catalogue, looked over, nothing new", statistics.median(quiet), "ms"),
        Figure("catalogue, after one price, sorted again", statistics.median(changed), "ms", 50),
    ]


def _timed(
    url: str, path: str, dressed: Callable[[dict[str, Any]], Mapping[str, Any]], requests: int
) -> list[float]:
    took = []
    with _connection(url) as connection:
        for number, query in enumerate(mix(WARM_UP + requests)):
            address = path + urlencode(dressed(query), doseq=True)
            began = time.perf_counter()
            connection.request("GET", address)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 503 and number < WARM_UP:
                time.sleep(1)  # the catalogue is being read for the first time
                continue
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
            if number >= WARM_UP:
                took.append((time.perf_counter() - began) * 1000)
    return took


def mix(count: int) -> Iterator[dict[str, Any]]:
    """Searches as people make them: broad, narrow, by words."""
    chance = random.Random(7)
    for _ in range(count):
        kind = chance.random()
        if kind < 0.5:
            yield dict(chance.choice(_BROAD))
        elif kind < 0.8:
            yield dict(chance.choice(_NARROW))
        else:
            yield {"text": chance.choice(_WORDS), "sort": chance.choice(("relevance", "price"))}


@contextmanager
def _connection(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=180)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _repeated(every_s: float, act: Callable[[], None]) -> Iterator[None]:
    stopping = threading.Event()

    def acting() -> None:
        while not stopping.wait(every_s):
            act()

    act()
    thread = threading.Thread(target=acting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _kept_alive(owner_dsn: str) -> Any:
    return _repeated(8, lambda: keep_alive(owner_dsn))


def _prices_change(owner_dsn: str) -> Any:
    return _repeated(1, lambda: _change_a_price(owner_dsn))


def _change_a_price(owner_dsn: str) -> None:
    from mosu.kernel.ids import uuid7

    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(
            "insert into market_offerprice (id, offer_id, meter, unit, per, unit_price_micros, currency, valid_from)"
            " select %s, p.offer_id, p.meter, p.unit, p.per, p.unit_price_micros + 10000, p.currency, now()"
            " from market_offerprice p where p.offer_id = (select id from market_offer order by id limit 1 offset 50)"
            " order by p.valid_from desc limit 1",
            [uuid7()],
        )


def _ms(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def _p95(took: Sequence[float]) -> float:
    return statistics.quantiles(took, n=20)[-1] if len(took) > 1 else took[0]
