"""A month is closed once, equals its postings, and stays as it was; money leaves by two persons."""

from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from tests.conftest import NOW
from tests.ledger.people import make_actor
from tests.market.conftest import YUAN, World, figures, ledger_sum, make_world, rows_now
from tests.market.test_bills import bought
from tests.market.test_services import accept, record, settle, used
from tests.market.vouchers import give_voucher

from mosu.kernel.digests import sha256_of
from mosu.kernel.refusals import DomainError, Forbidden, Invalid
from mosu.ledger import services as ledger
from mosu.ledger.services import InsufficientFunds, PaidBefore, SamePerson
from mosu.market import services
from mosu.market.models import Bill, BorneBy, CreditNote, MonthClose, SoldBy, Statement
from mosu.market.services import MonthNotOver, MonthNotSealed, MonthOpen, MoreThanPaid, UsageDisagrees
from mosu.platform.actors import Actor, HubRole
from mosu.platform.services import record_audit

MARCH = date(2026, 3, 1)
MORE_USAGE = (
    "insert into market_usagerecord select gen_random_uuid(), order_line_id, accepted_month, meter, 99, 5, 5,"
    ' null, start, "end", received_at, state, reason from market_usagerecord'
)
APRIL = datetime.fromisoformat("2026-04-01T02:00+08:00")


@pytest.fixture
def operator(db: None) -> Actor:
    return make_actor("operator", HubRole.OPERATOR)


@pytest.fixture
def checker(db: None) -> Actor:
    return make_actor("checker", HubRole.CHECKER)


def close(operator: Actor, month: date = MARCH, *, now: datetime = APRIL) -> MonthClose:
    """In one transaction with what was bought: that is checked before its days are sealed, as its own commit would."""
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate; set constraints all deferred")
    return services.close_month(actor=operator, month=month, now=now)


