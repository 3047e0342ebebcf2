"""What locks, with real transactions: nothing is taken twice."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from tests.conftest import NOW
from tests.market.conftest import YUAN, DeskShelf, World, figures, ledger_sum, make_world

from mosu.kernel.refusals import DomainError
from mosu.market import services
from mosu.market.models import Order, Outcome, Receipt, UsageRecord
from mosu.market.shelves import UsageIn


@pytest.fixture
def busy(fresh_db: Any, shelf: DeskShelf) -> World:
    return make_world(shelf)


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What `count` threads got, started together; a refusal counts as an answer."""
    barrier = Barrier(count)

    def one(index: int) -> Any:
        try:
            barrier.wait()
            return call(index)
        except DomainError as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def accept(world: World, quote_id: Any, key: str) -> Any:
    return services.accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=key, now=NOW).id


def test_one_key_from_many_threads_makes_one_order(busy: World) -> None:
    quote = busy.quote()
    answers = at_once(6, lambda index: accept(busy, quote.id, "same"))
    assert len(set(answers)) == 1
    assert [order.id for order in Order.objects.all()] == answers[:1]
    assert busy.shelf.reserved == answers[:1]
    assert figures("balance", busy.buyer.id) == (100 * YUAN, 14_400_000)


def test_one_quote_under_many_keys_makes_one_order(busy: World) -> None:
    quote = busy.quote()
    answers = at_once(4, lambda index: accept(busy, quote.id, f"k{index}"))
    assert answers.count("quote_taken") == 3
    assert Order.objects.count() == 1


def test_the_last_money_buys_once(busy: World) -> None:
    offer = busy.offer(price="15")  # 60 yuan of the 100
    quotes = [busy.quote(offer=offer).id for _ in range(4)]
    answers = at_once(4, lambda index: accept(busy, quotes[index], f"k{index}"))
    assert answers.count("insufficient_funds") == 3
    assert figures("balance", busy.buyer.id) == (100 * YUAN, 60 * YUAN)
    assert Order.objects.count() == 1


def test_usage_and_settlement_take_turns(busy: World) -> None:
    """Whatever comes first, the charge is of what counted, and nothing counts afterwards."""
    order_id = accept(busy, busy.quote().id, "k")

    def use_or_settle(index: int) -> Any:
        if index == 3:
            return services.settle_order(
                order_id=order_id, ended_at=NOW, outcome=Outcome.SUCCEEDED, now=NOW
            ).id
        records = [
            UsageIn(order_id, "core_second", sequence, 400, start=NOW, end=NOW + timedelta(seconds=100))
            for sequence in range(index * 2, index * 2 + 3)  # one of each is another thread's too
        ]
        return services.record_usage(records=records, now=NOW)

    at_once(6, use_or_settle)
    assert services.recompute_charge(order_id).agrees
    assert UsageRecord.objects.count() == len(set(UsageRecord.objects.values_list("sequence", flat=True)))
    assert ledger_sum() == 0


def test_settling_from_many_threads_pays_once_and_numbers_without_gaps(busy: World) -> None:
    orders = [accept(busy, busy.quote(wall_s=900).id, f"k{index}") for index in range(4)]
    for order_id in orders:
        usage = UsageIn(order_id, "core_second", 0, 2000, start=NOW, end=NOW + timedelta(seconds=500))
        services.record_usage(records=[usage], now=NOW)
    at_once(
        8,
        lambda index: (
            services.settle_order(
                order_id=orders[index % 4], ended_at=NOW, outcome=Outcome.SUCCEEDED, now=NOW
            ).id
        ),
    )
    numbers = sorted(Receipt.objects.values_list("number", flat=True))
    assert numbers == [f"R-2026-{count:06d}" for count in range(1, 5)]
    assert figures("payable", busy.supplier.id) == (8 * YUAN, 0)
    assert figures("balance", busy.buyer.id) == (92 * YUAN, 0)
