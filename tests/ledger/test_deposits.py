"""Money in takes two persons."""

from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from tests.conftest import NOW, FreshDatabase
from tests.ledger.people import make_actor, make_organisation

from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.ledger import queries, services
from mosu.ledger.models import Account, Deposit, JournalEntry
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import AuditRecord, Event, Membership, Notice


class World:
    def __init__(self) -> None:
        with transaction.atomic():
            self.organisation = make_organisation()
            self.operator = make_actor("operator", HubRole.OPERATOR, HubRole.CHECKER)
            self.checker = make_actor("checker", HubRole.CHECKER)
            self.owner = make_actor("owner", organisation_id=self.organisation.id, role=Role.OWNER)
            Membership.objects.create(
                organisation=self.organisation, user_id=self.owner.id, role=Role.OWNER, created_at=NOW
            )

    def propose(self, **changes: Any) -> Deposit:
        given: dict[str, Any] = {
            "actor": self.operator,
            "organisation_id": self.organisation.id,
            "amount_micros": 5_000_000_000,
            "bank_reference": "ICBC 1",
            "now": NOW,
        }
        return services.propose_deposit(**(given | changes))

    def balance(self) -> int:
        return queries.balance_of(
            services.account_id(kind="balance", owner_id=self.organisation.id, currency="CNY")
        ).balance_micros


@pytest.fixture
def world(fresh_db: FreshDatabase) -> World:
    return World()


def test_a_second_person_brings_the_money(world: World) -> None:
    deposit = world.propose()
    assert not Account.objects.exists()
    for _ in range(2):
        confirmed = services.confirm_deposit(actor=world.checker, deposit_id=deposit.id, now=NOW)
    assert confirmed.state == "confirmed"
    assert world.balance() == 5_000_000_000
    entry = JournalEntry.objects.get()
    assert (entry.id, entry.memo, entry.subject_id) == (confirmed.entry_id, "ICBC 1", deposit.id)
    trail = AuditRecord.objects.filter(subject_id=deposit.id).order_by("id")
    assert list(trail.values_list("before", "after", "actor_label")) == [
        (None, "proposed", "operator@example.org"),
        ("proposed", "confirmed", "checker@example.org"),
    ]
    assert Notice.objects.get(subject_id=deposit.id).user_id == world.owner.id
    assert Event.objects.filter(name="ledger.deposit_confirmed", subject_id=deposit.id).count() == 1


def test_the_same_person_cannot_do_both(world: World) -> None:
    deposit = world.propose()
    with pytest.raises(services.SamePerson):
        services.confirm_deposit(actor=world.operator, deposit_id=deposit.id, now=NOW)
    with pytest.raises(services.SamePerson):
        services.reject_deposit(actor=world.operator, deposit_id=deposit.id, why="no", now=NOW)
    deposit.refresh_from_db()
    assert deposit.state == "proposed"
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "update ledger_deposit set state = 'rejected', checker_id = maker_id, decided_at = now()"
        )


def test_only_the_right_people_may(world: World) -> None:
    with pytest.raises(Forbidden):
        world.propose(actor=world.owner)
    with pytest.raises(Forbidden):
        world.propose(actor=world.checker)
    with pytest.raises(Forbidden):
        world.propose(actor=SYSTEM)
    assert not Deposit.objects.exists()
    deposit = world.propose()
    with pytest.raises(Forbidden):
        services.confirm_deposit(actor=world.owner, deposit_id=deposit.id, now=NOW)
    assert not JournalEntry.objects.exists()


def test_one_bank_reference_one_deposit(world: World) -> None:
    world.propose()
    with pytest.raises(services.BankReferenceKnown):
        world.propose(bank_reference=" ICBC 1 ", amount_micros=1_000_000)
    assert Deposit.objects.count() == 1


