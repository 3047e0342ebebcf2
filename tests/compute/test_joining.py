"""A supplier's agent and its nodes: one agent at a time, drift, health tests, clocks that are off."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError

from mosu.compute import services
from mosu.compute.health import CHECK_EVERY, CHECK_UNFIT_EVERY
from mosu.compute.models import Attempt, HealthCheck, Node, Pool
from mosu.compute.placement import GIB
from mosu.compute.services import AgentTaken, NotRegistered
from mosu.compute.services.identity import LEASE_S
from mosu.compute.stocks import stocks_of
from mosu.compute.supply import drift_of_node
from mosu.kernel.refusals import Forbidden, Invalid
from mosu.market.models import Receipt, UsageRecord
from mosu.platform.actors import Role
from mosu.platform.models import AuditRecord, Notice
from mosu.wire.agent import (
    AttemptPhase,
    AttemptStatus,
    DeviceInfo,
    HealthReport,
    Heartbeat,
    HeartbeatAnswer,
    LeaseRequest,
    NodeInfo,
    Registration,
    Usage,
    UsageBatch,
)
from tests.compute.world import (
    OPERATOR,
    World,
    at,
    attempt_of,
    buy,
    checked,
    developer_of,
    held_micros,
    lease,
    make_world,
    order_of,
    pool_of,
    quote,
    register,
    report,
    started,
    task_of,
)
from tests.conftest import NOW
from tests.platform.factories import make_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world(cores=8)


def cards(world: World, now: datetime) -> dict[str, tuple[int, int, int]]:
    """By accelerator: all in service, reserved, taken."""
    return {kind: figures for (_, kind), figures in stocks_of([world.pool_id], now=now).items() if kind}


def node_of(*, cores: int = 8, cards: int = 0, kind: str = "nvidia-h100-sxm", name: str = "n1") -> NodeInfo:
    devices = tuple(DeviceInfo(index=index, accelerator=kind) for index in range(cards))
    return NodeInfo(name=name, cores=cores, memory_bytes=64 * GIB, disk_bytes=200 * GIB, devices=devices)


def said(world: World, *, now: Any, instance: str = "") -> HeartbeatAnswer:
    message = Heartbeat(instance=instance, clock_at=now)
    return services.heartbeat(actor=world.agent, message=message, now=now)


# One agent at a time


def test_the_second_agent_of_a_pool_is_refused_while_the_first_is_heard(world: World) -> None:
    register(world, instance="a", host="hall-1", now=at(1))
    said(world, instance="a", now=at(20))
    before = Pool.objects.filter(id=world.pool_id).values().get()
    with pytest.raises(AgentTaken) as refused:
        register(world, cores=2, instance="b", host="hall-2", now=at(25))
    assert "hall-1" in refused.value.message and "5 s ago" in refused.value.message
    with pytest.raises(AgentTaken):
        said(world, instance="b", now=at(25))
    with pytest.raises(AgentTaken):
        services.lease_attempt(actor=world.agent, asked=LeaseRequest(instance="b"), now=at(25))
    with pytest.raises(AgentTaken):
        checked(world, node_of(), instance="b", now=at(25), cores=0)
    assert Pool.objects.filter(id=world.pool_id).values().get() == before
    assert Node.objects.get().cores == 4


def test_another_agent_takes_over_once_the_first_is_silent_and_the_first_is_then_refused(
    world: World,
) -> None:
    register(world, instance="a", host="hall-1", now=at(1))
    register(world, instance="a", host="hall-1", now=at(2))  # started again
    late = at(2 + LEASE_S + 1)
    with pytest.raises(NotRegistered):
        said(world, instance="b", now=late)
    register(world, instance="b", host="hall-2", now=late)
    assert pool_of(world).agent_host == "hall-2"
    with pytest.raises(AgentTaken) as refused:
        said(world, instance="a", now=late)
    assert "hall-2" in refused.value.message
    said(world, instance="b", now=late)


def test_what_a_superseded_agent_saw_still_counts(world: World) -> None:
    """The epoch and the identity fence commands, never observations."""
    register(world, instance="a", now=at(0))
    run = buy(world, now=at(0))
    assert services.lease_attempt(actor=world.agent, asked=LeaseRequest(instance="a"), now=at(1)).lease
    register(world, instance="b", now=at(LEASE_S + 2))
    attempt = attempt_of(run)
    assert report(world, attempt, now=at(LEASE_S + 3), exit_code=0).settled


# Drift


def test_a_supplier_that_publishes_eight_cards_and_has_six_sells_six(world: World) -> None:
    owner = make_member(pool_of(world).organisation, Role.OWNER)
    register(world, nodes=(node_of(cards=8),), now=at(1))
    assert cards(world, at(1))["nvidia-h100-sxm"] == (8, 0, 0)
    six = node_of(cards=6)
    services.register_agent(actor=world.agent, registration=registration(six, now=at(2)), now=at(2))
    node = Node.objects.get()
    assert (node.fitness, drift_of_node(node)) == ("unchecked", ["Cards are missing: 6, 7."])
    assert cards(world, at(2)) == {}  # not before it has passed its health test
    [notice] = Notice.objects.filter(user=owner.id)
    assert ("6, 7" in notice.body["en"] and "6、7" in notice.body["zh"]) or "6, 7" in notice.body["zh"]
    services.register_agent(actor=world.agent, registration=registration(six, now=at(3)), now=at(3))
    assert Notice.objects.count() == 1  # once for each change
    assert said(world, now=at(3)).checks == ("n1",)
    assert checked(world, six, now=at(4)).fit
    assert cards(world, at(4))["nvidia-h100-sxm"] == (6, 0, 0)
    assert drift_of_node(Node.objects.get())  # it is still said
    services.publish_node(actor=OPERATOR, node_id=node.id, now=at(5))
    assert drift_of_node(Node.objects.get()) == []
    assert AuditRecord.objects.filter(action="node.published", subject_id=node.id).count() == 1


def registration(*nodes: NodeInfo, now: Any) -> Any:
    return Registration(
        agent_version="1",
        engine="local",
        clock_at=now,
        nodes=nodes,
        environments=({"name": "python", "python": "3.11"},),
        sandbox="bubblewrap+seccomp",
        sandbox_ok=True,
    )


def test_a_pool_that_publishes_eight_nodes_and_has_six_sells_six(world: World) -> None:
    nodes = [node_of(name=f"n{number}") for number in range(1, 9)]
    register(world, nodes=tuple(nodes), now=at(1))
    assert stocks_of([world.pool_id], now=at(1))[world.pool_id, ""] == (64, 0, 0)
    register(world, nodes=tuple(nodes[:6]), now=at(2))
    assert stocks_of([world.pool_id], now=at(2))[world.pool_id, ""] == (48, 0, 0)
    assert Node.objects.filter(state="down").count() == 2


def test_a_card_of_another_kind_in_a_published_ones_place_is_not_sold(world: World) -> None:
    register(world, nodes=(node_of(cards=2),), now=at(1))
    register(world, nodes=(node_of(cards=2, kind="nvidia-l20"),), now=at(2))
    node = Node.objects.get()
    assert drift_of_node(node) == [
        f"Card {index} was published as nvidia-h100-sxm, and is nvidia-l20." for index in range(2)
    ]
    assert cards(world, at(2)) == {}
    services.publish_node(actor=OPERATOR, node_id=node.id, now=at(3))
    checked(world, node_of(cards=2, kind="nvidia-l20"), now=at(4))
    assert cards(world, at(4)) == {"nvidia-l20": (2, 0, 0)}


def test_fewer_cores_than_published_are_sold_and_more_are_published(world: World) -> None:
    register(world, nodes=(node_of(cores=6),), now=at(1))
    assert drift_of_node(Node.objects.get()) == ["Of 8 cores, 6 are there."]
    assert stocks_of([world.pool_id], now=at(1))[world.pool_id, ""] == (6, 0, 0)
    register(world, nodes=(node_of(cores=16),), now=at(2))
    assert drift_of_node(Node.objects.get()) == []
    assert stocks_of([world.pool_id], now=at(2))[world.pool_id, ""] == (16, 0, 0)


def test_only_who_manages_the_pool_publishes_or_asks_for_a_test(world: World) -> None:
    node = Node.objects.get()
    stranger = developer_of(world.buyer)
    for service in (services.publish_node, services.check_now):
        with pytest.raises(Forbidden):
            service(actor=stranger, node_id=node.id, now=at(1))
    assert Node.objects.get().check_asked_at is None


# Health


def test_a_node_is_sold_only_after_its_health_test(world: World) -> None:
    fresh = node_of(name="n2", cores=32)
    services.register_agent(
        actor=world.agent, registration=registration(node_of(), fresh, now=at(1)), now=at(1)
    )
    assert stocks_of([world.pool_id], now=at(1))[world.pool_id, ""] == (8, 0, 0)
    assert not quote(world, task_of(cores=16), now=at(1)).quotes
    assert said(world, now=at(1)).checks == ("n2",)
    assert checked(world, fresh, now=at(2)).fit
    assert quote(world, task_of(cores=16), now=at(2)).quotes
    assert said(world, now=at(2)).checks == ()


def test_a_node_that_fails_leaves_the_shelf_with_its_reason_and_what_runs_goes_on(world: World) -> None:
    owner = make_member(pool_of(world).organisation, Role.OWNER)
    run, attempt = started(world, now=at(1))
    ack = checked(world, node_of(), now=at(2), cores=6)
    assert (ack.fit, ack.why) == (False, "6 of its 8 cores are there.")
    node = Node.objects.get()
    assert (node.fitness, node.unfit_why, node.state) == ("unfit", ack.why, "up")
    assert not quote(world, task_of(), now=at(3)).quotes
    [notice] = Notice.objects.filter(user=owner.id)
    assert notice.kind == "node.unwell" and ack.why in notice.body["en"]
    assert "核" in notice.body["zh"]
    checked(world, node_of(), now=at(3), cores=6)
    assert Notice.objects.count() == 1
    assert list(HealthCheck.objects.order_by("id").values_list("fit", flat=True)) == [True, False, False]
    report(world, attempt, now=at(4))
    assert order_of(run).outcome == "succeeded"
    assert checked(world, node_of(), now=at(5)).fit
    assert quote(world, task_of(), now=at(5)).quotes


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"cards": 1}, "1 of its 2 cards answer."),
        ({"memory_bytes": 32 * GIB}, "It has 32.0 GiB of its 64.0 GiB memory."),
        ({"write_bytes_per_s": 4e6}, "Its disk writes 4.0 MB/s; 10 are needed."),
        ({"matrix_wrong": 1}, "Its cores multiplied matrices wrongly."),
        ({"card_matrix_wrong": 2}, "A card multiplied matrices wrongly."),
    ],
)
def test_what_a_health_test_finds(world: World, found: dict[str, float], why: str) -> None:
    register(world, nodes=(node_of(cards=2),), now=at(1))
    assert checked(world, node_of(cards=2), now=at(2), **found).why == why


def test_a_test_that_could_not_be_made_says_so(world: World) -> None:
    services.take_health(
        actor=world.agent,
        report=HealthReport(node="n1", fault="Its health test said nothing.", took_s=1),
        now=at(1),
    )
    assert Node.objects.get().unfit_why == "Its health test said nothing."
    with pytest.raises(Invalid):
        services.take_health(actor=world.agent, report=HealthReport(node="n9", took_s=1), now=at(1))


def test_health_is_tested_daily_and_on_demand_while_nothing_runs_there(world: World) -> None:
    node = Node.objects.get()
    assert said(world, now=NOW + CHECK_EVERY - timedelta(seconds=1)).checks == ()
    assert said(world, now=NOW + CHECK_EVERY).checks == ("n1",)
    assert Node.objects.get().fitness == "fit"  # a daily test takes nothing off the shelf
    services.check_now(actor=OPERATOR, node_id=node.id, now=at(1))
    services.check_now(actor=OPERATOR, node_id=node.id, now=at(1))
    assert AuditRecord.objects.filter(action="node.check_asked").count() == 1
    assert said(world, now=at(1)).checks == ("n1",)
    _, attempt = started(world, now=at(2))
    assert said(world, now=at(3)).checks == ()
    report(world, attempt, now=at(4))
    assert said(world, now=at(5)).checks == ("n1",)


def test_a_node_that_failed_is_tested_again_soon_and_comes_back_unasked(world: World) -> None:
    checked(world, node_of(), now=at(1), cores=6)
    assert said(world, now=at(1) + CHECK_UNFIT_EVERY - timedelta(seconds=1)).checks == ()
    assert not quote(world, task_of(), now=at(2)).quotes
    later = at(1) + CHECK_UNFIT_EVERY
    assert said(world, now=later).checks == ("n1",)
    assert checked(world, node_of(), now=later).fit
    assert said(world, now=later + CHECK_UNFIT_EVERY).checks == ()
    assert quote(world, task_of(), now=later).quotes


def test_health_tests_are_history(world: World) -> None:
    row = HealthCheck.objects.get()
    for change in ("update compute_healthcheck set fit = true, why = ''", "delete from compute_healthcheck"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    assert HealthCheck.objects.get().fit is row.fit


def test_what_waits_for_a_node_that_fails_is_moved_or_not_charged(world: World) -> None:
    second = node_of(name="n2")
    register(world, nodes=(node_of(), second), now=at(0))
    run = buy(world, now=at(1))
    placed = attempt_of(run).allocations.get().node
    checked(world, node_of(name=placed.name), now=at(2), cores=0)
    assert lease(world, now=at(3)) is not None
    assert attempt_of(run).allocations.get(live=True).node != placed


# Clocks


def test_a_clock_ten_minutes_off_is_reported_and_changes_no_bill(world: World) -> None:
    totals = {off_s: bill_of(world, off_s=off_s, since=1000 * number) for number, off_s in enumerate(CLOCKS)}
    assert totals == dict.fromkeys(CLOCKS, totals[0]) and totals[0] > 0


CLOCKS = (0, -600, 600)


def bill_of(world: World, *, off_s: int, since: int) -> int:
    """What five minutes of two cores cost where the agent's clock is `off_s` off."""
    off = timedelta(seconds=off_s)
    begin, end = at(since + 3), at(since + 303)
    register(world, now=at(since), clock_at=at(since) + off)
    run = buy(world, now=at(since + 1), cores=2, wall="20m")
    assert lease(world, now=at(since + 2)) is not None
    attempt = attempt_of(run)
    for now in (begin, end):
        status = AttemptStatus(
            attempt_id=attempt.public_id, epoch=1, phase=AttemptPhase.RUNNING, started_at=begin + off
        )
        message = Heartbeat(clock_at=now + off, attempts=(status,))
        services.heartbeat(actor=world.agent, message=message, now=now)
        assert pool_of(world).clock_skew_s == off_s
    record = Usage(
        attempt_id=attempt.public_id,
        meter="core_second",
        sequence=0,
        quantity=2 * 300,
        start=begin + off,
        end=end + off,
    )
    ack = services.take_usage(actor=world.agent, batch=UsageBatch(records=(record,)), now=end)
    assert (ack.accepted, ack.quarantined) == (1, 0)
    report(world, attempt, now=at(since + 304), started_at=begin + off, ended_at=end + off)
    [kept] = UsageRecord.objects.filter(order_line__order=run.order_id)
    assert kept.quantity_accepted == 600
    ended = Attempt.objects.get(id=attempt.id)
    assert ended.ended_at is not None and at(since + 2) <= ended.ended_at <= at(since + 304)
    return int(order_of(run).total_micros or 0)


