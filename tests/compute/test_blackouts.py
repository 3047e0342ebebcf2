"""A supplier keeps a node for itself for a while; what was sold before stays sold."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mosu.compute.models import Blackout, Node, Run
from mosu.compute.queries import blackouts_visible_to, utilisation_of
from mosu.compute.services import AlreadyTaken, lift_blackout, set_blackout
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.kernel.time import Period
from mosu.platform.models import AuditRecord
from tests.compute.world import OPERATOR, World, at, buy, developer_of, make_world, quote, task_of
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
UTC_ZONE = ZoneInfo("UTC")


@pytest.fixture
def world() -> World:
    return make_world(cores=4, cards=1)


def node() -> Node:
    return Node.objects.get()


def black(start: float, end: float) -> Blackout:
    return set_blackout(
        actor=OPERATOR, node_id=node().id, period=Period(at(start), at(end)), why="new fans", now=NOW
    )


def start_of(world: World, *, wall: str = "60s") -> datetime:
    [found] = quote(world, task_of(wall=wall)).quotes
    return found.starts_at


def test_nothing_starts_in_a_blackout_and_at_once_when_it_is_lifted(world: World) -> None:
    blackout = black(0, 3600)
    assert start_of(world) == at(3600)
    assert AuditRecord.objects.get(subject_id=blackout.id).why == "new fans"
    lift_blackout(actor=OPERATOR, blackout_id=blackout.id, now=NOW)
    assert start_of(world) == NOW
    with pytest.raises(IllegalMove):
        lift_blackout(actor=OPERATOR, blackout_id=blackout.id, now=NOW)


def test_a_short_run_fits_before_a_blackout_and_a_long_one_starts_after_it(world: World) -> None:
    black(1800, 3600)
    assert start_of(world, wall="5m") == NOW
    assert start_of(world, wall="60m") == at(3600)


def test_what_was_sold_is_not_taken_back(world: World) -> None:
    buy(world, task_of(wall="30m"))
    with pytest.raises(AlreadyTaken):
        black(60, 120)
    assert not Blackout.objects.exists()
    black(7200, 9000)
    with pytest.raises(AlreadyTaken):
        black(8000, 9999)
    assert Run.objects.count() == Blackout.objects.count() == 1


def test_a_run_past_its_period_holds_its_share_until_it_is_released(world: World) -> None:
    buy(world, task_of(wall="60s"))
    later = NOW + timedelta(days=1)
    with pytest.raises(AlreadyTaken):
        set_blackout(
            actor=OPERATOR,
            node_id=node().id,
            period=Period(later, later + timedelta(hours=1)),
            why="x",
            now=later,
        )


@pytest.mark.parametrize(("start", "end"), [(60, 60), (-120, -60), (86_400 * 400, 86_400 * 401)])
def test_a_span_that_cannot_be_kept_is_refused(world: World, start: float, end: float) -> None:
    with pytest.raises(Invalid):
        black(start, end)
    assert not Blackout.objects.exists()


def test_only_the_supplier_and_the_operator_set_one(world: World) -> None:
    with pytest.raises(Forbidden):
        set_blackout(
            actor=developer_of(world.buyer),
            node_id=node().id,
            period=Period(at(0), at(60)),
            why="mine",
            now=NOW,
        )
    black(0, 60)
    assert not blackouts_visible_to(world.actor, now=NOW).exists()
    assert blackouts_visible_to(OPERATOR, now=NOW).count() == 1
    assert not blackouts_visible_to(OPERATOR, now=at(61)).exists()


def test_utilisation_counts_what_allocations_held(world: World) -> None:
    run = buy(world, task_of(cores=2, wall="30m"))
    span = Period(NOW, NOW + timedelta(hours=3))
    days = utilisation_of(OPERATOR, run.pool_id, span=span, zone=UTC_ZONE)
    # Two cores, live until somebody releases them: to the end of the span.
    assert [(one.promised, one.capacity) for one in days] == [(6.0, 12.0)]
    run.attempts.get().allocations.update(live=False, released_at=NOW + timedelta(hours=1))
    days = utilisation_of(
        OPERATOR, run.pool_id, span=Period(NOW - timedelta(days=1), span.end), zone=UTC_ZONE
    )
    assert [one.promised for one in days] == [0.0, 2.0]
    with pytest.raises(NotFound):
        utilisation_of(developer_of(world.buyer), run.pool_id, span=span, zone=UTC_ZONE)
