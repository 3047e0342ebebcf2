"""The ledger against a plain model of it, each request sent more than once; and under threads."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.conftest import NOW, FreshDatabase
from tests.ledger.conftest import funded, open_account

from mosu.kernel.refusals import DomainError
from mosu.ledger import queries, services
from mosu.ledger.models import Account, Hold, JournalEntry
from mosu.ledger.rules import Move

ACCOUNTS = 4  # the first is the bank, which has no floor
AMOUNTS = st.integers(1, 60)
INDEX = st.integers(0, ACCOUNTS - 1)


class Refused(Exception):
    """The model refuses."""


class Model:
    """What the ledger should be: a few integers."""

    def __init__(self) -> None:
        self.balance = [0] * ACCOUNTS
        self.held = [0] * ACCOUNTS
        self.holds: list[list[int]] = []  # account, left
        self.entries: list[list[tuple[int, int, int]]] = []
        self.reversed: set[int] = set()

    def post(self, moves: list[tuple[int, int, int]]) -> None:
        balance = list(self.balance)
        for source, destination, amount in moves:
            balance[source] -= amount
            balance[destination] += amount
        if balance == self.balance:
            raise Refused
        for account in range(1, ACCOUNTS):
            if balance[account] < self.balance[account] and balance[account] < self.held[account]:
                raise Refused
        self.balance = balance
        self.entries.append(moves)

    def place(self, account: int, amount: int) -> None:
        if account and self.balance[account] - self.held[account] < amount:
            raise Refused
        self.held[account] += amount
        self.holds.append([account, amount])

    def capture(self, hold: int, destination: int, amount: int) -> None:
        source, left = self.holds[hold]
        if amount > left or source == destination:
            raise Refused
        self.holds[hold][1] -= amount
        self.held[source] -= amount
        self.post([(source, destination, amount)])

    def release(self, hold: int) -> None:
        account, left = self.holds[hold]
        self.held[account] -= left
        self.holds[hold][1] = 0

    def reverse(self, entry: int) -> None:
        if entry in self.reversed:
            raise Refused
        self.post([(to, source, amount) for source, to, amount in reversed(self.entries[entry])])
        self.reversed |= {entry, len(self.entries) - 1}  # a reversal is not reversed


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.accounts = [open_account("bank"), *(open_account() for _ in range(ACCOUNTS - 1))]
        self.holds: list[UUID] = []
        self.entries: list[UUID] = []
        self.sent: list[tuple[Callable[[], UUID], UUID]] = []

    def both(self, model: Callable[[], None], real: Callable[[], UUID], into: list[UUID]) -> None:
        """The model and the ledger do it, or both refuse; done twice, the ledger does it once."""
        try:
            model()
        except Refused:
            with pytest.raises((DomainError, ValueError)):
                _in_savepoint(real)
            return
        made = real()
        assert real() == made
        into.append(made)
        self.sent.append((real, made))

    @rule(
        moves=st.lists(
            st.tuples(INDEX, INDEX, AMOUNTS).filter(lambda move: move[0] != move[1]), min_size=1, max_size=3
        )
    )
    def post(self, moves: list[tuple[int, int, int]]) -> None:
        net = [0] * ACCOUNTS
        for source, to, amount in moves:
            net[source] -= amount
            net[to] += amount
        if not any(net):
            return
        key, subject = str(uuid4()), uuid4()
        real = [Move(self.accounts[source], self.accounts[to], amount) for source, to, amount in moves]
        self.both(
            lambda: self.model.post(moves),
            lambda: services.post_entry(key=key, kind="test", moves=real, subject_id=subject, now=NOW),
            self.entries,
        )

    @rule(account=INDEX, amount=AMOUNTS)
    def place(self, account: int, amount: int) -> None:
        key, subject = str(uuid4()), uuid4()
        self.both(
            lambda: self.model.place(account, amount),
            lambda: services.place_hold(
                key=key, account_id=self.accounts[account], amount_micros=amount, subject_id=subject, now=NOW
            ),
            self.holds,
        )

    @rule(data=st.data(), destination=INDEX, amount=AMOUNTS)
    def capture(self, data: st.DataObject, destination: int, amount: int) -> None:
        if not self.holds:
            return
        hold = data.draw(st.integers(0, len(self.holds) - 1))
        if self.model.holds[hold][0] == destination:
            return
        key = str(uuid4())
        self.both(
            lambda: self.model.capture(hold, destination, amount),
            lambda: services.capture_hold(
                key=key,
                hold_id=self.holds[hold],
                destination_id=self.accounts[destination],
                amount_micros=amount,
                kind="test",
                now=NOW,
            ),
            self.entries,
        )

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.holds:
            hold = data.draw(st.integers(0, len(self.holds) - 1))
            self.model.release(hold)
            for _ in range(2):
                services.release_hold(hold_id=self.holds[hold], now=NOW)

    @rule(data=st.data())
    def reverse(self, data: st.DataObject) -> None:
        if not self.entries:
            return
        entry = data.draw(st.integers(0, len(self.entries) - 1))
        key = str(uuid4())
        self.both(
            lambda: self.model.reverse(entry),
            lambda: services.reverse_entry(key=key, entry_id=self.entries[entry], now=NOW, memo="back"),
            self.entries,
        )

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """Any earlier request comes again, much later."""
        if self.sent:
            request, made = data.draw(st.sampled_from(self.sent))
            assert request() == made

    @invariant()
    def agree(self) -> None:
        figures = [queries.balance_of(account) for account in self.accounts]
        assert [each.balance_micros for each in figures] == self.model.balance
        assert [each.held_micros for each in figures] == self.model.held
        left = {hold.id: hold.remaining_micros for hold in Hold.objects.all()}
        assert [left[hold] for hold in self.holds] == [left for _, left in self.model.holds]

    def teardown(self) -> None:
        found = services.verify(now=NOW)
        assert found.problems == ()
        assert JournalEntry.objects.count() == len(self.model.entries)


def _in_savepoint(work: Callable[[], UUID]) -> None:
    with transaction.atomic():
        work()


@pytest.mark.django_db
def test_the_ledger_is_its_model() -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            self.savepoint = transaction.savepoint()
            super().__init__()

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                transaction.savepoint_rollback(self.savepoint)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            deadline=None,
            max_examples=25,
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
        ),
    )


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failed: list[Exception] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failed == []


def test_eight_threads_on_four_hot_accounts(fresh_db: FreshDatabase) -> None:
    """Intentions of several steps, in any order of accounts: no deadlock, nothing lost, no floor broken."""
    with transaction.atomic():
        accounts = [funded(200) for _ in range(4)]
    refused = [0] * 8

    def work(number: int) -> None:
        choose = random.Random(number)
        for step in range(30):
            one, two, three = choose.sample(accounts, 3)
            try:
                with transaction.atomic():
                    services.lock_accounts([three, one, two])
                    hold = services.place_hold(
                        key=f"h{number}.{step}", account_id=one, amount_micros=90, subject_id=one, now=NOW
                    )
                    services.post_entry(
                        key=f"p{number}.{step}",
                        kind="test",
                        moves=[Move(two, three, 70)],
                        subject_id=two,
                        now=NOW,
                    )
                    services.capture_hold(
                        key=f"c{number}.{step}",
                        hold_id=hold,
                        destination_id=two,
                        amount_micros=choose.randint(1, 90),
                        kind="test",
                        now=NOW,
                    )
                    services.release_hold(hold_id=hold, now=NOW)
            except services.InsufficientFunds:
                refused[number] += 1

    in_threads(8, work)
    rows = Account.objects.filter(id__in=accounts)
    assert sum(row.balance_micros for row in rows) == 800
    assert all(row.balance_micros >= row.held_micros == 0 for row in rows)
    assert 0 < sum(refused) < 240
    assert JournalEntry.objects.filter(hold__isnull=False).count() == 240 - sum(refused)
    assert services.verify(now=NOW + timedelta(hours=1)).problems == ()


def test_single_calls_lock_in_one_order_too(fresh_db: FreshDatabase) -> None:
    with transaction.atomic():
        accounts = [funded(1000) for _ in range(4)]

    def work(number: int) -> None:
        choose = random.Random(number)
        for step in range(60):
            one, two, three = choose.sample(accounts, 3)
            services.post_entry(
                key=f"{number}.{step}",
                kind="test",
                moves=[Move(one, two, 1), Move(three, one, 1)],
                subject_id=one,
                now=NOW,
            )

    in_threads(8, work)
    assert JournalEntry.objects.filter(key__contains=".").count() == 480
    assert services.verify(now=NOW).problems == ()


@pytest.mark.parametrize("same", [True, False])
def test_one_key_from_many_threads_is_one_entry(fresh_db: FreshDatabase, same: bool) -> None:
    """The same request: all get the one entry. Different requests: one wins, the others learn it."""
    with transaction.atomic():
        pairs = [(funded(1000), open_account()) for _ in range(8)]
    subject, results = uuid4(), list[Any]()

    def work(number: int) -> None:
        one, two = pairs[0 if same else number]
        try:
            results.append(
                services.post_entry(
                    key="k", kind="test", moves=[Move(one, two, 100)], subject_id=subject, now=NOW
                )
            )
        except services.KeyReused:
            results.append(None)

    in_threads(8, work)
    assert JournalEntry.objects.filter(key="k").count() == 1
    assert len(results) == 8
    assert len(set(results) - {None}) == 1
    assert results.count(None) == (0 if same else 7)