# Delivered over ordered


def test_what_was_delivered_of_what_was_ordered(world: World) -> None:
    owner = make_member(world.buyer, Role.OWNER)
    services.count_deliveries(now=at(0))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (0, 0)
    _, done = started(world, now=at(10), wall="2h")
    report(world, done, now=at(3610), started_at=at(10), ended_at=at(3610))
    services.count_deliveries(now=at(4000))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (3600, 3600)
    register(world, now=at(4000))
    run, lost = started(world, now=at(4000), wall="1h")
    held = held_micros(world.buyer.id)
    report(world, lost, "lost", now=at(4600), started_at=at(4000), ended_at=at(4600), reason="The disk died.")
    services.count_deliveries(now=at(5000))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (7200, 3600)
    order = order_of(run)
    assert (order.outcome, order.total_micros) == ("platform_failure", 0)
    assert held > held_micros(world.buyer.id) == 0
    [notice] = Notice.objects.filter(user=owner.id, kind="order.credited")
    assert "The disk died." in notice.body["en"] and "不收费" in notice.title["zh"]
    assert notice.link == f"/receipts/{Receipt.objects.get(order=order).public_id}/"
    services.count_deliveries(now=at(3610) + timedelta(days=90))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (3600, 0)


def test_a_cancelled_run_is_no_failure_of_its_supplier(world: World) -> None:
    _, attempt = started(world, now=at(0), wall="2h")
    report(world, attempt, "cancelled", now=at(60), started_at=at(0), ended_at=at(60))
    services.count_deliveries(now=at(100))
    assert pool_of(world).ordered_s == pool_of(world).delivered_s == 60
    assert not Notice.objects.filter(kind="order.credited").exists()