def execute(statement: str, parameters: Any = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def _another(table: str, column: str) -> str:
    """A row that nobody earned, written into the closed month."""
    return (
        f"insert into {table} select (jsonb_populate_record(b, jsonb_build_object('id', gen_random_uuid(),"
        f" 'number', 'X', '{column}', o.id))).* from {table} b, platform_organisation o where o.id <> b.{column}"
        " limit 1"
    )


def counted() -> tuple[int, int, int]:
    return Bill.objects.count(), Statement.objects.count(), MonthClose.objects.count()


def test_a_close_freezes_bills_and_statements_that_equal_the_postings(world: World, operator: Actor) -> None:
    give_voucher(world)
    for number in range(3):
        bought(world, key=f"k{number}")
    by_itself = accept(world, world.quote(offer=world.offer(sold_by=SoldBy.SUPPLIER)), key="own")
    record(used(by_itself, 600))
    settle(by_itself)
    done = close(operator)
    bill, statement = Bill.objects.get(), Statement.objects.get()
    assert (done.bills, done.statements, done.receipts, done.usage_records) == (1, 1, 4, 4)
    assert bill.number == "B-202603-000001"
    assert bill.total_micros == bill.vouchers_micros + bill.paid_micros == done.total_micros
    assert bill.vouchers_micros > 0 < bill.billed_by_suppliers_micros
    assert (
        figures("balance", world.buyer.id)[0]
        == 100 * YUAN - bill.paid_micros + bill.billed_by_suppliers_micros
    )
    assert statement.to_invoice_micros == bill.billed_by_suppliers_micros
    assert statement.fee_micros == figures("fee", ledger.HUB_ID)[0]
    assert statement.net_micros == figures("payable", world.supplier.id)[0]
    assert sha256_of(bill.content) == bill.sha256
    assert sum(float(one["amount"]) for one in bill.content["programmes"]) == bill.vouchers_micros / YUAN
    assert [one["name"] for one in bill.content["suppliers"]] == [world.supplier.name]


def test_closing_again_changes_nothing(world: World, operator: Actor) -> None:
    bought(world, key="k")
    first = close(operator)
    before = rows_now(), counted()
    assert close(operator, now=APRIL + timedelta(days=3)) == first
    assert (rows_now(), counted()) == before


def test_an_empty_month_closes(world: World, operator: Actor) -> None:
    bought(world, key="k")
    done = close(operator, date(2026, 2, 1), now=APRIL)
    assert (done.bills, done.statements, done.total_micros) == (0, 0, 0)


def test_a_hub_of_today_is_told_to_wait(operator: Actor) -> None:
    with pytest.raises(MonthNotSealed, match="No day of this hub's books has ended"):
        close(operator, date(2026, 2, 1), now=APRIL)
    assert counted() == (0, 0, 0)


@pytest.mark.parametrize("now", [NOW, datetime.fromisoformat("2026-03-31T23:59:59+08:00")])
def test_a_month_that_runs_is_not_closed(world: World, operator: Actor, now: datetime) -> None:
    bought(world, key="k")
    with pytest.raises(MonthNotOver):
        close(operator, now=now)
    assert counted() == (0, 0, 0)


def test_only_an_operator_closes(world: World, checker: Actor) -> None:
    for actor in (checker, world.actor, world.seller):
        with pytest.raises(Forbidden):
            close(actor)
    assert counted() == (0, 0, 0)


def test_usage_that_came_by_itself_stops_the_close(fresh_db: Any, shelf: Any) -> None:
    """A record that the database's owner wrote: the charge no longer is what its usage comes to."""
    world, operator = make_world(shelf), make_actor("operator", HubRole.OPERATOR)
    bought(world, key="k")
    with psycopg.connect(fresh_db.owner_dsn) as owner:
        owner.execute("alter table market_usagerecord disable trigger uncharged")
        owner.execute(MORE_USAGE)
    with pytest.raises(UsageDisagrees):
        close(operator)
    assert counted() == (0, 0, 0)


def test_nothing_more_counts_on_what_was_charged(world: World) -> None:
    """Around the service, in whatever month; late records are still kept, and count nothing."""
    receipt = bought(world, key="k")
    before = rows_now()
    with pytest.raises(IntegrityError, match="no more usage counts"), transaction.atomic():
        execute(MORE_USAGE)
    assert rows_now() == before
    assert record(used(receipt.order, 5, sequence=9)).quarantined == 1


@pytest.mark.parametrize(
    "lie",
    [
        "update market_bill set paid_micros = paid_micros + 10000, total_micros = total_micros + 10000",
        "update market_bill set receipts = receipts + 1",
        "update market_statement set fee_micros = fee_micros - 10000, net_micros = net_micros + 10000",
        "delete from market_statement",
    ],
)
def test_the_database_takes_no_close_that_differs_from_the_postings(
    fresh_db: Any, shelf: Any, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Whatever the application wrote: the row of the close is refused, by the owner's own trigger."""
    world, operator = make_world(shelf), make_actor("operator", HubRole.OPERATOR)
    bought(world, key="k")
    done = close(operator)
    with psycopg.connect(fresh_db.owner_dsn) as owner:
        for table in ("bill", "statement", "monthclose"):
            owner.execute(f"alter table market_{table} disable trigger append_only")
        owner.execute("delete from market_monthclose")
        owner.execute(lie)
        with pytest.raises(
            psycopg.errors.IntegrityError, match=r"not what was posted|not those of its receipts"
        ):
            owner.execute(
                "insert into market_monthclose select (%s::market_monthclose).*",
                [_row_of(done)],
            )


def _row_of(done: MonthClose) -> tuple[Any, ...]:
    return tuple(getattr(done, field.attname) for field in MonthClose._meta.concrete_fields)


@pytest.mark.parametrize(
    "statement",
    [
        "update market_bill set total_micros = 0",
        "delete from market_bill",
        "update market_statement set net_micros = 0",
        "update market_monthclose set bills = 0",
        _another("market_receipt", "organisation_id"),
        _another("market_bill", "organisation_id"),
        _another("market_statement", "supplier_id"),
    ],
)
def test_a_closed_month_stays_as_it_is(world: World, operator: Actor, statement: str) -> None:
    bought(world, key="k")
    close(operator)
    before = rows_now(), counted()
    with pytest.raises(DatabaseError, match=r"is closed|permission denied|append-only"), transaction.atomic():
        execute(statement)
    assert (rows_now(), counted()) == before


# payouts


def test_a_supplier_is_paid_by_two_persons_and_once(world: World, operator: Actor, checker: Actor) -> None:
    bought(world, key="k")
    close(operator)
    statement = Statement.objects.get()
    payout = services.pay_statement(
        actor=operator, statement_id=statement.id, bank_reference="T-1", now=APRIL
    )
    assert figures("payable", world.supplier.id)[0] == payout.amount_micros == statement.net_micros > 0
    for reference in ("T-1", "T-2"):
        refused_alike(
            PaidBefore,
            lambda reference=reference: services.pay_statement(
                actor=operator, statement_id=statement.id, bank_reference=reference, now=APRIL
            ),
        )
    refused_alike(Forbidden, lambda: ledger.confirm_payout(actor=operator, payout_id=payout.id, now=APRIL))
    ledger.confirm_payout(actor=checker, payout_id=payout.id, now=APRIL)
    ledger.confirm_payout(actor=checker, payout_id=payout.id, now=APRIL)
    assert figures("payable", world.supplier.id)[0] == 0
    assert ledger_sum() == 0


def test_the_same_person_does_not_pay_alone(world: World, operator: Actor) -> None:
    bought(world, key="k")
    close(operator)
    both = make_actor("both", HubRole.OPERATOR, HubRole.CHECKER)
    payout = services.pay_statement(
        actor=both, statement_id=Statement.objects.get().id, bank_reference="T-1", now=APRIL
    )
    refused_alike(SamePerson, lambda: ledger.confirm_payout(actor=both, payout_id=payout.id, now=APRIL))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "select * from ledger_confirm_payout(gen_random_uuid(), %s, %s, now())", [payout.id, both.id]
        )


def test_a_rejected_payout_leaves_the_statement_to_be_paid(
    world: World, operator: Actor, checker: Actor
) -> None:
    bought(world, key="k")
    close(operator)
    statement = Statement.objects.get()
    first = services.pay_statement(actor=operator, statement_id=statement.id, bank_reference="T-1", now=APRIL)
    refused_alike(
        Invalid, lambda: ledger.reject_payout(actor=checker, payout_id=first.id, why=" ", now=APRIL)
    )
    ledger.reject_payout(actor=checker, payout_id=first.id, why="Wrong account.", now=APRIL)
    again = services.pay_statement(actor=operator, statement_id=statement.id, bank_reference="T-2", now=APRIL)
    ledger.confirm_payout(actor=checker, payout_id=again.id, now=APRIL)
    assert figures("payable", world.supplier.id)[0] == 0


# credit notes


def test_a_correction_is_a_credit_note_of_the_next_month(
    world: World, operator: Actor, checker: Actor
) -> None:
    receipt = bought(world, key="k")
    refused_alike(MonthOpen, lambda: propose(operator, receipt.id, 1 * YUAN))
    close(operator)
    frozen = Bill.objects.get()
    before = figures("balance", world.buyer.id)[0]
    note = propose(operator, receipt.id, 1 * YUAN)
    refused_alike(Forbidden, lambda: issue(operator, note))
    note = issue(checker, note)
    assert issue(checker, note).number == note.number == "C-2026-000001"
    assert figures("balance", world.buyer.id)[0] == before + 1 * YUAN
    may = datetime.fromisoformat("2026-05-01T02:00+08:00")
    close(operator, date(2026, 4, 1), now=may)
    bill, statement = Bill.objects.get(month=date(2026, 4, 1)), Statement.objects.get(month=date(2026, 4, 1))
    assert (bill.credits_micros, bill.due_micros, bill.content["credit_notes"]) == (
        1 * YUAN,
        -1 * YUAN,
        [note.number],
    )
    assert (statement.credits_micros, statement.net_micros) == (1 * YUAN, -1 * YUAN)
    frozen_again = Bill.objects.get(id=frozen.id)
    assert frozen_again.content == frozen.content
    assert ledger_sum() == 0


def test_the_hub_bears_what_the_supplier_no_longer_has(world: World, operator: Actor, checker: Actor) -> None:
    receipt = bought(world, key="k")
    close(operator)
    payout = services.pay_statement(
        actor=operator, statement_id=Statement.objects.get().id, bank_reference="T-1", now=APRIL
    )
    ledger.confirm_payout(actor=checker, payout_id=payout.id, now=APRIL)
    note = propose(operator, receipt.id, 1 * YUAN)
    refused_alike(InsufficientFunds, lambda: issue(checker, note))
    refused_alike(
        Invalid,
        lambda: services.reject_credit_note(actor=checker, credit_note_id=note.id, why=" ", now=APRIL),
    )
    services.reject_credit_note(actor=checker, credit_note_id=note.id, why="Paid out.", now=APRIL)
    issue(checker, propose(operator, receipt.id, 1 * YUAN, borne_by=BorneBy.HUB))
    assert figures("credit", ledger.HUB_ID)[0] == -1 * YUAN
    assert ledger_sum() == 0


def test_no_more_is_given_back_than_was_paid_here(world: World, operator: Actor, checker: Actor) -> None:
    receipt = bought(world, key="k")
    close(operator)
    paid = Bill.objects.get().paid_micros
    issue(checker, propose(operator, receipt.id, paid))
    refused_alike(MoreThanPaid, lambda: propose(operator, receipt.id, 10_000))
    assert figures("balance", world.buyer.id)[0] == 100 * YUAN


PROPOSED = (
    "insert into market_creditnote (id, receipt_id, organisation_id, supplier_id, amount_micros, currency, borne_by,"
    " why, state, maker_id, proposed_at) select gen_random_uuid(), r.id, {organisation}, {supplier}, {amount},"
    " {currency}, 'hub', 'x', {state}, %s, now() from market_receipt r"
)


def proposed(**changes: str) -> str:
    """A credit note written around the service."""
    given = {
        "organisation": "r.organisation_id",
        "supplier": "(select f.supplier_id from market_order o join market_offer f on f.id = o.offer_id"
        " where o.id = r.order_id)",
        "amount": "10000",
        "currency": "'CNY'",
        "state": "'proposed'",
    }
    return PROPOSED.format(**given | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"organisation": "(select id from platform_organisation where id <> r.organisation_id limit 1)"},
        {"supplier": "r.organisation_id"},
        {"currency": "'USD'"},
        {"state": "'issued'"},
        {"amount": "-10000"},
    ],
)
def test_a_credit_note_is_of_its_receipt_whoever_writes_it(
    world: World, operator: Actor, changes: dict[str, str]
) -> None:
    bought(world, key="k")
    close(operator)
    with pytest.raises(IntegrityError), transaction.atomic():
        execute(proposed(**changes), [operator.id])
    assert not CreditNote.objects.exists()


