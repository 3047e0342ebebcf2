"""What waits begins as soon as there is room, however many wait and wherever they were promised theirs."""

import pytest

from mosu.compute.placement import GIB
from mosu.compute.services import dispatch
from mosu.wire.agent import NodeInfo
from tests.compute.world import World, at, attempt_of, beat, buy, lease, make_world, register, report

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    """Two nodes of one core."""
    world = make_world()
    nodes = tuple(
        NodeInfo(name=name, cores=1, memory_bytes=64 * GIB, disk_bytes=200 * GIB) for name in ("n1", "n2")
    )
    register(world, nodes=nodes)
    return world


@pytest.mark.parametrize("ends", [0, 1])
def test_the_next_of_a_node_goes_forward_though_its_turn_is_far(
    world: World, monkeypatch: pytest.MonkeyPatch, ends: int
) -> None:
    """More wait than are tried by turns: the first of them has its place on the other node, and finds no room here."""
    monkeypatch.setattr(dispatch, "BACKFILL_MAX", 1)
    begun, waiting = [buy(world, wall="120s") for _ in range(2)], [buy(world, wall="120s") for _ in range(2)]
    running = [attempt_of(run).public_id for run in begun]
    for run in begun:
        assert lease(world, now=at(0), running=running) is not None
        beat(world, attempt_of(run), "running", now=at(0))
    assert lease(world, now=at(5), running=running) is None
    report(world, attempt_of(begun[ends]), now=at(10))
    next_one = lease(world, now=at(10), running=running)
    assert next_one is not None
    assert next_one.spec.run_id == waiting[ends].public_id