@pytest.mark.parametrize(
    "changes", [{"amount_micros": 0}, {"amount_micros": -1}, {"amount_micros": 1}, {"bank_reference": " "}]
)
def test_bad_deposits_are_refused(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        world.propose(**changes)
    assert not Deposit.objects.exists()


def test_an_unknown_organisation_or_deposit(world: World) -> None:
    with pytest.raises(NotFound):
        world.propose(organisation_id=world.checker.id)
    with pytest.raises(NotFound):
        services.confirm_deposit(actor=world.checker, deposit_id=world.organisation.id, now=NOW)


def test_a_rejected_deposit_stays_rejected(world: World) -> None:
    deposit = world.propose()
    with pytest.raises(Invalid):
        services.reject_deposit(actor=world.checker, deposit_id=deposit.id, why=" ", now=NOW)
    for _ in range(2):
        rejected = services.reject_deposit(actor=world.checker, deposit_id=deposit.id, why="typo", now=NOW)
    assert rejected.state == "rejected"
    with pytest.raises(IllegalMove):
        services.confirm_deposit(actor=world.checker, deposit_id=deposit.id, now=NOW)
    assert not JournalEntry.objects.exists()


def test_a_deposit_changes_no_state_without_its_audit_record(world: World) -> None:
    world.propose()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "update ledger_deposit set state = 'rejected', checker_id = %s, decided_at = now()",
            [world.checker.id],
        )
    assert Deposit.objects.get().state == "proposed"


def test_a_refund_reverses_the_entry_by_two_persons(world: World) -> None:
    deposit = services.confirm_deposit(actor=world.checker, deposit_id=world.propose().id, now=NOW)
    with pytest.raises(IllegalMove):
        services.confirm_refund(actor=world.checker, deposit_id=deposit.id, now=NOW)
    services.propose_refund(actor=world.operator, deposit_id=deposit.id, why="sent twice", now=NOW)
    assert world.balance() == 5_000_000_000
    with pytest.raises(services.SamePerson):
        services.confirm_refund(actor=world.operator, deposit_id=deposit.id, now=NOW)
    for _ in range(2):
        refunded = services.confirm_refund(actor=world.checker, deposit_id=deposit.id, now=NOW)
    assert (refunded.state, world.balance()) == ("refunded", 0)
    assert JournalEntry.objects.count() == 2
    assert services.verify(now=NOW).ok
    trail = AuditRecord.objects.filter(subject_id=deposit.id).order_by("id")
    assert list(trail.values_list("after", flat=True)) == ["proposed", "confirmed", "refunding", "refunded"]


def test_what_is_spent_or_held_cannot_be_refunded(world: World) -> None:
    deposit = services.confirm_deposit(actor=world.checker, deposit_id=world.propose().id, now=NOW)
    account = services.account_id(kind="balance", owner_id=world.organisation.id, currency="CNY")
    with transaction.atomic():
        services.place_hold(key="h", account_id=account, amount_micros=10_000, subject_id=deposit.id, now=NOW)
    services.propose_refund(actor=world.operator, deposit_id=deposit.id, why="sent twice", now=NOW)
    with pytest.raises(services.InsufficientFunds):
        services.confirm_refund(actor=world.checker, deposit_id=deposit.id, now=NOW)
    deposit.refresh_from_db()
    assert (deposit.state, world.balance()) == ("refunding", 5_000_000_000)
    with pytest.raises(Invalid):
        services.decline_refund(actor=world.checker, deposit_id=deposit.id, why=" ", now=NOW)
    declined = services.decline_refund(actor=world.checker, deposit_id=deposit.id, why="in use", now=NOW)
    assert declined.state == "confirmed"


@pytest.mark.parametrize("role", ["app", "owner"])
def test_a_decided_deposit_is_not_changed_by_raw_sql(
    world: World, fresh_db: FreshDatabase, role: str
) -> None:
    deposit = services.confirm_deposit(actor=world.checker, deposit_id=world.propose().id, now=NOW)
    before = Deposit.objects.filter(id=deposit.id).values().get()
    dsn = fresh_db.app_dsn if role == "app" else fresh_db.owner_dsn
    with psycopg.connect(dsn, autocommit=True) as raw:
        for change in (
            "update ledger_deposit set amount_micros = amount_micros * 10",
            "update ledger_deposit set bank_reference = 'another'",
            "update ledger_deposit set decided_at = now()",
            "delete from ledger_deposit",
            "truncate ledger_deposit",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.IntegrityError)):
                raw.execute(change)
    assert Deposit.objects.filter(id=deposit.id).values().get() == before


def test_the_application_cannot_change_the_amount_of_a_proposed_deposit(
    world: World, fresh_db: FreshDatabase
) -> None:
    deposit = world.propose()
    with (
        psycopg.connect(fresh_db.app_dsn) as raw,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        raw.execute("update ledger_deposit set amount_micros = amount_micros * 10")
    assert Deposit.objects.get(id=deposit.id).amount_micros == 5_000_000_000
