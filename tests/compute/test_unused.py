"""Sessions that nobody uses: noticed by bytes, cores and cards; warned of, kept, and stopped."""

from datetime import timedelta
from uuid import UUID

import pytest

from mosu.compute import services
from mosu.compute.idle_runs import idleness_of
from mosu.compute.idleness import deed_due, is_session_idle, stop_after_s_of, unused_since
from mosu.compute.models import Attempt, Connection, Run
from mosu.compute.queries import run_visible_to
from mosu.compute.services import NotASession, NotRunning, Traffic
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.market.models import Receipt
from mosu.platform.actors import Role
from mosu.platform.models import AuditRecord, Notice, User
from mosu.wire.agent import AttemptPhase, AttemptStatus, Heartbeat, MeterSample
from mosu.wire.task import TaskRefused, dump_task, parse_task
from tests.compute.sessions import Session, make_session
from tests.compute.test_idle import finance_of
from tests.compute.world import World, at, attempt_of, make_organisation, order_of, report, started
from tests.platform.factories import make_member

pytestmark = pytest.mark.django_db
MINUTE = 60


# Rules.


@pytest.mark.parametrize(
    ("util", "cores", "idle"),
    [
        (None, 0.0, True),
        (None, 0.04, True),
        (None, 0.06, False),
        (0.0, 0.0, True),
        (0.5, 0.0, False),
        (0.0, 2.0, False),
        (None, None, False),
    ],
)
def test_a_session_is_idle_when_neither_cores_nor_cards_work(
    util: float | None, cores: float | None, idle: bool
) -> None:
    assert is_session_idle(accelerator_util=util, cores=cores) is idle


def test_it_is_unused_since_the_last_of_all() -> None:
    assert unused_since(at(0)) == at(0)
    assert unused_since(at(0), used_at=at(5)) == at(5)
    assert unused_since(at(9), used_at=at(5), kept_at=at(7)) == at(9)
    assert unused_since(at(0), used_at=at(5), kept_at=at(7)) == at(7)


@pytest.mark.parametrize(
    ("kind", "own", "rule", "stops"),
    [
        ("session", None, None, None),
        ("session", 1800, None, 1800),
        ("session", 1800, 900, 900),
        ("session", 900, 1800, 900),
        ("session", None, 1800, 1800),
        ("service", None, 1800, None),
        ("service", 3600, 1800, 3600),
        ("batch", None, 1800, 1800),
    ],
)
def test_the_shorter_time_counts_and_services_wait(
    kind: str, own: int | None, rule: int | None, stops: int | None
) -> None:
    assert stop_after_s_of(kind=kind, own_s=own, rule_s=rule) == stops


def test_nothing_is_stopped_that_was_not_warned_of_ten_minutes_before() -> None:
    asked = {"told_at": None, "stop_after_s": 1800}
    assert deed_due(at(0), warned_at=None, now=at(19 * MINUTE), **asked) == "tell"
    assert deed_due(at(0), warned_at=None, now=at(20 * MINUTE), **asked) == "warn"
    assert deed_due(at(0), warned_at=None, now=at(300 * MINUTE), **asked) == "warn"
    assert deed_due(at(0), warned_at=at(20 * MINUTE), now=at(29 * MINUTE), **asked) is None
    assert deed_due(at(0), warned_at=at(20 * MINUTE), now=at(30 * MINUTE), **asked) == "stop"
    assert deed_due(at(0), warned_at=at(25 * MINUTE), now=at(30 * MINUTE), **asked) is None
    # The warning was of an earlier idle time.
    assert deed_due(at(21 * MINUTE), warned_at=at(20 * MINUTE), now=at(60 * MINUTE), **asked) == "warn"


# A session.


def sampled(session: Session, *, minute: float, cpu_s: float = 0, util: float | None = None) -> None:
    now = at(minute * MINUTE)
    status = AttemptStatus(
        attempt_id=session.attempt.public_id,
        epoch=session.attempt.epoch,
        phase=AttemptPhase.RUNNING,
        sample=MeterSample(at=now, cpu_s=cpu_s, memory_bytes=1, accelerator_util=util),
    )
    services.heartbeat(
        actor=session.world.agent, message=Heartbeat(clock_at=now, attempts=(status,)), now=now
    )
    services.watch_idle(now=now)


def passed(connection_id: UUID, *, minute: float, bytes_in: int = 0, bytes_out: int = 0) -> None:
    traffic = {connection_id: Traffic(bytes_in, bytes_out)}
    assert not services.renew_connections(traffic=traffic, now=at(minute * MINUTE))


