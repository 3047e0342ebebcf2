"""Shares with real transactions: no part of a card is promised twice, whoever comes at once, however it is cut."""

from collections import Counter
from typing import Any

import pytest
from django.db import connection

from mosu.compute import services
from mosu.compute.models import Node
from mosu.kernel.ids import uuid7
from mosu.market.services import accept_quote
from tests.compute.test_shares import CARD, QUARTER, checked, describe, make_shares_world, node_of, task
from tests.compute.world import OPERATOR, World, quote
from tests.conftest import NOW
from tests.market.test_threads import at_once


@pytest.fixture
def world(fresh_db: Any) -> World:
    return make_shares_world(QUARTER, CARD)


def accept(world: World, quote_id: Any) -> Any:
    return accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=NOW).id


def parts_held_twice() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from compute_deviceallocation a join compute_deviceallocation b"
            " on a.id < b.id and a.node_id = b.node_id and a.card = b.card and a.part && b.part"
            " and a.period && b.period where a.live and b.live"
        )
        return int(cursor.fetchone()[0])


def test_of_shares_bought_at_once_as_many_are_sold_as_there_are(world: World) -> None:
    quotes = [quote(world, task("0.25")).quotes[0].id for _ in range(6)]
    answers = at_once(6, lambda index: accept(world, quotes[index]))
    assert Counter(map(str, answers))["sold_out"] == 2
    assert parts_held_twice() == 0


def test_a_card_that_is_cut_while_it_is_bought_is_sold_once(world: World) -> None:
    whole = quote(world, task("1")).quotes[0].id
    shares = [quote(world, task("0.25")).quotes[0].id for _ in range(4)]

    def cut_anew() -> None:
        describe(world, QUARTER, QUARTER)
        services.publish_node(actor=OPERATOR, node_id=Node.objects.get().id, now=NOW)
        checked(world, node_of(QUARTER, QUARTER), now=NOW, cards=2)

    def one(index: int) -> Any:
        return cut_anew() if index == 0 else accept(world, whole if index == 1 else shares[index - 2])

    at_once(6, one)
    assert parts_held_twice() == 0
