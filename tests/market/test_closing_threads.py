"""A month's close and its corrections with real transactions: nothing slips in, nothing is given back twice."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from tests.conftest import NOW
from tests.ledger.people import make_actor
from tests.market.conftest import DeskShelf, World, figures, ledger_sum, make_world
from tests.market.test_bills import bought
from tests.market.test_closing import APRIL, MARCH, counted, issue, propose
from tests.market.test_services import accept, settle, used
from tests.market.test_threads import at_once

from mosu.kernel.refusals import DomainError
from mosu.market import services
from mosu.market.models import Bill, CreditNote, MonthClose, Order, Receipt, UsageRecord, UsageTotal
from mosu.platform.actors import Actor, HubRole


@pytest.fixture
def busy(fresh_db: Any, shelf: DeskShelf) -> World:
    return make_world(shelf)


@pytest.fixture
def operator(busy: World) -> Actor:
    return make_actor("operator", HubRole.OPERATOR)


def close(operator: Actor) -> MonthClose:
    return services.close_month(actor=operator, month=MARCH, now=APRIL)


def test_closing_twice_at_once_closes_once(busy: World, operator: Actor) -> None:
    bought(busy, key="k")
    answers = at_once(3, lambda index: close(operator).id)
    assert len(set(answers)) == 1
    assert counted() == (1, 1, 1)


def test_a_close_waits_for_the_receipts_under_way(busy: World, operator: Actor) -> None:
    """One that moves no money is not held back by the sealed days; the month would be short of it."""
    bought(busy, key="paid")
    unused = accept(busy, busy.quote(), key="unused")

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            settle(unused)
            early = pool.submit(alone, lambda: close(operator))
            until_all_wait([early])
        with pytest.raises(IntegrityError, match="not those of its receipts"):
            early.result()
    assert counted() == (0, 0, 0)
    assert close(operator).receipts == Receipt.objects.count() == 2


def alone(call: Callable[[], Any]) -> Any:
    """In a thread, with a connection of its own; a refusal counts as an answer."""
    try:
        return call()
    except DomainError as refusal:
        return refusal.code
    finally:
        connections.close_all()


def until_all_wait(calls: Sequence[Future[Any]]) -> None:
    """Until all of them wait for a lock that this thread has; none ends before."""
    patience, waiting = monotonic() + 60, 0
    while waiting < len(calls):
        assert monotonic() < patience and not any(one.done() for one in calls)
        with connection.cursor() as cursor:
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
            (waiting,) = cursor.fetchone()


def test_notes_at_once_give_back_no_more_than_was_paid(busy: World, operator: Actor) -> None:
    receipt = bought(busy, key="k")
    close(operator)
    paid = Bill.objects.get().paid_micros
    with ThreadPoolExecutor(3) as pool:
        with transaction.atomic():
            Order.objects.select_for_update(no_key=True).get(id=receipt.order_id)
            calls = [pool.submit(alone, lambda: propose(operator, receipt.id, paid).id) for _ in range(3)]
            until_all_wait(calls)
        answers = [one.result() for one in calls]
    assert answers.count("more_than_paid") == 2
    assert CreditNote.objects.get().amount_micros == paid


def test_notes_issued_at_once_are_numbered_without_gaps(busy: World, operator: Actor) -> None:
    """Each once, also by two checkers; the first of a year is number one."""
    receipts = [bought(busy, key=f"k{n}") for n in range(3)]
    close(operator)
    checkers = [make_actor(f"checker{n}", HubRole.CHECKER) for n in range(2)]
    notes = [propose(operator, receipt.id, 10_000) for receipt in receipts]
    before = figures("balance", busy.buyer.id)[0]
    at_once(6, lambda index: issue(checkers[index % 2], notes[index // 2]).number)
    numbers = CreditNote.objects.order_by("number").values_list("number", flat=True)
    assert list(numbers) == [f"C-2026-00000{n}" for n in (1, 2, 3)]
    assert figures("balance", busy.buyer.id)[0] == before + 30_000
    assert ledger_sum() == 0
    next_year = APRIL.replace(year=2027)
    again = propose(operator, receipts[0].id, 10_000)
    issued = services.issue_credit_note(actor=checkers[0], credit_note_id=again.id, now=next_year)
    assert issued.number == "C-2027-000001"


def test_a_months_first_records_from_many_workers_at_once(busy: World) -> None:
    """The partitions are missing; meanwhile others buy, which the new partition's foreign key must wait for."""
    months = [NOW, NOW + timedelta(days=31), NOW + timedelta(days=62)]
    keys = count()

    def order(now: Any) -> Order:
        quote = busy.quotes(busy.plan(busy.offer()), now=now)[0]
        return accept(busy, quote, key=f"k{next(keys)}", now=now)

    orders = [[order(now) for now in months] for _ in range(2)]
    quotes = [busy.quote() for _ in range(2)]

    def use_or_buy(index: int) -> Any:
        if index >= 2:
            return accept(busy, quotes[index - 2], key=f"more{index}").id
        mine = orders[index] if index else orders[index][::-1]
        return services.record_usage(records=[used(one, 60) for one in mine], now=NOW).accepted

    answers = at_once(4, use_or_buy)
    assert answers[:2] == [3, 3]
    assert UsageRecord.objects.count() == UsageTotal.objects.count() == 6
    assert sorted(set(UsageRecord.objects.values_list("accepted_month", flat=True))) == [
        now.date().replace(day=1) for now in months
    ]
