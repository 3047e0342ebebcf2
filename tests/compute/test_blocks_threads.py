"""Blocks with real transactions: no card is promised twice, whoever comes at once."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from mosu.compute import services
from mosu.compute.models import Allocation, Block, DeviceAllocation, Run
from mosu.kernel.ids import uuid7
from mosu.market.models import Order, OrderState
from mosu.market.services import accept_quote, cancel_order
from tests.compute.blocks import (
    CARD_HOUR,
    DAY,
    buy_block,
    make_block_world,
    offer_blocks,
    quote_block,
    task_in,
)
from tests.compute.test_cards import TASK
from tests.compute.world import World, held_micros, quote
from tests.conftest import NOW
from tests.market.test_threads import at_once

START = NOW + 4 * DAY


@pytest.fixture
def world(fresh_db: Any) -> World:
    return make_block_world()


def accept(world: World, quote_id: Any) -> Any:
    return accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=NOW).id


def cards_at_their_busiest() -> int:
    """Of every card and moment: how many hold it, places inside blocks and what is outside counted apart."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select coalesce(max(n), 0) from (select count(*) as n from compute_deviceallocation a"
            " join compute_deviceallocation b on a.device_id = b.device_id and a.inside = b.inside"
            " and a.period && b.period where a.live and b.live group by a.id) as held"
        )
        return int(cursor.fetchone()[0])


def test_of_blocks_bought_at_once_as_many_are_sold_as_fit(world: World) -> None:
    quotes = [
        quote_block(world, start=START + timedelta(hours=index), hours=24, per_node=2).id
        for index in range(5)
    ]
    answers = at_once(5, lambda index: accept(world, quotes[index]))
    assert Counter(map(str, answers))["sold_out"] == 3
    assert (Block.objects.count(), Order.objects.count()) == (2, 2)
    assert held_micros(world.buyer.id) == 2 * 2 * 24 * CARD_HOUR
    assert cards_at_their_busiest() == 1


def test_a_block_and_runs_do_not_get_the_same_cards(world: World) -> None:
    offer_blocks(world, block=None, attributes={"accelerator": "nvidia-h100-sxm", "mode": "on_demand"})
    soon = NOW + timedelta(minutes=30)
    block = quote_block(world, start=soon, hours=2, per_node=3).id
    runs = [quote(world, TASK).quotes[0].id for _ in range(3)]  # three cards for an hour from now on
    answers = at_once(4, lambda index: accept(world, block if index == 3 else runs[index]))
    assert Counter(map(str, answers))["sold_out"] == 3
    assert Block.objects.count() + Run.objects.count() == 1
    assert cards_at_their_busiest() == 1


def test_runs_placed_at_once_in_a_block_take_its_cards_once(world: World) -> None:
    block = buy_block(world, start=START, hours=2, per_node=3)
    quotes = [quote(world, task_in(block, cards=2)).quotes[0].id for _ in range(4)]
    answers = at_once(4, lambda index: accept(world, quotes[index]))
    assert Counter(map(str, answers))["sold_out"] == 3
    assert DeviceAllocation.objects.filter(inside=True, live=True).count() == 2
    assert cards_at_their_busiest() == 1


def test_a_cancellation_and_a_run_into_the_block_leave_nothing_held(world: World) -> None:
    block = buy_block(world, start=START, hours=24, per_node=2)
    found = quote(world, task_in(block)).quotes[0].id
    answers = at_once(
        3,
        lambda index: (
            accept(world, found)
            if index == 0
            else cancel_order(actor=world.actor, order_id=block.order_id, now=NOW).state
        ),
    )
    assert answers[1:] == [OrderState.CANCELLED, OrderState.CANCELLED]
    services.turn_blocks(now=NOW)
    assert not Allocation.objects.filter(live=True).exists()
    assert held_micros(world.buyer.id) == 0
    assert set(Order.objects.values_list("state", flat=True)) == {OrderState.CANCELLED}


def test_an_end_and_a_cancellation_charge_once(world: World) -> None:
    block = buy_block(world, start=START, hours=2, per_node=2)
    services.turn_blocks(now=START)
    end = START + timedelta(hours=2)
    at_once(
        4,
        lambda index: (
            services.turn_blocks(now=end)
            if index % 2
            else cancel_order(actor=world.actor, order_id=block.order_id, now=end).state
        ),
    )
    order = Order.objects.get()
    assert (order.state, order.outcome) == (OrderState.SETTLED, "succeeded")
    assert not Allocation.objects.filter(live=True).exists()
