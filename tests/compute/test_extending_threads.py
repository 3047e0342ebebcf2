"""More time for a run against whatever else happens at once, with real transactions: exactly one wins, and money and
capacity are right whoever it is."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic
from uuid import UUID

import pytest
from django.db import connection, transaction

from mosu.compute.models import Allocation, Extension, Run
from mosu.compute.services import ExtendedMeanwhile, NotRunning, SoldOut
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError
from mosu.ledger.services import account_id, lock_accounts
from mosu.market.models import Order, Receipt
from mosu.market.services import accept_quote, stop_order
from mosu.market.services.budgets import Buyer, commit_spend
from tests.compute.test_extending import extend, make_extending, quote_more
from tests.compute.test_volumes_threads import somebody_waits_for_us
from tests.compute.world import (
    World,
    at,
    attempt_of,
    beat,
    held_micros,
    quote,
    report,
    started,
    task_of,
    use,
)
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.usefixtures("fresh_db")


def at_once(*calls: Callable[[], object]) -> list[type[DomainError] | None]:
    """How each ended, begun together: refused for what, or not."""
    barrier = Barrier(len(calls))

    def one(call: Callable[[], object]) -> type[DomainError] | None:
        try:
            barrier.wait()
            call()
        except DomainError as refusal:
            return type(refusal)
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def accepting(world: World, quote_id: UUID) -> Callable[[], object]:
    return lambda: accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=at(20))


def test_it_ends_or_is_extended() -> None:
    world = make_extending()
    for _ in range(3):
        run, attempt = started(world, wall="10m")
        more = quote_more(world, run)
        before = Order.objects.count()
        refused, ended = at_once(
            accepting(world, more),
            lambda attempt=attempt: report(world, attempt, now=at(20)),  # type: ignore[misc]
        )
        assert ended is None and refused in {None, NotRunning}
        assert Order.objects.count() == before + (refused is None)
        # Whoever came first: all that was bought is settled, and nothing is held.
        assert set(Order.objects.values_list("state", flat=True)) == {"settled"}
        assert Receipt.objects.count() == Order.objects.count()
        assert held_micros(world.buyer.id) == 0
        assert not Allocation.objects.filter(live=True).exists()


def test_two_give_it_more_time() -> None:
    world = make_extending()
    run, _ = started(world, wall="10m")
    quotes = [quote_more(world, run) for _ in range(2)]
    ended = at_once(*(accepting(world, one) for one in quotes))
    assert sorted(map(str, ended)) == sorted(map(str, [None, ExtendedMeanwhile]))
    assert Extension.objects.count() == 1 and attempt_of(run).extended_s == 300


def test_the_place_is_given_once() -> None:
    world = make_extending(cores=1)
    run, _ = started(world, wall="10m")
    more, other = quote_more(world, run), quote(world, task_of(wall="10m"), now=at(10)).quotes[0].id
    ended = at_once(accepting(world, more), accepting(world, other))
    assert ended.count(None) == 1 and set(ended) <= {None, SoldOut}
    first, *rest = Allocation.objects.filter(live=True).order_by("period")
    assert all(first.period.upper <= one.period.lower for one in rest)


def test_a_purchase_and_the_end_of_two_orders_take_their_locks_in_one_order() -> None:
    """Budgets, then accounts: else the end has the accounts of the first order and waits for a budget of the second."""
    world = make_extending()
    run, attempt = started(world, wall="10m")
    extend(world, run, 600)
    beat(world, attempt, "running", now=at(620))
    use(world, attempt, 610, since=at(0), now=at(620))  # of the first order nothing is left to give back
    balance = account_id(kind="balance", owner_id=world.buyer.id, currency="CNY")
    patience = monotonic() + PATIENCE_S

    def end() -> None:
        try:
            report(world, attempt, now=at(620))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():  # as a purchase does
            commit_spend(Buyer(world.buyer.id, world.project.id, None), amount_micros=1, now=at(620))
            ending = pool.submit(end)
            while not somebody_waits_for_us():
                assert monotonic() < patience and not ending.done()
            lock_accounts([balance])
        ending.result()
    assert set(Order.objects.values_list("state", flat=True)) == {"settled"}
    assert held_micros(world.buyer.id) == 0


def test_usage_an_end_and_a_spent_budget_of_an_extended_run_wait_for_nobody_for_ever() -> None:
    world = make_extending()
    for _ in range(3):
        run, attempt = started(world, wall="10m")
        second = extend(world, run, 600)
        beat(world, attempt, "running", now=at(620))
        ended = at_once(
            lambda attempt=attempt: use(world, attempt, 620, since=at(0), now=at(620)),  # type: ignore[misc]
            lambda second=second: stop_order(order_id=second.id, why="spent", now=at(620)),  # type: ignore[misc]
            lambda attempt=attempt: report(world, attempt, now=at(620)),  # type: ignore[misc]
        )
        assert ended == [None, None, None]
        assert set(Order.objects.values_list("state", flat=True)) == {"settled"}
        assert held_micros(world.buyer.id) == 0
        assert Run.objects.get(id=run.id).state == "succeeded"
