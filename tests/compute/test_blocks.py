"""Reserved blocks: bought whole, used by their buyer alone, charged by the clock, cancelled by published rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from mosu.compute import services
from mosu.compute.blocks import blocks_visible_to, if_cancelled, nodes_of_block
from mosu.compute.calendar import calendars_of
from mosu.compute.models import Allocation, Block, BlockLoss, DeviceAllocation, Node, Run
from mosu.compute.services import QuotaReached, SoldOut
from mosu.compute.shapes import BlockOut
from mosu.compute.states import BlockState, NodeState
from mosu.compute.stocks import stocks_of
from mosu.compute.supply import nodes_now
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.time import Period
from mosu.market.hub import hub_zone
from mosu.market.models import Offer, Order, OrderState, Quote, Receipt, UsageRecord
from mosu.market.services import NotForSale, accept_quote, cancel_order, delist_offer, recompute_charge
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.models import Membership, Notice, Project, User
from tests.compute.blocks import (
    CARD_HOUR,
    DAY,
    buy_block,
    make_block_world,
    offer_blocks,
    order_of_block,
    quote_block,
    task_in,
)
from tests.compute.test_cards import TASK
from tests.compute.world import (
    OPERATOR,
    World,
    accept,
    at,
    attempt_of,
    beat,
    buy,
    developer_of,
    held_micros,
    lease,
    make_organisation,
    make_world,
    order_of,
    pool_of,
    quote,
    register,
    report,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
START = NOW + 4 * DAY


@pytest.fixture
def world() -> World:
    return make_block_world()


def turn(now: datetime) -> None:
    services.turn_blocks(now=now)


def alive(world: World, now: datetime) -> None:
    register(world, cores=32, cards=4, now=now)


def test_a_block_is_quoted_held_and_charged_in_full(world: World) -> None:
    found = quote_block(world, start=START, hours=10, per_node=3)
    assert (found.total_max_micros, found.wall_limit_s) == (3 * 10 * CARD_HOUR, 36_000)
    assert found.terms["block"]["cancellation"][0] == {"before_start_hours": 72, "back_percent": 100}
    block = buy_block(world, start=START, hours=10, per_node=3)
    assert (block.state, block.nodes, block.cards, block.cores) == (BlockState.HELD, 1, 3, 24)
    assert held_micros(world.buyer.id) == 600_000_000
    turn(START - timedelta(seconds=1))
    assert order_of_block(block).state == OrderState.PLACED
    alive(world, START)
    turn(START)
    turn(START)
    assert (Block.objects.get().state, order_of_block(block).state) == (BlockState.OPEN, OrderState.ACTIVE)
    end = START + timedelta(hours=10)
    alive(world, end)
    turn(end + timedelta(seconds=7))
    turn(end + timedelta(seconds=17))
    order = order_of_block(block)
    assert (order.state, order.outcome, order.total_micros) == (OrderState.SETTLED, "succeeded", 600_000_000)
    assert order.ended_at == end
    assert held_micros(world.buyer.id) == 0
    assert not Allocation.objects.filter(live=True).exists()
    receipt = Receipt.objects.get(order=order).content
    assert (receipt["total"], receipt["lines"][0]["quantity"]) == ("600.00", "30")
    assert recompute_charge(order.id).agrees
    [record] = UsageRecord.objects.all()
    assert (record.quantity, record.quantity_accepted, record.quantity_observed) == (108_000,) * 3


def test_what_a_block_holds_is_nobody_elses(world: World) -> None:
    offer_blocks(world, block=None, attributes={"accelerator": "nvidia-h100-sxm", "mode": "on_demand"})
    buy_block(world, start=START, hours=10, per_node=3)
    with pytest.raises(SoldOut):
        quote_block(world, start=START + timedelta(hours=9), hours=10, per_node=2)
    assert quote_block(world, start=START + timedelta(hours=10), hours=10, per_node=4)
    assert quote_block(world, start=START, hours=10, per_node=1)
    late = TASK.replace("wall_limit: 1h", f"wall_limit: 1h, not_before: '{(START).isoformat()}'")
    [found] = quote(world, late).quotes
    assert found.starts_at == START + timedelta(hours=10)
    assert quote(world, TASK).quotes[0].starts_at == NOW
    card = "nvidia-h100-sxm"
    hours = calendars_of(world.pool_id, accelerators=[card], days=7, now=NOW, zone=hub_zone())[card]
    assert {one.at: one.free for one in hours}[START] == 1
    assert stocks_of([world.pool_id], now=NOW)[world.pool_id, "nvidia-h100-sxm"] == (4, 0, 0)
    assert stocks_of([world.pool_id], now=START)[world.pool_id, "nvidia-h100-sxm"] == (4, 0, 3)


def test_two_quotes_of_one_room_make_one_block(world: World) -> None:
    first, second = (quote_block(world, start=START, per_node=3) for _ in range(2))
    accept_quote(actor=world.actor, quote_id=first.id, idempotency_key="a", now=NOW)
    with pytest.raises(SoldOut):
        accept_quote(actor=world.actor, quote_id=second.id, idempotency_key="b", now=NOW)
    assert (Block.objects.count(), Order.objects.count()) == (1, 1)
    assert held_micros(world.buyer.id) == 3 * 24 * CARD_HOUR


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"start": NOW}, Invalid),
        ({"start": NOW + 61 * DAY}, Invalid),
        ({"start": START, "hours": 0}, Invalid),
        ({"start": START, "hours": 31 * 24}, Invalid),
        ({"start": START + timedelta(seconds=5)}, Invalid),
        ({"start": START, "nodes": 0}, Invalid),
        ({"start": START, "per_node": 0}, Invalid),
        ({"start": START, "nodes": 2}, SoldOut),
        ({"start": START, "per_node": 5}, SoldOut),
    ],
)
def test_what_the_terms_do_not_allow_is_refused(
    world: World, asked: dict[str, object], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        quote_block(world, **asked)  # type: ignore[arg-type]
    assert not Quote.objects.exists()


def test_an_offer_on_demand_is_not_sold_by_the_block_nor_a_reserved_one_to_a_task(world: World) -> None:
    result = quote(world, TASK)
    assert not result.quotes
    codes = {reason.code for one in result.refused for reason in one.reasons}
    assert "by_the_block" in codes
    with pytest.raises(NotForSale):
        services.quote_block(
            actor=world.actor,
            organisation_id=world.buyer.id,
            project_id=world.project.id,
            offer_id=Offer.objects.get(block__isnull=True).id,
            nodes=1,
            per_node=1,
            period=Period(START, START + DAY),
            choice="none",
            now=NOW,
        )


def test_runs_go_into_the_block_and_cost_nothing_more(world: World) -> None:
    block = buy_block(world, start=START, hours=10, per_node=3)
    [found] = quote(world, task_in(block, cards=2)).quotes
    assert (found.total_max_micros, found.starts_at) == (0, START)
    run = accept(world, found.id)
    held = Allocation.objects.get(attempt__run=run)
    assert (held.block_id, held.period.lower) == (block.id, START)
    assert set(held.devices.values_list("inside", flat=True)) == {True}
    own = DeviceAllocation.objects.filter(allocation__block=block, allocation__attempt=None)
    assert set(held.devices.values_list("device", flat=True)) < set(own.values_list("device", flat=True))
    second = quote(world, task_in(block, cards=2)).quotes[0]
    assert second.starts_at == held.period.upper
    assert lease(world, now=at(1)) is None
    alive(world, START)
    turn(START)
    assert lease(world, now=START) is not None
    attempt = attempt_of(run)
    beat(world, attempt, "running", now=START)
    delist_offer(actor=SYSTEM, offer_id=block.order.offer_id, now=START)
    report(world, attempt, now=START + timedelta(minutes=5))
    order = order_of(run)
    assert (order.state, order.total_micros, order.outcome) == (OrderState.SETTLED, 0, "succeeded")
    assert held_micros(world.buyer.id) == 30 * CARD_HOUR
    alive(world, START + timedelta(minutes=5))
    again = quote(world, task_in(block), now=START + timedelta(minutes=5))
    assert again.quotes[0].total_max_micros == 0


def test_a_run_that_would_not_end_in_the_block_or_needs_more_is_refused(world: World) -> None:
    block = buy_block(world, start=START, hours=2, per_node=2)
    for text, code in (
        (task_in(block, wall="2h"), "block_too_short"),
        (task_in(block, cards=3), "too_large"),
        (f"run: x\nmosu: {{wall_limit: 1h, block: {block.public_id}}}\n", "other_goods"),
    ):
        result = quote(world, text)
        assert not result.quotes
        [reason] = result.refused[0].reasons
        if code != "too_large":
            assert reason.code == code


def test_others_neither_see_nor_use_a_block(world: World) -> None:
    block = buy_block(world, start=START, per_node=2)
    other = make_organisation("other")
    stranger = developer_of(other)
    assert not blocks_visible_to(stranger).exists()
    assert blocks_visible_to(OPERATOR).count() == 1
    project = Project.objects.create(organisation=other, name="p", created_at=NOW)
    theirs = World(other, project, stranger, world.pool_id, world.token, world.agent)
    with pytest.raises(NotFound):
        quote(theirs, task_in(block))
    with pytest.raises(NotFound):
        cancel_order(actor=stranger, order_id=block.order_id, now=NOW)
    with pytest.raises(Forbidden):
        quote_block(world, start=START, actor=OPERATOR)
    assert Block.objects.get().state == BlockState.HELD


@contextmanager
def checked_now() -> Iterator[None]:
    """What is looked at when a transaction ends is looked at here."""
    with transaction.atomic():
        yield
        with connection.cursor() as cursor:
            cursor.execute("set constraints all immediate; set constraints all deferred")


def test_the_database_holds_places_inside_a_block_to_its_cards_and_time(world: World) -> None:
    block = buy_block(world, start=START, hours=10, per_node=2)
    run = accept(world, quote(world, task_in(block)).quotes[0].id)
    held = DeviceAllocation.objects.get(allocation__attempt__run=run)
    free = Node.objects.get().devices.exclude(
        id__in=DeviceAllocation.objects.filter(allocation__block=block).values("device")
    )[0]
    with pytest.raises(IntegrityError, match="device_never_twice_inside"), transaction.atomic():
        DeviceAllocation.objects.create(
            allocation=held.allocation, device=held.device, period=held.period, inside=True
        )
    with pytest.raises(IntegrityError, match="does not hold this card"), checked_now():
        DeviceAllocation.objects.create(
            allocation=held.allocation, device=free, period=held.period, inside=True
        )
    with pytest.raises(IntegrityError, match="wrongly"), checked_now():
        DeviceAllocation.objects.create(
            allocation=held.allocation, device=free, period=held.period, inside=False
        )


@pytest.mark.parametrize(
    ("hours_before", "percent", "charged"), [(72, 100, 0), (71, 50, 12), (24, 50, 12), (1, 25, 18)]
)
def test_cancelling_before_the_start_gives_back_by_the_rules(
    world: World, hours_before: int, percent: int, charged: int
) -> None:
    block = buy_block(world, start=START, hours=24, per_node=1)
    now = START - timedelta(hours=hours_before)
    shown = if_cancelled(blocks_visible_to(world.actor).get(), now=now)
    assert shown is not None
    assert (shown.charged_micros, shown.back_percent) == (charged * CARD_HOUR, percent)
    cancel_order(actor=world.actor, order_id=block.order_id, now=now)
    order = order_of_block(block)
    assert Block.objects.get().state == BlockState.CANCELLED
    assert held_micros(world.buyer.id) == 0
    assert not Allocation.objects.filter(live=True).exists()
    if charged:
        assert (order.state, order.total_micros) == (OrderState.SETTLED, charged * CARD_HOUR)
        assert f"{percent}%" in Receipt.objects.get(order=order).content["why"]
        assert recompute_charge(order.id).agrees
    else:
        assert (order.state, order.total_micros) == (OrderState.CANCELLED, None)
        assert not Receipt.objects.exists()
    cancelled_twice = order_of_block(block).total_micros
    turn(START + DAY)
    assert order_of_block(block).total_micros == cancelled_twice


def test_cancelling_while_it_runs_charges_what_was_had_and_stops_what_runs(world: World) -> None:
    block = buy_block(world, start=START, hours=24, per_node=2)
    run = accept(world, quote(world, task_in(block, wall="5h")).quotes[0].id)
    waiting = accept(world, quote(world, task_in(block, cards=2, wall="2h")).quotes[0].id)
    alive(world, START)
    turn(START)
    assert lease(world, now=START) is not None
    beat(world, attempt_of(run), "running", now=START)
    now = START + timedelta(hours=4)
    alive(world, now)
    cancel_order(actor=world.actor, order_id=block.order_id, now=now)
    order = order_of_block(block)
    assert (order.state, order.total_micros) == (OrderState.SETTLED, (8 + 30) * CARD_HOUR)
    assert sorted(UsageRecord.objects.values_list("quantity", flat=True)) == [8 * 3600, 30 * 3600]
    turn(now)
    assert order_of(Run.objects.get(id=waiting.id)).state == OrderState.CANCELLED
    assert Run.objects.get(id=run.id).cancel_asked_at == now
    # Until its agent has stopped it, what runs keeps its card from others.
    left = Allocation.objects.get(live=True)
    assert (left.attempt_id, left.block_id) == (attempt_of(run).id, None)
    assert set(left.devices.values_list("inside", flat=True)) == {False}
    report(world, attempt_of(run), phase="cancelled", now=now + timedelta(seconds=9))
    assert not Allocation.objects.filter(live=True).exists()


def test_what_was_not_delivered_is_not_charged(world: World) -> None:
    told = User.objects.create_user(email="told@example.org")
    Membership.objects.create(organisation=world.buyer, user=told, role=Role.FINANCE, created_at=NOW)
    block = buy_block(world, start=START, hours=10, per_node=2)
    alive(world, START)
    turn(START)
    node = Node.objects.get()
    down, up = START + timedelta(hours=2), START + timedelta(hours=5)
    alive(world, down)
    services.set_node_state(actor=SYSTEM, node_id=node.id, to=NodeState.DOWN, why="fire", now=down)
    turn(down)
    turn(down + timedelta(seconds=10))
    assert not quote(world, task_in(block), now=down).quotes
    alive(world, up)
    assert Node.objects.get().state == NodeState.UP  # its agent lists it again
    turn(up)
    [loss] = BlockLoss.objects.all()
    assert (loss.since, loss.until, loss.why) == (down, up, "the node is down")
    services.count_deliveries(now=START + timedelta(hours=6))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (6 * 3600, 3 * 3600)
    end = START + timedelta(hours=10)
    alive(world, end)
    turn(end)
    order = order_of_block(block)
    assert order.total_micros == 14 * CARD_HOUR
    assert "6.00" in Receipt.objects.get(order=order).content["why"]
    notice = Notice.objects.get(user=told, kind="order.credited")
    assert "6.00" in notice.body["zh"] and "6.00" in notice.body["en"]
    assert recompute_charge(order.id).agrees
    for later, ordered, delivered in ((0, 10, 7), (85, 10, 7), (89.5, 10, 7), (90.25, 4, 4), (91, 0, 0)):
        services.count_deliveries(now=START + timedelta(days=later) if later else end)
        found = pool_of(world)
        assert (found.ordered_s, found.delivered_s) == (ordered * 3600, delivered * 3600), later


def test_a_run_inside_a_block_counts_as_delivered_once(world: World) -> None:
    block = buy_block(world, start=START, hours=10)
    alive(world, START)
    turn(START)
    run = accept(world, quote(world, task_in(block), now=START).quotes[0].id, now=START)
    lease(world, now=START)
    beat(world, attempt_of(run), "running", now=START)
    report(world, attempt_of(run), now=START + timedelta(minutes=30))
    assert order_of(run).state == "settled"
    services.count_deliveries(now=START + timedelta(hours=1))
    assert (pool_of(world).ordered_s, pool_of(world).delivered_s) == (3600, 3600)


def test_a_card_that_is_gone_is_a_node_that_is_lost(world: World) -> None:
    block = buy_block(world, start=START, hours=10)
    alive(world, START)
    turn(START)
    register(world, cores=32, cards=3, now=START + timedelta(hours=9))
    turn(START + timedelta(hours=9))
    assert "gone" in BlockLoss.objects.get().why
    turn(START + timedelta(hours=10))
    assert order_of_block(block).total_micros == 36 * CARD_HOUR


def test_a_block_further_ahead_than_starts_are_promised_takes_runs_now(world: World) -> None:
    block = buy_block(world, start=NOW + 40 * DAY, hours=24, per_node=1)
    assert quote(world, task_in(block)).quotes[0].starts_at == NOW + 40 * DAY


def test_what_overstays_from_before_a_block_is_in_its_way(world: World) -> None:
    offer_blocks(world, block=None, attributes={"accelerator": "nvidia-h100-sxm", "mode": "on_demand"})
    early = buy(world, TASK)  # three cards for an hour and a little
    lease(world, now=NOW)
    beat(world, attempt_of(early), "running", now=NOW)
    start = NOW + timedelta(hours=2)
    block = buy_block(world, start=start, hours=2)
    alive(world, start)
    turn(start)
    assert BlockLoss.objects.get().why == "another run is still there past its time"
    waits = quote(world, task_in(block, cards=4), now=start)
    assert not waits.quotes
    assert quote(world, task_in(block, cards=1), now=start).quotes[0].starts_at == start


def test_a_pool_that_is_silent_delivers_nothing(world: World) -> None:
    block = buy_block(world, start=START, hours=10, per_node=1)
    turn(START)
    turn(START + timedelta(hours=10))
    assert (order_of_block(block).total_micros, order_of_block(block).outcome) == (0, "succeeded")


def test_a_blocks_cards_count_in_quotas_once(world: World) -> None:
    services.set_quota(
        actor=OPERATOR, organisation_id=world.buyer.id, accelerator="H100", units_max=3, now=NOW
    )
    with pytest.raises(QuotaReached):
        quote_block(world, start=START, per_node=4)
    block = buy_block(world, start=START, per_node=3)
    assert accept(world, quote(world, task_in(block, cards=3)).quotes[0].id)
    with pytest.raises(QuotaReached):
        quote_block(world, start=START, per_node=1)


def test_blocks_of_cores_are_sold_too() -> None:
    world = make_world(cores=8, balance=100_000_000_000)
    offer_blocks(world, cards=0)
    block = buy_block(world, start=START, hours=2, per_node=6)
    assert (block.cores, block.cards, block.memory_bytes) == (6, 0, 48 << 30)
    with pytest.raises(SoldOut):
        quote_block(world, start=START, hours=2, per_node=3)
    text = f"resources: {{cpus: 4, memory: 8}}\nrun: x\nmosu: {{wall_limit: 30m, block: {block.public_id}}}\n"
    first = accept(world, quote(world, text).quotes[0].id)
    assert quote(world, text).quotes[0].starts_at > START
    assert Allocation.objects.get(attempt__run=first).cores == 4
    [now_at] = nodes_now(Node.objects.all(), now=START).values()
    assert (now_at.cores, len(now_at.blocks), len(now_at.attempts)) == (6, 1, 1)


def test_a_list_of_blocks_takes_as_many_queries_for_three_as_for_one(world: World) -> None:
    def read() -> int:
        with CaptureQueriesContext(
            connection,
        ) as found:
            assert [BlockOut.of(one, now=NOW) for one in blocks_visible_to(world.actor)]
        return len(found)

    block = buy_block(world, start=START, hours=1, per_node=1)
    assert nodes_of_block(block) == ["n1"]
    once = read()
    for hour in (2, 3):
        buy_block(world, start=START + timedelta(hours=hour), hours=1, per_node=1)
    assert read() == once <= 4
