"""Mixed reading at a steady rate, whether the hub keeps up or not (open loop): how many requests a second it bears.

A request that cannot be sent in time counts from when it should have been: a slow server cannot slow the clock.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from benchmarks.bars import Figure

P99_MS: Final = 500.0
RATES: Final = (10, 20, 30, 40, 60, 80, 100, 120, 150, 200)


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of request."""

    address: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Borne:
    """What a rate came to."""

    rate: int
    p99_ms: float
    median_ms: float
    failed: int
    answered_per_s: float

    @property
    def holds(self) -> bool:
        return self.p99_ms <= P99_MS and not self.failed


def borne(url: str, mix: Sequence[Asked], *, seconds: float, rates: Sequence[int] = RATES) -> list[Figure]:
    """The highest of `rates` that keeps p99 when tried for a while, then held for all of `seconds`."""
    best = None
    for rate in rates:  # upwards: a rate that is too high leaves a queue that takes minutes to answer
        tried = asyncio.run(_at(url, mix, rate=rate, seconds=min(seconds, 10.0)))
        best = tried if best is None or tried.holds else best
        if not tried.holds:
            break
    assert best is not None  # noqa: S101 - there is at least one rate
    best = asyncio.run(_at(url, mix, rate=best.rate, seconds=seconds))
    note = f"open loop, {seconds:.0f} s, p99 {best.p99_ms:.0f} ms, median {best.median_ms:.0f} ms, {best.failed} failed"
    return [Figure("mixed reads, p99 within 500 ms", best.rate if best.holds else 0, "/s", note=note)]


async def _at(url: str, mix: Sequence[Asked], *, rate: int, seconds: float) -> Borne:
    chance = random.Random(rate)  # noqa: S311 - which page comes next needs no secrecy
    took: list[float] = []
    failed = 0

    async def ask(client: httpx.AsyncClient, one: Asked, due: float) -> None:
        nonlocal failed
        try:
            answer = await client.get(one.address, headers=one.headers)
            failed += answer.status_code != 200
        except httpx.HTTPError:
            failed += 1
        took.append((time.perf_counter() - due) * 1000)

    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
        began = time.perf_counter()
        running = set()
        for number in range(int(rate * seconds)):
            due = began + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(ask(client, chance.choice(mix), due))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        lasted = time.perf_counter() - began
    return Borne(
        rate=rate,
        p99_ms=statistics.quantiles(took, n=100)[-1],
        median_ms=statistics.median(took),
        failed=failed,
        answered_per_s=len(took) / lasted,
    )
