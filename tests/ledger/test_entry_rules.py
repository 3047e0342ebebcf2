"""Which money may move where, by raw SQL of the application's role: by rule alone, and in or out by two persons."""

from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import transaction
from psycopg import errors
from tests.conftest import NOW, FreshDatabase
from tests.ledger.conftest import open_account
from tests.ledger.people import make_actor, make_organisation

from mosu.kernel.ids import uuid7
from mosu.ledger import services
from mosu.ledger.models import Account, AccountKind, Deposit, JournalEntry
from mosu.platform.actors import HubRole

RULES = {
    ("deposit", "deposit", "bank", "balance"),
    ("reversal", "refund", "balance", "bank"),
    ("pool.filled", "post", "funder", "pool"),
    ("voucher.released", "post", "pool", "voucher"),
    ("voucher.returned", "post", "voucher", "pool"),
    ("voucher.captured", "capture", "voucher", "payable"),
    ("voucher.captured", "capture", "voucher", "balance"),
    ("cap.opened", "post", "cap_source", "cap"),
    ("cap.used", "capture", "cap", "cap_used"),
    ("order.charge", "capture", "balance", "payable"),
    ("order.fee", "post", "payable", "fee"),
    ("reversal", "reverse", "payable", "balance"),
    ("reversal", "reverse", "payable", "voucher"),
    ("reversal", "reverse", "cap_used", "cap"),
    ("reversal", "reverse", "fee", "payable"),
}
"""All that a hub's database allows; the template of the tests has kinds for tests besides."""


class World:
    """A hub with its own rules only; its application's connection; a deposit, entered by one of two persons."""

    def __init__(self, database: FreshDatabase) -> None:
        with psycopg.connect(database.owner_dsn) as owner:
            seen = owner.execute("select kind, door, source, destination from ledger_entryrule").fetchall()
            for rule in set(seen) - RULES:
                owner.execute(
                    "delete from ledger_entryrule where (kind, door, source, destination) = (%s, %s, %s, %s)",
                    rule,
                )
            self.rules = set(seen) & RULES
        with transaction.atomic():
            self.maker = make_actor("maker", HubRole.OPERATOR)
            self.checker = make_actor("checker", HubRole.CHECKER)
            self.organisation = make_organisation()
        self.deposit = services.propose_deposit(
            actor=self.maker,
            organisation_id=self.organisation.id,
            amount_micros=100_000_000,
            bank_reference="ICBC-1",
            now=NOW,
        )
        self.app = psycopg.connect(database.app_dsn, autocommit=True)

    def post(self, kind: str, source: UUID, destination: UUID) -> Any:
        return self.one(
            "select refusal from ledger_post(%s, %s, %s, %s, %s, %s, '{1000000}', %s, '')",
            *(uuid7(), str(uuid4()), kind, uuid4(), [source], [destination], NOW),
        )

    def one(self, sql: str, *parameters: Any) -> Any:
        row = self.app.execute(sql, parameters).fetchone()
        assert row is not None
        return row[0]

    def confirm(self, who: UUID | None, *, function: str = "ledger_confirm_deposit", audit: str = "") -> Any:
        with self.app.transaction():
            refusal = self.one(
                f"select refusal from {function}(%s, %s, %s, %s)", uuid7(), self.deposit.id, who, NOW
            )
            if audit:
                before, after = audit.split()
                self.app.execute(
                    "insert into platform_auditrecord (id, at, actor_kind, actor_label, action, subject_id, before, "
                    "after, why, facts) values (%s, %s, 'user', 'x', 'deposit', %s, %s, %s, '', '{}')",
                    [uuid7(), NOW, self.deposit.id, before, after],
                )
            return refusal

    def figures(self) -> list[Any]:
        return [
            *Account.objects.order_by("id").values_list("id", "balance_micros", "held_micros", "sequence"),
            JournalEntry.objects.count(),
            *Deposit.objects.values_list(),
        ]


@pytest.fixture
def world(fresh_db: FreshDatabase) -> Any:
    made = World(fresh_db)
    yield made
    made.app.close()


