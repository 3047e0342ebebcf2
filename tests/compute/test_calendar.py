"""The calendar: what is free all through each hour, of cores and of cards."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from pytest_django import DjangoAssertNumQueries

from mosu.compute import services
from mosu.compute.calendar import Hour, calendars_of, kinds_of
from mosu.compute.models import Allocation, Device, Node
from mosu.compute.states import NodeState
from mosu.kernel.time import Period
from mosu.platform.actors import SYSTEM
from tests.compute.test_cards import TASK, make_cards_world
from tests.compute.world import World, at, buy, make_world
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
ZONE = ZoneInfo("Asia/Shanghai")
CARD = "nvidia-h100-sxm"


def hours(world: World, accelerator: str = "", *, days: int = 2, now: float = 0) -> list[Hour]:
    found = calendars_of(world.pool_id, accelerators=[accelerator], days=days, now=at(now), zone=ZONE)
    return found[accelerator]


def test_an_empty_pool_is_free_to_the_end_of_the_last_day() -> None:
    world = make_world(cores=4)
    found = hours(world)
    assert {(one.free, one.total) for one in found} == {(4, 4)}
    assert found[0].at == NOW.replace(minute=0, second=0, microsecond=0)
    assert (found[-1].at + timedelta(hours=1)).astimezone(ZONE).hour == 0


def test_cards_are_taken_in_every_hour_that_an_order_touches() -> None:
    world = make_cards_world()
    assert kinds_of(world.pool_id) == [CARD, ""]
    run = buy(world, TASK)
    period = Allocation.objects.get(attempt__run=run).period
    for one in hours(world, CARD):
        touched = one.at < period.upper and one.at + timedelta(hours=1) > period.lower
        assert (one.free, one.total) == (1 if touched else 4, 4)


def test_two_orders_one_after_the_other_take_a_card_once() -> None:
    world = make_cards_world()
    buy(world, TASK)
    second = buy(world, TASK)
    upper = Allocation.objects.get(attempt__run=second).period.upper
    assert {one.free for one in hours(world, CARD) if one.at < upper} == {1}


def test_what_is_overdue_is_held_without_an_end() -> None:
    world = make_world(cores=4)
    buy(world, cores=3, wall="60s")
    assert {one.free for one in hours(world, now=7200)} == {1}


def test_a_blackout_takes_its_whole_node_and_no_more() -> None:
    world = make_world(cores=4)
    buy(world, cores=1, wall="2h")
    node = Node.objects.get()
    day = at(24 * 3600)
    services.set_blackout(
        actor=SYSTEM, node_id=node.id, period=Period(day, day + timedelta(hours=2)), why="x", now=NOW
    )
    free = {one.at: one.free for one in hours(world)}
    assert free[day.replace(minute=0, second=0)] == 0
    assert min(free.values()) == 0


def test_drained_nodes_are_not_counted() -> None:
    world = make_world(cores=4)
    services.set_node_state(
        actor=SYSTEM,
        node_id=Node.objects.get().id,
        to=NodeState.DRAINING,
        why="x",
        now=NOW,
    )
    assert {(one.free, one.total) for one in hours(world)} == {(0, 0)}


def test_more_kinds_take_no_more_statements(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    world = make_cards_world()
    for number, kind in enumerate(("ascend-910b2", "nvidia-a100-sxm-80gb"), start=10):
        Device.objects.create(node=Node.objects.get(), index=number, accelerator=kind)
    kinds = kinds_of(world.pool_id)
    assert len(kinds) == 4
    with django_assert_num_queries(5):
        found = calendars_of(world.pool_id, accelerators=kinds, days=2, now=at(0), zone=ZONE)
    assert {kind: found[kind][0].total for kind in kinds[:2]} == {
        "ascend-910b2": 1,
        "nvidia-a100-sxm-80gb": 1,
    }
