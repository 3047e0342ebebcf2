"""The wall limit of a session: its people are told ten minutes before."""

from datetime import timedelta

import pytest

from mosu.compute import services
from mosu.compute.ends import ends_at
from mosu.compute.models import Run
from mosu.platform.models import Notice, User
from tests.compute.sessions import make_session
from tests.compute.world import World, at, attempt_of, beat, lease, make_world, order_of, register, started

pytestmark = pytest.mark.django_db
MINUTE = 60
TEXT = "name: lab\nresources: {cpus: 1}\nrun: x\nmosu: {kind: %s, wall_limit: %s%s}\n"


def told() -> int:
    return Notice.objects.filter(kind="run.ends_soon").count()


def make_buyer(world: World) -> None:
    """Whoever orders must be known to be told."""
    assert world.actor.id is not None
    User.objects.create(id=world.actor.id, email="buyer@example.org")


def make_sessions_world() -> World:
    world = make_world()
    make_buyer(world)
    register(world, reaches=True)
    return world


@pytest.mark.parametrize(("kind", "more"), [("session", ""), ("service", ", port: 80")])
def test_people_are_told_once_ten_minutes_before(kind: str, more: str) -> None:
    world = make_sessions_world()
    run, attempt = started(world, text=TEXT % (kind, "2h", more))
    assert ends_at(run, attempt) == at(120 * MINUTE)
    for minute, times in [(1, 0), (109, 0), (110, 1), (111, 1), (119, 1)]:
        services.watch_ends(now=at(minute * MINUTE))
        assert told() == times, minute
    notice = Notice.objects.get(kind="run.ends_soon")
    assert notice.link == f"/orders/{order_of(run).public_id}/"
    assert "12:00" in notice.title["en"]  # in the hub's zone
    assert attempt_of(run).end_told_at == at(110 * MINUTE)


@pytest.mark.parametrize("extends", [True, False])
def test_they_are_told_how_to_give_it_more_time_where_that_can_be(extends: bool) -> None:
    world = make_sessions_world()
    register(world, reaches=True, extends=extends)
    run, _ = started(world, text=TEXT % ("session", "2h", ""))
    services.watch_ends(now=at(111 * MINUTE))
    body = Notice.objects.get(kind="run.ends_soon").body
    for language in ("zh", "en"):
        assert (f"mosu extend {run.public_id} 30m" in body[language]) is extends


def test_not_of_a_batch_nor_of_what_lasts_no_longer_nor_of_what_was_told_to_stop() -> None:
    world = make_sessions_world()
    started(world, wall="2h")
    started(world, text=TEXT % ("session", "10m", ""))
    stopped, _ = started(world, text=TEXT % ("session", "2h", ""))
    services.cancel_run(actor=world.actor, run_id=stopped.id, now=at(5))
    services.watch_ends(now=at(119 * MINUTE))
    assert told() == 0


def test_it_has_no_end_before_it_runs() -> None:
    session = make_session()
    run = Run.objects.get(id=session.run.id)
    assert ends_at(run, None) is None
    run.state = "succeeded"
    assert ends_at(run, session.attempt) is None


def test_the_agent_that_starts_late_ends_late() -> None:
    world = make_sessions_world()
    run, _ = started(world, now=at(0), text=TEXT % ("session", "1h", ""))
    beat(world, attempt_of(run), "running", now=at(90))
    assert lease(world, now=at(91)) is None
    by = ends_at(Run.objects.get(id=run.id), attempt_of(run))
    assert by == at(60 * MINUTE) and by - at(0) == timedelta(hours=1)
