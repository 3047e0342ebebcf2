"""Bringing 100,000 offers in by a file, over HTTP, into a running hub; and the preview of the next day's file."""

# ruff: noqa: PLC0415 - Django is set up first, then imported
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hub import Hub

from benchmarks.bars import Figure
from benchmarks.processes import descendants_of, peak_bytes
from mosu.client import Client
from mosu.client.models import Imported

_WORKER = "mosu.runtime.worker"
_CARDS = ("H100", "H800", "H20", "L40S", "A800", "B200", "昇腾910B3", "昇腾910C", "寒武纪MLU370", "沐曦C500")
_HEADER = "key,title_zh,title_en,accelerator,region,mode,price,min_units,max_units\n"


def figures(hub: Hub, folder: Path, *, offers: int) -> list[Figure]:
    """What the first file and the second one take."""
    token = _supplier()
    first, second = folder / "today.csv", folder / "tomorrow.csv"
    first.write_text(_HEADER + "".join(_rows(offers, seed=1)), encoding="utf-8")
    second.write_text(_HEADER + "".join(_rows(offers, seed=2)), encoding="utf-8")
    before = peak_bytes(descendants_of(hub.process.pid), program=_WORKER)
    with Client(hub.url, token) as client:
        previewed_s, made = _timed(lambda: client.preview_offers(first, source="bench"))
        applied_s, _ = _timed(lambda: client.apply_offers(made.id))
        again_s, diff = _timed(lambda: client.preview_offers(second, source="bench"))
        changed_s, _ = _timed(lambda: client.apply_offers(diff.id))
        undone_s, undone = _timed(lambda: client.undo_offers(diff.id, why="a benchmark"))
        whole_s, whole = _timed(lambda: client.undo_offers(made.id, why="a benchmark"))
    peak = peak_bytes(descendants_of(hub.process.pid), program=_WORKER)
    if (undone.state, whole.refusal is None) != ("undone", False):
        raise RuntimeError(f"one is undone, what changed since is not: {undone}, {whole}")
    if made.counts["new"] != offers or not diff.counts["price"]:
        raise RuntimeError(f"the files were not what they should be: {made.counts}, {diff.counts}")
    told = ", ".join(f"{count} {kind}" for kind, count in diff.counts.items() if count and kind != "rows")
    return [
        Figure(
            f"import of {offers:,} new offers",
            previewed_s + applied_s,
            "s",
            60.0,
            note=f"preview {previewed_s:.1f} s, apply {applied_s:.1f} s, upload included",
        ),
        Figure(
            f"preview with diff, {offers:,} offers",
            again_s,
            "s",
            10.0,
            note=f"{told}; applying it {changed_s:.1f} s, undoing it {undone_s:.1f} s",
        ),
        Figure("refusing to undo what changed since", whole_s, "s", note=f"{offers:,} offers looked at"),
        Figure(
            "worker's peak memory (RSS)",
            peak / 1e6,
            "MB",
            note=f"{before / 1e6:.0f} MB before the first file",
        ),
    ]


def _rows(count: int, *, seed: int) -> Iterator[str]:
    """A tenth gets another price with another seed, a hundredth is gone and as many are new."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    for number in range(count):
        key = number + count if chance.random() < 0.01 and seed > 1 else number
        card = _CARDS[number % len(_CARDS)]
        price = 1000 + number % 3000 + (chance.randrange(1, 50) if chance.random() < 0.1 and seed > 1 else 0)
        region = f"region-{number % 40}"
        yield f"o{key},{card} 整机 {number},{card} machine {number},{card},{region},on_demand,{price / 100:.2f},1,8\n"


def _supplier() -> str:
    """The token of a new supplier's owner; after `join`."""
    from datetime import UTC, datetime

    from django.db import connections

    from mosu.platform.services import bootstrap

    made = bootstrap(
        email="supplier@bench.example",
        organisation_name="Supplier of a benchmark",
        capabilities=["supplier"],
        now=datetime.now(UTC),
    )
    connections.close_all()
    return made.token


def _timed(call: Callable[[], Imported]) -> tuple[float, Imported]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found
