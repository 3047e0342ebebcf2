"""Whose turn it is in a pool, as its agent meets it; and what those who wait are told."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from mosu.compute.models import Allocation, Attempt, PoolShare, Run
from mosu.compute.queries import runs_visible_to
from mosu.compute.queue import estimates_of, in_line, used_part
from mosu.compute.turns import turns_in
from mosu.platform.models import Project
from tests.compute.world import (
    World,
    at,
    attempt_of,
    beat,
    buy,
    deposit,
    developer_of,
    lease,
    make_organisation,
    make_world,
    register,
    report,
)

pytestmark = pytest.mark.django_db
HOUR = 3600


def another_buyer(world: World, name: str = "other") -> World:
    buyer = make_organisation(name)
    deposit(buyer.id, 1_000_000_000)
    return World(
        buyer,
        Project.objects.create(organisation=buyer, name="p", created_at=at(0)),
        developer_of(buyer),
        world.pool_id,
        world.token,
        world.agent,
    )


def order_of(world: World) -> list[Run]:
    by_attempt = {attempt_of(run).id: run for run in Run.objects.all()}
    return [by_attempt[key] for key in turns_in([world.pool_id])[world.pool_id]]


def running(world: World, run: Run, *, now: float) -> None:
    found = lease(world, now=at(now))
    assert found is not None
    assert found.spec.attempt_id == attempt_of(run).public_id
    beat(world, attempt_of(run), "running", now=at(now))


def test_who_has_less_goes_first() -> None:
    world = make_world(cores=8)
    other = another_buyer(world)
    first, second = buy(world, cores=4, wall="1h"), buy(world, cores=4, wall="1h")
    running(world, first, now=1)
    running(world, second, now=1)
    flood = [buy(world, cores=4, wall="10m") for _ in range(3)]
    late = buy(other, cores=4, wall="10m")
    assert order_of(world) == [late, *flood]
    report(world, attempt_of(first), now=at(60))
    # All four wait for promised starts; the other organisation's is the last of them, and starts first.
    promised = {run.id: Allocation.objects.get(attempt__run=run, live=True).period.lower for run in flood}
    running(world, late, now=61)
    for run in flood:
        assert Allocation.objects.get(attempt__run=run, live=True).period.lower == promised[run.id]


def test_a_weight_lets_an_organisation_have_more() -> None:
    world = make_world(cores=8)
    other = another_buyer(world)
    runs = [buy(world, cores=8, wall="1h"), *(buy(one, cores=2, wall="1h") for one in (world, other) * 4)]
    PoolShare.objects.create(pool_id=world.pool_id, organisation=other.buyer, weight=3)
    running(world, runs[0], now=1)
    owners = [run.organisation_id == other.buyer.id for run in order_of(world)]
    assert owners == [True] * 4 + [False] * 4


def test_inside_a_project_the_higher_priority_goes_first() -> None:
    world = make_world(cores=1)
    first = buy(world, wall="1h")
    plain = buy(world, wall="5m")
    urgent = buy(world, "run: x\nresources: {cpus: 1, priority: 10}\nmosu: {wall_limit: 5m}\n")
    idle = buy(world, "run: x\nresources: {cpus: 1, priority: -10}\nmosu: {wall_limit: 5m}\n")
    running(world, first, now=1)
    assert order_of(world) == [urgent, plain, idle]
    report(world, attempt_of(first), now=at(60))
    running(world, urgent, now=61)


def test_what_does_not_fit_lets_the_next_one_start_and_keeps_its_place() -> None:
    """Backfill: the large one keeps its promised start, the small one runs before it on what is free."""
    world = make_world(cores=4)
    long = buy(world, cores=3, wall="1h")
    running(world, long, now=1)
    large = buy(world, cores=4, wall="1h")
    promised = Allocation.objects.get(attempt__run=large, live=True).period
    after = buy(world, cores=1, wall="30m")
    assert Allocation.objects.get(attempt__run=after, live=True).period.lower <= at(5)
    running(world, after, now=2)
    assert Allocation.objects.get(attempt__run=large, live=True).period == promised
    report(world, attempt_of(after), now=at(30 * 60))
    report(world, attempt_of(long), now=at(40 * 60))
    running(world, large, now=40 * 60 + 1)


def line_of(world: World, run: Run, *, now: float) -> Any:
    return in_line(runs_visible_to(world.actor), now=at(now)).get(run.id)


def test_who_waits_is_told_place_start_and_how_good_that_is() -> None:
    world = make_world(cores=1)
    # Five runs that take a tenth of their wall limit.
    for number in range(5):
        register(world, cores=1, now=at(number * 100))
        run = buy(world, wall="10m", now=at(number * 100))
        running(world, run, now=number * 100)
        report(world, attempt_of(run), now=at(number * 100 + 60))
    assert used_part(world.pool_id) == pytest.approx(0.1)

    register(world, cores=1, now=at(1000))
    first = buy(world, wall="1h", now=at(1000))
    running(world, first, now=1000)
    second = buy(world, wall="1h", now=at(1001))
    third = buy(world, wall="1h", now=at(1002))
    line, last = line_of(world, second, now=1002), line_of(world, third, now=1002)
    assert (line.place, line.waiting, last.place) == (1, 2, 2)
    assert line.promised_at >= at(1000 + HOUR)
    assert line.expected_at == pytest.approx(
        at(1001) + (line.promised_at - at(1001)) / 10, abs=timedelta(seconds=1)
    )
    assert line.estimates.median_error_s is None
    assert line_of(world, first, now=1002) is None

    report(world, attempt_of(first), now=at(1400))
    running(world, second, now=1401)
    found = estimates_of([world.pool_id], now=at(1402))[world.pool_id]
    expected = Attempt.objects.get(run=second).expected_at
    assert expected is not None
    assert found.count == 1
    assert found.median_error_s == round(abs((at(1401) - expected).total_seconds()))


def test_more_that_wait_ask_no_more() -> None:
    world = make_world(cores=1)
    running(world, buy(world, wall="1h"), now=1)

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            in_line(list(runs_visible_to(world.actor)), now=at(2))
        return len(captured)

    buy(world, wall="5m")
    few = asked()
    for _ in range(4):
        buy(another_buyer(world), wall="5m")
    assert asked() == few