def since(session: Session) -> float | None:
    """The minute since which the session is idle."""
    run = run_visible_to(session.world.actor, session.run.id)
    found = idleness_of([run]).get(run.id)
    return found and (found.since - at(0)) / timedelta(minutes=1)


def is_stopping(session: Session) -> bool:
    return Run.objects.get(id=session.run.id).cancel_asked_at is not None


@pytest.fixture
def session() -> Session:
    return make_session()


@pytest.fixture
def owner(session: Session) -> User:
    return User.objects.get(id=make_member(session.world.buyer, Role.OWNER).id)


def told(owner: User, kind: str) -> int:
    return Notice.objects.filter(user=owner, kind=kind).count()


def stop_after(session: Session, stop_after_s: int | None, *, minute: float = 0) -> None:
    services.set_own_idle_stop(
        actor=session.world.actor, run_id=session.run.id, stop_after_s=stop_after_s, now=at(minute * MINUTE)
    )


def test_bytes_either_way_count_as_use_and_an_open_connection_does_not(session: Session) -> None:
    joined = session.join(now=at(0)).connection_id
    for minute in range(1, 6):
        sampled(session, minute=minute)
    passed(joined, minute=5)
    assert since(session) == 0
    passed(joined, minute=6, bytes_in=1)
    assert since(session) == 6
    passed(joined, minute=7, bytes_in=1)
    assert since(session) == 6
    passed(joined, minute=8, bytes_in=1, bytes_out=9)
    assert since(session) == 8
    services.close_connection(connection_id=joined, traffic=Traffic(2, 9), why="left", now=at(9 * MINUTE))
    assert since(session) == 9


def test_a_connection_that_is_closed_without_more_bytes_was_not_used_then(session: Session) -> None:
    joined = session.join(now=at(0)).connection_id
    services.close_connection(connection_id=joined, traffic=Traffic(0, 0), why="left", now=at(MINUTE))
    assert Connection.objects.get(id=joined).used_at is None


def test_cores_and_cards_count_as_use(session: Session) -> None:
    for minute, cpu_s in [(1, 0), (2, 0), (3, 60), (4, 60), (5, 60)]:
        sampled(session, minute=minute, cpu_s=cpu_s)
    assert since(session) == 3
    sampled(session, minute=6, cpu_s=60, util=0.7)
    assert since(session) is None


def test_it_is_told_of_warned_of_and_stopped_with_the_reason_on_its_receipt(
    session: Session, owner: User
) -> None:
    stop_after(session, 1800)
    for minute in range(1, 31):
        sampled(session, minute=minute)
        assert told(owner, "run.idle") == (minute >= 15)
        assert told(owner, "run.idle_stop") == (minute >= 20)
        assert is_stopping(session) is (minute >= 30)
    report(session.world, session.attempt, "cancelled", now=at(31 * MINUTE))
    assert Run.objects.get(id=session.run.id).reason == "nobody used it"
    assert Receipt.objects.get(order=order_of(session.run)).content["outcome"] == "cancelled"


def test_a_byte_after_the_warning_starts_the_time_anew(session: Session, owner: User) -> None:
    stop_after(session, 1800)
    joined = session.join(now=at(0)).connection_id
    for minute in range(1, 60):
        sampled(session, minute=minute)
        if minute == 25:
            passed(joined, minute=25, bytes_in=1)
        assert is_stopping(session) is (minute >= 55)
    assert told(owner, "run.idle_stop") == 2


def test_who_keeps_it_starts_the_time_anew(session: Session, owner: User) -> None:
    stop_after(session, 1800)
    for minute in range(1, 60):
        sampled(session, minute=minute)
        if minute == 29:
            services.keep_run(actor=session.world.actor, run_id=session.run.id, now=at(29 * MINUTE))
        assert is_stopping(session) is (minute >= 59)
    assert AuditRecord.objects.filter(action="run.kept", subject_id=session.run.id).count() == 1


def test_the_organisations_rule_counts_without_cards_and_a_longer_own_time_does_not_lift_it(
    session: Session,
) -> None:
    services.set_idle_stop(
        actor=finance_of(session.world),
        organisation_id=session.world.buyer.id,
        stop_after_s=900,
        now=at(0),
    )
    stop_after(session, 7200)
    for minute in range(1, 16):
        sampled(session, minute=minute)
    assert is_stopping(session)


