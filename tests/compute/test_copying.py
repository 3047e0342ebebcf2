"""What is copied for a run, and how long that is expected to take: the measure of a pool, and what quotes say."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.compute import services
from mosu.compute.copying import Pace, copying_facts, seconds_for
from mosu.market.shapes import QuoteOut
from mosu.store.services import ManifestEntry, put_blob
from mosu.wire.agent import Copied, Report
from tests.compute.volumes import buy_volume, make_volume_world, task_with
from tests.compute.world import World, make_world, pool_of, quote, sha256, task_of
from tests.conftest import NOW

MIB = 1 << 20
KEEPS = "name: t\nresources: {cpus: 1}\nrun: train\nmosu: {wall_limit: 60s, outputs: [model]}\n"
MOST = (1 << 53) - 1
copies = st.builds(Pace, st.integers(1, MOST), st.integers(1, MOST))


@given(st.lists(copies, min_size=1, max_size=30), st.integers(0, MOST))
def test_the_estimate_is_that_of_a_mean_that_forgets(made: list[Pace], size_bytes: int) -> None:
    """Against exact fractions: no more apart than what whole numbers round off."""
    pace, whole_bytes, whole_ms = Pace(0, 0), Fraction(0), Fraction(0)
    for one in made:
        pace = pace.then(one)
        whole_bytes = whole_bytes * Fraction(7, 8) + one.size_bytes
        whole_ms = whole_ms * Fraction(7, 8) + one.took_ms
    assert 0 <= whole_bytes - pace.size_bytes < 8 and 0 <= whole_ms - pace.took_ms < 8
    assert max(pace) < 1 << 63, "the column holds it, whatever an agent says"
    found, rate = seconds_for(size_bytes, pace), pace.bytes_per_s
    assert found is not None and rate is not None and rate >= 1
    assert (found - 1) * rate < size_bytes <= found * rate or size_bytes == found == 0


@given(copies, st.integers(0, MOST), st.integers(0, MOST))
def test_more_bytes_never_take_less(pace: Pace, some: int, more: int) -> None:
    low, high = seconds_for(min(some, more), pace), seconds_for(max(some, more), pace)
    assert low is not None and high is not None and low <= high


@pytest.mark.parametrize(
    ("in_bytes", "out_bytes", "expected"),
    [(0, 0, (0, 0)), (5, None, (None, None)), (0, 7, (0, None))],
)
def test_what_nobody_measured_is_said_to_be_unknown(
    in_bytes: int, out_bytes: int | None, expected: tuple[int | None, int | None]
) -> None:
    nothing = Pace(0, 0)
    facts = copying_facts(in_bytes=in_bytes, into=nothing, out_bytes=out_bytes, back=nothing)
    assert (facts["in_s"], facts["out_s"]) == expected
    assert facts["in_bytes_per_s"] is facts["out_bytes_per_s"] is None


def copying(world: World, text: str, **asked: Any) -> dict[str, Any]:
    """What the API says of it with the one plan that fits."""
    result = quote(world, text, **asked)
    assert result.quotes, result.refused
    found = QuoteOut.of(result.quotes[0], now=NOW).model_dump()["copying"]
    assert isinstance(found, dict)
    return found


def told(world: World, **copied: Copied) -> None:
    report = Report(
        epoch=1,
        phase="succeeded",
        exit_code=0,
        started_at=None,
        ended_at=NOW,
        measures=None,
        log_bytes=0,
        **copied,
    )
    services.note_copying(actor=world.agent, report=report)


@pytest.fixture
def folder(settings: Any, tmp_path: Any) -> list[ManifestEntry]:
    settings.DATA_DIR = tmp_path
    return []


@pytest.mark.django_db
def test_a_quote_says_how_long_the_folder_takes_once_that_was_measured(
    folder: list[ManifestEntry],
) -> None:
    world = make_world()
    data = b"x" * (3 * MIB + 1)
    put_blob(
        chunks=[data], sha256=sha256(data), size_bytes_max=4 * MIB, organisation_id=world.buyer.id, now=NOW
    )
    folder += [ManifestEntry(path=name, sha256=sha256(data), size_bytes=len(data)) for name in ("a", "b")]

    assert copying(world, KEEPS, workdir=folder) == {
        "in_bytes": 6 * MIB + 2, "in_s": None, "in_bytes_per_s": None,
        "out_bytes": None, "out_s": None, "out_bytes_per_s": None,
    }  # fmt: skip
    told(world)
    assert pool_of(world).copied_in == (0, 0)
    told(world, copied_in=Copied(size_bytes=2 * MIB, took_ms=1000))
    told(world, copied_out=Copied(size_bytes=MIB, took_ms=100))
    found = copying(world, KEEPS, workdir=folder)
    assert (found["in_s"], found["in_bytes_per_s"]) == (4, 2 * MIB)
    assert (found["out_bytes"], found["out_s"], found["out_bytes_per_s"]) == (None, None, 10 * MIB)
    alone = copying(world, task_of())
    assert (alone["in_bytes"], alone["in_s"], alone["out_bytes"], alone["out_s"]) == (0, 0, 0, 0)


@pytest.mark.django_db
def test_what_is_in_a_volume_is_not_copied() -> None:
    world = make_volume_world()
    buy_volume(world)
    assert copying(world, task_with("/data: data"))["in_bytes"] == 0


@pytest.mark.django_db
def test_a_lying_agent_breaks_no_column() -> None:
    world = make_world()
    for _ in range(20):
        told(
            world, copied_in=Copied(size_bytes=MOST, took_ms=1), copied_out=Copied(size_bytes=1, took_ms=MOST)
        )
    found = copying(world, KEEPS)
    assert found["in_bytes_per_s"] > MOST and found["out_bytes_per_s"] == 1