def test_the_rules_are_these(world: World) -> None:
    assert world.rules == RULES
    for change in (
        "insert into ledger_entryrule (kind, door, source, destination) values ('x', 'post', 'bank', 'balance')",
        "update ledger_entryrule set source = 'bank'",
        "delete from ledger_entryrule",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            world.app.execute(change)


def test_no_posted_entry_moves_money_outside_its_rule(world: World) -> None:
    """Every kind of entry between every two kinds of accounts: only what a rule lets pass by posting."""
    with transaction.atomic():
        accounts = {kind: open_account(kind) for kind in AccountKind.values}
    before = world.figures()
    for kind in {rule[0] for rule in RULES} | {"test", "unheard.of"}:
        for (source, one), (destination, other) in permutations(accounts.items(), 2):
            if (kind, "post", source, destination) not in RULES:
                assert world.post(kind, one, other) == "kind", (kind, source, destination)
    assert world.figures() == before
    assert world.post("cap.opened", accounts["cap_source"], accounts["cap"]) is None


def test_a_hold_is_captured_by_rule_only(world: World) -> None:
    with transaction.atomic():
        bank, balance, payable = open_account("bank"), open_account(), open_account("payable")
        hold = services.place_hold(key="h", account_id=bank, amount_micros=9, subject_id=bank, now=NOW)
    before = world.figures()
    for kind in {rule[0] for rule in RULES}:
        for destination in (balance, payable):
            refusal = world.one(
                "select refusal from ledger_capture(%s, 'c', %s, %s, 9, %s, %s, '')",
                *(uuid7(), hold, destination, kind, NOW),
            )
            assert refusal == "kind"
    assert world.figures() == before


def test_a_deposit_brings_its_money_once_and_by_a_second_person(world: World) -> None:
    before = world.figures()
    for who in (world.maker.id, None):
        with pytest.raises(errors.IntegrityConstraintViolation, match="waits for no confirmation"):
            world.confirm(who, audit="proposed confirmed")
    with pytest.raises(errors.IntegrityConstraintViolation, match="without an audit record"):
        world.confirm(world.checker.id)
    with pytest.raises(errors.ForeignKeyViolation):
        world.confirm(uuid4(), audit="proposed confirmed")
    assert world.figures() == before
    assert world.confirm(world.checker.id, audit="proposed confirmed") is None
    account = Account.objects.get(kind="balance", owner_id=world.organisation.id)
    assert account.balance_micros == 100_000_000
    after = world.figures()
    with pytest.raises(errors.IntegrityConstraintViolation, match="waits for no confirmation"):
        world.confirm(world.checker.id, audit="proposed confirmed")
    assert world.figures() == after


def test_a_deposit_is_not_confirmed_by_writing_its_row(world: World) -> None:
    before = world.figures()
    for change in (
        "update ledger_deposit set entry_id = null",
        "update ledger_deposit set refund_entry_id = null",
        "update ledger_deposit set refund_checker_id = maker_id",
        "update ledger_deposit set refunded_at = now()",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            world.app.execute(change)
    with pytest.raises(errors.CheckViolation):
        world.app.execute(
            "update ledger_deposit set state = 'confirmed', checker_id = %s, decided_at = now()",
            [world.checker.id],
        )
    with pytest.raises(errors.IntegrityConstraintViolation):
        world.app.execute(
            "insert into ledger_deposit (id, organisation_id, amount_micros, currency, bank_reference, state, maker_id, "
            "checker_id, decided_at, entry_id, proposed_at, refund_why) "
            "values (%s, %s, 1, 'CNY', 'x', 'confirmed', %s, %s, now(), %s, now(), '')",
            [uuid7(), world.organisation.id, world.maker.id, world.checker.id, uuid7()],
        )
    assert world.figures() == before


def test_money_goes_back_only_by_a_refund_of_two_persons(world: World) -> None:
    services.confirm_deposit(actor=world.checker, deposit_id=world.deposit.id, now=NOW)
    entry = Deposit.objects.get().entry_id
    before = world.figures()
    assert world.one("select refusal from ledger_reverse(%s, 'r', %s, %s, '')", uuid7(), entry, NOW) == "kind"
    with pytest.raises(errors.IntegrityConstraintViolation, match="waits for no refund"):
        world.confirm(world.maker.id, function="ledger_confirm_refund", audit="confirmed refunded")
    assert world.figures() == before
    services.propose_refund(actor=world.maker, deposit_id=world.deposit.id, why="sent twice", now=NOW)
    before = world.figures()
    for who in (world.maker.id, None):
        with pytest.raises(errors.IntegrityConstraintViolation, match="waits for no refund"):
            world.confirm(who, function="ledger_confirm_refund", audit="refunding refunded")
    assert world.figures() == before
    refund = {"function": "ledger_confirm_refund", "audit": "refunding refunded"}
    assert world.confirm(world.checker.id, **refund) is None
    assert Account.objects.get(kind="balance", owner_id=world.organisation.id).balance_micros == 0
    with pytest.raises(errors.IntegrityConstraintViolation, match="waits for no refund"):
        world.confirm(world.checker.id, **refund)
    assert services.verify(now=NOW).ok
