"""Interruptible goods give way to orders at full price after a notice, and their runs go on where there is room."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mosu.compute import services
from mosu.compute.models import Allocation, Attempt, Run
from mosu.compute.services.capacity import NOTICE
from mosu.compute.services.usage import TOLERANCE
from mosu.compute.states import AttemptState, RunState
from mosu.market.models import OrderState, UsageTotal
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.platform.models import Project
from tests.compute.test_quotas import granted
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
    order_of,
    pool_of,
    quote,
    register,
    report,
    task_of,
    use,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
NOTICE_S = NOTICE.total_seconds()


@pytest.fixture
def world() -> World:
    world = make_world(cores=4)
    pool = pool_of(world)
    create_offer(
        actor=SYSTEM,
        now=NOW,
        spec=OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=pool.id,
            title_zh="可中断核",
            title_en="Interruptible cores",
            max_units=8,
            wall_s_max=86_400,
            prices=[PriceSpec(meter="core_second", unit="core_hour", unit_price_micros=20_000)],
            attributes={"mode": "spot"},
        ),
    )
    return world


def spot(*, cores: int = 4, wall: str = "1h", recovers: bool = False) -> str:
    recovery = ", job_recovery: failover" if recovers else ""
    return f"run: x\nresources: {{cpus: {cores}, use_spot: true{recovery}}}\nmosu: {{wall_limit: {wall}}}\n"


def running(world: World, text: str, *, now: float = 0) -> tuple[Run, Attempt]:
    run = buy(world, text, now=at(now))
    assert lease(world, now=at(now)) is not None
    beat(world, attempt_of(run), "running", now=at(now))
    return run, attempt_of(run)


def neighbour(world: World) -> World:
    """Another organisation that buys from the same pool."""
    buyer = make_organisation("neighbour")
    deposit(buyer.id, 1_000_000_000)
    project = Project.objects.create(organisation=buyer, name="p", created_at=NOW)
    return replace(world, buyer=buyer, project=project, actor=developer_of(buyer))


def commands(world: World, attempt: Attempt, *, now: float) -> list[str]:
    return [one.action for one in beat(world, attempt, "running", now=at(now)).commands]


def test_each_task_is_sold_its_own_kind(world: World) -> None:
    cheap, plain = quote(world, spot()), quote(world, task_of(cores=4))
    assert [one.terms["title"]["en"] for one in cheap.quotes] == ["Interruptible cores"]
    assert [one.terms["title"]["en"] for one in plain.quotes] == ["CPU cores of this hub"]
    assert [one.reasons[0].code for one in cheap.refused] == ["not_interruptible"]
    assert [one.reasons[0].code for one in plain.refused] == ["interruptible"]


def test_a_full_price_order_takes_the_place_after_the_notice(world: World) -> None:
    _, victim = running(world, spot())
    assert commands(world, victim, now=5) == []
    full = buy(world, cores=4, wall="10m", now=at(10))
    placed = Allocation.objects.get(attempt__run=full, live=True)
    assert placed.period.lower == at(10 + NOTICE_S)
    assert Allocation.objects.get(attempt=victim, live=True).period.upper == placed.period.lower
    assert commands(world, victim, now=15) == ["cancel"]
    report(world, victim, "cancelled", now=at(40))
    found = lease(world, now=at(41))  # earlier than promised: the place is free already
    assert found is not None
    assert found.spec.attempt_id == attempt_of(full).public_id


def test_without_recovery_the_run_ends_and_what_was_used_is_paid(world: World) -> None:
    run, victim = running(world, spot())
    buy(world, cores=4, now=at(10))
    use(world, victim, 4 * 30, since=at(0), now=at(30))
    report(world, victim, "cancelled", now=at(30))
    run.refresh_from_db()
    assert (run.state, run.reason) == (
        RunState.CANCELLED,
        "its place went to an order that is not interruptible",
    )
    order = order_of(run)
    assert order.state == OrderState.SETTLED
    assert order.total_micros is not None


def test_with_recovery_it_goes_on_for_what_is_left_of_its_wall_limit(world: World) -> None:
    run, victim = running(world, spot(recovers=True))
    register(world, cores=4, now=at(590))
    full = buy(world, cores=4, wall="10m", now=at(590))
    use(world, victim, 4 * 600, since=at(0), now=at(600))
    report(world, victim, "cancelled", now=at(600))
    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert order_of(run).state == OrderState.ACTIVE
    again = attempt_of(run)
    assert (again.epoch, again.state, again.wall_limit_s) == (2, AttemptState.WAITING, 3000)
    assert lease(world, now=at(601)) is not None  # the full-price order's
    beat(world, attempt_of(full), "running", now=at(601))

    services.place_interrupted(now=at(602))
    place = Allocation.objects.get(attempt=again, live=True)
    assert place.yields
    assert place.period.lower >= Allocation.objects.get(attempt__run=full, live=True).period.upper
    report(world, attempt_of(full), now=at(700))
    found = lease(world, now=at(701))
    assert found is not None
    assert (found.spec.attempt_id, found.spec.wall_limit_s) == (again.public_id, 3000)
    beat(world, again, "running", now=at(701))
    report(world, again, now=at(800))
    run.refresh_from_db()
    assert run.state == RunState.SUCCEEDED
    assert Attempt.objects.filter(run=run).count() == 2


def test_what_both_attempts_used_is_billed_and_no_more_than_both_were_seen(world: World) -> None:
    """Also what the first says only after the second has begun."""
    run, first = running(world, spot(recovers=True))
    register(world, cores=4, now=at(590))
    buy(world, cores=4, wall="1m", now=at(590))
    use(world, first, 4 * 500, since=at(0), now=at(500))
    report(world, first, "cancelled", now=at(600))
    services.place_interrupted(now=at(601))
    full = lease(world, now=at(602))
    assert full is not None
    report(world, Attempt.objects.get(id=Attempt.key_of(full.spec.attempt_id)), now=at(610))
    again = attempt_of(run)
    assert lease(world, now=Allocation.objects.get(attempt=again, live=True).period.lower) is not None
    began = Attempt.objects.get(id=again.id).leased_at
    assert began is not None
    beat(world, again, "running", now=began)
    end = began + timedelta(seconds=100)
    assert use(world, again, 4 * 100, since=began, now=end).quarantined == 0
    assert use(world, first, 4 * 100, since=at(500), now=end, sequence=1).quarantined == 0
    assert use(world, again, 4 * 100, since=began, now=end, sequence=1).quarantined == 1
    total = UsageTotal.objects.get(order_line__order_id=run.order_id)
    tolerance = 2 * 4 * TOLERANCE.total_seconds()
    assert 4 * 700 <= total.quantity_accepted <= 4 * 700 + tolerance
    assert total.quantity_observed is not None
    assert total.quantity_accepted <= total.quantity_observed


def test_each_interruption_leaves_less_of_the_wall_limit(world: World) -> None:
    run, attempt = running(world, spot(recovers=True))
    left = []
    for _ in range(2):
        began = Attempt.objects.get(id=attempt.id).first_running_at
        assert began is not None
        register(world, cores=4, now=began + timedelta(seconds=50))
        full = buy(world, cores=4, wall="1m", now=began + timedelta(seconds=50))
        stopped = began + timedelta(seconds=100)
        report(world, attempt, "cancelled", now=stopped)
        services.place_interrupted(now=stopped)
        assert lease(world, now=stopped) is not None
        report(world, attempt_of(full), now=stopped + timedelta(seconds=1))
        attempt = attempt_of(run)
        left.append(attempt.wall_limit_s)
        start = Allocation.objects.get(attempt=attempt, live=True).period.lower
        assert lease(world, now=start) is not None
        beat(world, attempt, "running", now=start)
    assert left == [3500, 3400]


def test_the_files_it_wrote_are_there_when_it_goes_on(world: World, monkeypatch: Any) -> None:
    run, victim = running(world, spot(recovers=True))
    buy(world, cores=4, wall="1m", now=at(10))
    report(world, victim, "cancelled", now=at(30))
    Run.objects.filter(id=run.id).update(outputs_manifest="m")
    services.place_interrupted(now=at(31))
    read: list[str] = []
    monkeypatch.setattr(
        "mosu.compute.services.dispatch.read_manifest", lambda manifest: read.append(manifest) or []
    )
    place = Allocation.objects.get(attempt=attempt_of(run), live=True)
    first = lease(world, now=at(32))
    assert first is not None
    beat(world, Attempt.objects.get(id=Attempt.key_of(first.spec.attempt_id)), "running", now=at(32))
    report(world, Attempt.objects.get(id=Attempt.key_of(first.spec.attempt_id)), now=at(40))
    assert lease(world, now=place.period.lower) is not None
    assert read == ["m"]


def test_what_has_not_started_is_placed_elsewhere(world: World) -> None:
    running(world, task_of(cores=4, wall="10m"))
    waiting = buy(world, spot(wall="10m"), now=at(1))
    before = Allocation.objects.get(attempt__run=waiting, live=True).period
    full = buy(world, cores=4, wall="1h", now=at(2))
    taken = Allocation.objects.get(attempt__run=full, live=True).period
    assert taken.lower == before.lower
    assert not Allocation.objects.filter(attempt__run=waiting, live=True).exists()
    services.place_interrupted(now=at(3))
    assert Allocation.objects.get(attempt__run=waiting, live=True).period.lower == taken.upper
    assert Run.objects.get(id=waiting.id).state == RunState.QUEUED


def test_a_place_again_is_within_the_quota(world: World) -> None:
    """While it held nothing, another run of its organisation took what that may hold."""
    register(world, cores=8, now=at(0))
    run, victim = running(world, spot(cores=4, wall="10m", recovers=True))
    granted(world, 4)
    other = neighbour(world)
    full = buy(other, cores=8, wall="1m", now=at(10))
    report(world, victim, "cancelled", now=at(20))
    after = Allocation.objects.get(attempt__run=full, live=True).period.upper
    buy(world, cores=4, wall="2m", now=at(21))
    taken = Allocation.objects.get(attempt__run__organisation=world.buyer, live=True).period
    assert taken.lower == after
    services.place_interrupted(now=at(22))
    assert Allocation.objects.get(attempt=attempt_of(run), live=True).period.lower == taken.upper


def test_a_quota_made_too_small_does_not_end_what_was_promised(world: World) -> None:
    run, victim = running(world, spot(cores=4, wall="10m", recovers=True))
    full = buy(neighbour(world), cores=4, wall="1m", now=at(10))
    report(world, victim, "cancelled", now=at(20))
    granted(world, 1)
    services.place_interrupted(now=at(22))
    after = Allocation.objects.get(attempt__run=full, live=True).period.upper
    assert Allocation.objects.get(attempt=attempt_of(run), live=True).period.lower == after


def test_only_as_many_give_way_as_must(world: World) -> None:
    old = running(world, spot(cores=2))[1]
    young = running(world, spot(cores=2), now=1)[1]
    buy(world, cores=2, now=at(10))
    assert Allocation.objects.get(attempt=old, live=True).gave_way_at is None
    assert Allocation.objects.get(attempt=young, live=True).gave_way_at == at(10)


def test_the_interruptible_do_not_take_from_each_other(world: World) -> None:
    _, first = running(world, spot(wall="10m"))
    second = buy(world, spot(wall="10m"), now=at(1))
    assert Allocation.objects.get(attempt=first, live=True).gave_way_at is None
    upper = Allocation.objects.get(attempt=first, live=True).period.upper
    assert Allocation.objects.get(attempt__run=second, live=True).period.lower == upper