def test_what_is_issued_around_the_service_stays_within_what_was_paid(
    world: World, operator: Actor, checker: Actor
) -> None:
    """Of two notes that together exceed it, the database issues one; nor is a number or amount changed by hand."""
    bought(world, key="k")
    close(operator)
    paid = Bill.objects.get().paid_micros
    for _ in range(2):
        execute(proposed(amount=str(paid)), [operator.id])
    first, second = CreditNote.objects.order_by("id")
    for note in (first, second):
        record_audit(
            actor=operator, action="test", subject_id=note.id, before=None, after=note.state, now=APRIL
        )
    issue(checker, first)
    before = rows_now()
    with pytest.raises(IntegrityError, match="more than was paid"), transaction.atomic():
        execute(
            "select market_issue_credit_note(gen_random_uuid(), %s, %s, 'C-x', %s)",
            [second.id, checker.id, APRIL],
        )
    for change in (
        "amount_micros = 1",
        "number = 'C-1'",
        "entry_id = gen_random_uuid()",
        "organisation_id = supplier_id",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
            execute(f"update market_creditnote set {change}")
    with pytest.raises(IntegrityError), transaction.atomic():
        execute(
            "update market_creditnote set state = 'issued', checker_id = %s, decided_at = now() where id = %s",
            [checker.id, second.id],
        )
    assert rows_now() == before


def propose(
    actor: Actor, receipt_id: Any, amount: int, *, borne_by: BorneBy = BorneBy.SUPPLIER
) -> CreditNote:
    return services.propose_credit_note(
        actor=actor,
        receipt_id=receipt_id,
        amount_micros=amount,
        borne_by=borne_by,
        why="Metered twice.",
        now=APRIL,
    )


def issue(actor: Actor, note: CreditNote) -> CreditNote:
    return services.issue_credit_note(actor=actor, credit_note_id=note.id, now=APRIL)


def refused_alike(refusal: type[DomainError], call: Any) -> None:
    """Refused, and nothing changed."""
    before = rows_now()
    with pytest.raises(refusal):
        call()
    assert rows_now() == before
