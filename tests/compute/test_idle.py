"""Accelerators that do nothing: noticed, told of once, and stopped where the organisation wants that."""

import pytest

from mosu.compute import services
from mosu.compute.idleness import is_idle
from mosu.compute.models import Attempt, IdleRule, Run
from mosu.kernel.refusals import Forbidden, Invalid
from mosu.platform.actors import Actor, Role
from mosu.platform.models import AuditRecord, Membership, Notice, User
from mosu.wire.agent import AttemptPhase, AttemptStatus, Heartbeat, MeterSample
from tests.compute.test_cards import TASK, make_cards_world
from tests.compute.world import World, at, attempt_of, beat, buy, lease, report

pytestmark = pytest.mark.django_db
MINUTE = 60


@pytest.mark.parametrize(
    ("util", "cores", "idle"),
    [(0.0, 4.0, True), (0.5, 0.0, False), (None, 0.0, True), (None, 0.5, False), (None, None, False)],
)
def test_what_is_idle(util: float | None, cores: float | None, idle: bool) -> None:
    assert is_idle(accelerator_util=util, cores=cores) is idle


@pytest.fixture
def world() -> World:
    return make_cards_world()


@pytest.fixture
def owner(world: World) -> User:
    user = User.objects.create_user(email="owner@example.org")
    Membership.objects.create(organisation=world.buyer, user=user, role=Role.OWNER, created_at=at(0))
    return user


def finance_of(world: World) -> Actor:
    return Actor(
        kind=world.actor.kind,
        id=world.actor.id,
        label="finance",
        roles={world.buyer.id: Role.FINANCE},
        scopes=world.actor.scopes,
    )


def running(world: World) -> Attempt:
    run = buy(world, TASK)
    lease(world, now=at(0))
    beat(world, attempt_of(run), "running", now=at(0))
    return attempt_of(run)


def sampled(
    world: World, attempt: Attempt, *, minute: float, cpu_s: float, util: float | None = None
) -> None:
    status = AttemptStatus(
        attempt_id=attempt.public_id,
        epoch=attempt.epoch,
        phase=AttemptPhase.RUNNING,
        sample=MeterSample(at=at(minute * MINUTE), cpu_s=cpu_s, memory_bytes=1, accelerator_util=util),
    )
    message = Heartbeat(clock_at=at(minute * MINUTE), attempts=(status,))
    services.heartbeat(actor=world.agent, message=message, now=at(minute * MINUTE))


def test_people_are_told_once_after_fifteen_minutes(world: World, owner: User) -> None:
    attempt = running(world)
    for minute, told in [(1, 0), (10, 0), (16, 1), (20, 1), (30, 1)]:
        sampled(world, attempt, minute=minute, cpu_s=100, util=0.0)
        services.watch_idle(now=at(minute * MINUTE))
        assert Notice.objects.filter(user=owner, kind="run.idle").count() == told, minute
    sampled(world, attempt, minute=31, cpu_s=100, util=0.9)
    attempt.refresh_from_db()
    assert attempt.idle_since is None
    for minute in (32, 50):
        sampled(world, attempt, minute=minute, cpu_s=100, util=0.0)
        services.watch_idle(now=at(minute * MINUTE))
    assert Notice.objects.filter(user=owner, kind="run.idle").count() == 2


def test_without_a_word_of_the_cards_it_is_the_cores_that_tell(world: World, owner: User) -> None:
    attempt = running(world)
    sampled(world, attempt, minute=5, cpu_s=300)
    for minute in (10, 30):
        sampled(world, attempt, minute=minute, cpu_s=300)
    attempt.refresh_from_db()
    assert attempt.idle_since == at(5 * MINUTE)


def test_it_is_stopped_after_the_time_that_the_organisation_set(world: World, owner: User) -> None:
    services.set_idle_stop(
        actor=finance_of(world), organisation_id=world.buyer.id, stop_after_s=1200, now=at(0)
    )
    attempt = running(world)
    for minute, asked in [(1, False), (9, False), (10, False), (19, False), (20, True)]:
        sampled(world, attempt, minute=minute, cpu_s=0, util=0.0)
        services.watch_idle(now=at(minute * MINUTE))
        run = Run.objects.get(id=attempt.run_id)
        assert (run.cancel_asked_at is not None) is asked, minute
        assert Notice.objects.filter(user=owner, kind="run.idle_stop").exists() is (minute >= 10)
    assert not Notice.objects.filter(kind="run.idle").exists()  # the warning said it
    report(world, attempt, "cancelled", now=at(22 * MINUTE))
    assert Run.objects.get(id=attempt.run_id).reason == "its accelerators did nothing"


def test_who_sets_it(world: World) -> None:
    for stop_after_s in (899, 8 * 86_400):
        with pytest.raises(Invalid):
            services.set_idle_stop(
                actor=finance_of(world), organisation_id=world.buyer.id, stop_after_s=stop_after_s, now=at(0)
            )
    with pytest.raises(Forbidden):
        services.set_idle_stop(
            actor=world.actor, organisation_id=world.buyer.id, stop_after_s=None, now=at(0)
        )
    assert not IdleRule.objects.exists()
    for stop_after_s in (900, 3600, None):
        services.set_idle_stop(
            actor=finance_of(world), organisation_id=world.buyer.id, stop_after_s=stop_after_s, now=at(0)
        )
    assert not IdleRule.objects.exists()
    records = AuditRecord.objects.filter(action="idle_rule.set").order_by("id")
    assert [(one.before, one.after) for one in records] == [
        (None, "900"),
        ("900", "3600"),
        ("3600", "never"),
    ]