def test_without_any_rule_it_goes_on(session: Session, owner: User) -> None:
    for minute in range(1, 100):
        sampled(session, minute=minute)
    assert (told(owner, "run.idle"), told(owner, "run.idle_stop"), is_stopping(session)) == (1, 0, False)


def test_what_nobody_warned_of_in_time_is_warned_of_first(session: Session, owner: User) -> None:
    """The hub was away: the session has been idle for longer than its time."""
    stop_after(session, 900)
    now = at(300 * MINUTE)
    sampled(session, minute=1)
    Attempt.objects.filter(id=session.attempt.id).update(leased_until=now)
    services.watch_idle(now=now)
    assert (told(owner, "run.idle_stop"), is_stopping(session)) == (1, False)
    services.watch_idle(now=now + timedelta(minutes=10))
    assert is_stopping(session)


def test_a_service_waits_unless_its_task_says_otherwise() -> None:
    made = make_session()
    world, rule = made.world, {"organisation_id": made.world.buyer.id, "stop_after_s": 900}
    services.set_idle_stop(actor=finance_of(world), now=at(0), **rule)
    text = "name: s\nresources: {cpus: 1}\nrun: serve\nmosu: {kind: service, port: 8000, wall_limit: 2h%s}\n"
    for more, stopped in [("", False), (", idle_stop: 20m", True)]:
        run, attempt = started(world, text=text % more)
        service = Session(world, run, attempt, made.person)
        for minute in range(1, 21):
            sampled(service, minute=minute)
        assert is_stopping(service) is stopped


# Who may.


def test_whoever_may_not_run_things_keeps_nothing(session: Session) -> None:
    viewer = make_member(session.world.buyer, Role.VIEWER)
    outsider = make_member(make_organisation("other"), Role.OWNER)
    for actor, refusal in [(viewer, Forbidden), (outsider, NotFound)]:
        with pytest.raises(refusal):
            services.keep_run(actor=actor, run_id=session.run.id, now=at(1))
        with pytest.raises(refusal):
            services.set_own_idle_stop(actor=actor, run_id=session.run.id, stop_after_s=900, now=at(1))
    run = Run.objects.get(id=session.run.id)
    assert (run.kept_at, run.idle_stop_s) == (None, None)


@pytest.mark.parametrize("stop_after_s", [1, 899, 7 * 86_400 + 1])
def test_times_that_are_refused(session: Session, stop_after_s: int) -> None:
    with pytest.raises(Invalid):
        stop_after(session, stop_after_s)
    assert Run.objects.get(id=session.run.id).idle_stop_s is None


def test_setting_the_time_is_on_record_once(session: Session) -> None:
    for stop_after_s in (1800, 1800, None):
        stop_after(session, stop_after_s)
    found = AuditRecord.objects.filter(action="run.idle_stop_set").order_by("id")
    assert [(one.before, one.after) for one in found] == [("never", "1800"), ("1800", "never")]


def test_a_batch_and_what_has_ended_are_not_kept(session: Session) -> None:
    report(session.world, session.attempt, "cancelled", now=at(5))
    with pytest.raises(NotRunning):
        services.keep_run(actor=session.world.actor, run_id=session.run.id, now=at(6))
    with pytest.raises(NotRunning):
        stop_after(session, 900)
    batch, _ = started(session.world)
    with pytest.raises(NotASession):
        services.keep_run(actor=session.world.actor, run_id=batch.id, now=at(6))


# The task file.


def test_the_task_says_it(session: Session) -> None:
    text = "resources: {cpus: 1}\nrun: x\nmosu: {kind: session, wall_limit: 1h, idle_stop: 30m}\n"
    assert parse_task(dump_task(parse_task(text))).idle_stop_s == 1800
    run, _ = started(session.world, text=text)
    assert run.idle_stop_s == 1800


@pytest.mark.parametrize(
    "terms", ["idle_stop: 30m", "kind: session, idle_stop: 14m", "kind: session, idle_stop: 8d"]
)
def test_the_task_is_refused(terms: str) -> None:
    with pytest.raises(TaskRefused):
        parse_task(f"run: x\nmosu: {{{terms}}}\n")


def test_asking_for_many_runs_costs_two_queries(
    session: Session, django_assert_num_queries: "pytest.FixtureRequest"
) -> None:
    world: World = session.world
    sampled(session, minute=1)
    runs = [run_visible_to(world.actor, session.run.id)]
    with django_assert_num_queries(2):  # type: ignore[operator]
        assert len(idleness_of(runs)) == 1
    assert attempt_of(session.run).idle_since == at(0)
