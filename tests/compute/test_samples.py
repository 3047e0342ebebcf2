"""The curves of a run: what heartbeats said, ever further apart."""

from datetime import datetime
from itertools import pairwise

import pytest

from mosu.compute import services
from mosu.compute.models import Attempt
from mosu.compute.queries import CurvePoint, curve_of
from mosu.compute.shapes import SamplesOut
from mosu.web.buying.run import curves_of
from mosu.wire.agent import AttemptPhase, AttemptStatus, Heartbeat, MeterSample
from tests.compute.world import World, at, make_world, started

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world(cores=4)


def sampled(world: World, attempt: Attempt, *, cpu_s: float, memory_bytes: int, now: datetime) -> None:
    status = AttemptStatus(
        attempt_id=attempt.public_id,
        epoch=attempt.epoch,
        phase=AttemptPhase.RUNNING,
        sample=MeterSample(at=now, cpu_s=cpu_s, memory_bytes=memory_bytes),
    )
    services.heartbeat(actor=world.agent, message=Heartbeat(clock_at=now, attempts=(status,)), now=now)


def test_a_curve_shows_cores_and_memory_between_samples(world: World) -> None:
    run, attempt = started(world, cores=2)
    sampled(world, attempt, cpu_s=4.0, memory_bytes=100, now=at(4))
    sampled(world, attempt, cpu_s=10.0, memory_bytes=300, now=at(8))
    assert curve_of(run) == [CurvePoint(4.0, 1.0, 100), CurvePoint(8.0, 1.5, 300)]


def test_a_curve_shows_the_cards_where_the_engine_can_say(world: World) -> None:
    run, attempt = started(world, cores=2)
    for second, util, used in ((4, None, None), (8, 0.75, 5 << 30)):
        sample = MeterSample(
            at=at(second),
            cpu_s=0,
            memory_bytes=1,
            accelerator_util=util,
            accelerator_memory_bytes=used,
        )
        status = AttemptStatus(
            attempt_id=attempt.public_id, epoch=attempt.epoch, phase=AttemptPhase.RUNNING, sample=sample
        )
        message = Heartbeat(clock_at=at(second), attempts=(status,))
        services.heartbeat(actor=world.agent, message=message, now=at(second))
    assert curve_of(run) == [CurvePoint(4.0, 0.0, 1), CurvePoint(8.0, 0.0, 1, 0.75, 5 << 30)]
    points = SamplesOut.of(run).model_dump()["points"]
    assert [(one["accelerator_util"], one["accelerator_memory_bytes"]) for one in points] == [
        (None, None),
        (0.75, 5 << 30),
    ]
    assert [(one.title, one.unit, [point.value for point in one.points]) for one in curves_of(run)][:2] == [
        ("Accelerators busy", "%", [75.0]),
        ("Accelerators' memory", "GiB", [5.0]),
    ]


def test_samples_come_ever_further_apart(world: World) -> None:
    run, attempt = started(world, wall="7h")
    for second in range(0, 6 * 3600, 60):
        sampled(world, attempt, cpu_s=second, memory_bytes=1, now=at(second))
    points = curve_of(run)
    assert 240 < len(points) < 320
    gaps = [after.seconds - before.seconds for before, after in pairwise(points)]
    assert (gaps[0], gaps[-1]) == (60, 120)
    assert gaps == sorted(gaps)
