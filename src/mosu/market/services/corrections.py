"""After the close: suppliers are paid by statement, and what was wrong is given back by a credit note."""

from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Sum

from mosu.kernel.ids import uuid7
from mosu.kernel.money import decimal_of, micros_of, rounded
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.kernel.time import year_in
from mosu.ledger import services as ledger
from mosu.ledger.models import Payout
from mosu.ledger.services import refuse_entry
from mosu.market.hub import hub_zone
from mosu.market.models import BorneBy, CreditNote, CreditNoteState, MonthClose, Receipt, SoldBy, Statement
from mosu.market.services.orders import locked_order
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.platform.services import emit, record_audit, two_persons

_MOVES: Final = MappingProxyType(
    {CreditNoteState.PROPOSED: frozenset({CreditNoteState.ISSUED, CreditNoteState.REJECTED})}
)


class NothingToPay(DomainError):
    """The statement leaves nothing that the hub owes."""

    code = "nothing_to_pay"


class MonthOpen(DomainError):
    """The receipt's month is not closed: what is wrong in it is no matter of a credit note yet."""

    code = "month_open"


class MoreThanPaid(DomainError):
    """Credit notes give back no more than the buyer paid here for the receipt."""

    code = "more_than_paid"


@transaction.atomic(durable=True)
def pay_statement(*, actor: Actor, statement_id: UUID, bank_reference: str, now: datetime) -> Payout:
    """A payout of the statement's net that waits for its second person (`ledger.confirm_payout`).

    Raises:
        Forbidden: not an operator.
        NotFound: no such statement.
        NothingToPay: its net is nothing, or less.
        PaidBefore: it has a payout, or the transfer was entered before.
    """
    require(actor, "payout.propose")
    statement = Statement.objects.filter(id=statement_id).first()
    if statement is None:
        raise NotFound("There is no such statement.", hint="See the settlement statements.")
    if statement.net_micros <= 0:
        raise NothingToPay(
            f"The net of {statement.number} is {decimal_of(statement.net_micros)}.", hint="Nothing is due."
        )
    with connection.cursor() as cursor:  # one at a time: a statement, frozen, is no row that can be locked
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [statement.public_id])
    return ledger.propose_payout(
        actor=actor,
        organisation_id=statement.supplier_id,
        subject_id=statement.id,
        amount_micros=statement.net_micros,
        currency=statement.currency,
        bank_reference=bank_reference,
        now=now,
    )


@transaction.atomic(durable=True)
def propose_credit_note(
    *, actor: Actor, receipt_id: UUID, amount_micros: int, borne_by: BorneBy, why: str, now: datetime
) -> CreditNote:
    """A credit note that waits for its second person; no money moves yet.

    Raises:
        Forbidden: not an operator.
        NotFound: no such receipt.
        MonthOpen: its month is not closed.
        MoreThanPaid: with the notes before it, more than the buyer paid here.
        Invalid: no reason, or an amount that is not positive or too fine.
    """
    require(actor, "credit.propose")
    receipt = Receipt.objects.select_related("order__offer").filter(id=receipt_id).first()
    if receipt is None:
        raise NotFound("There is no such receipt.", hint="See GET /api/v1/receipts.")
    reason = why.strip()
    if not 1 <= len(reason) <= 1000:
        raise Invalid("A credit note says why.", hint="Say what was wrong.", field="why")
    currency = receipt.content["currency"]
    if amount_micros <= 0 or rounded(amount_micros, currency=currency) != amount_micros:
        raise Invalid(
            f"The amount must be positive and in whole minor units of {currency}.",
            hint='Such as "12.50".',
            field="amount",
        )
    locked_order(receipt.order_id)  # two notes of one receipt take turns
    _check_amount(receipt, amount_micros)
    note = CreditNote.objects.create(
        receipt=receipt,
        organisation_id=receipt.organisation_id,
        supplier_id=receipt.order.offer.supplier_id,
        amount_micros=amount_micros,
        currency=currency,
        borne_by=borne_by,
        why=reason,
        maker_id=person_of(actor),
        proposed_at=now,
    )
    _audit(note, actor=actor, before=None, now=now)
    return note


def _check_amount(receipt: Receipt, amount_micros: int) -> None:
    if not MonthClose.objects.filter(
        ends_at__gt=receipt.issued_at, starts_at__lte=receipt.issued_at
    ).exists():
        raise MonthOpen("The receipt's month is not closed.", hint="Close the month first.")
    by_hub = receipt.content["billed_by"] == SoldBy.HUB
    paid = micros_of(receipt.content["paid"]) if by_hub else 0
    notes = CreditNote.objects.filter(receipt=receipt).exclude(state=CreditNoteState.REJECTED)
    given = int(notes.aggregate(sum=Sum("amount_micros"))["sum"] or 0)
    if amount_micros + given > paid:
        raise MoreThanPaid(
            f"Only {decimal_of(paid - given)} of what was paid here is left to give back.",
            hint="Vouchers' parts and what suppliers bill themselves are not given back here.",
            field="amount",
        )


@transaction.atomic(durable=True)
def issue_credit_note(*, actor: Actor, credit_note_id: UUID, now: datetime) -> CreditNote:
    """The credit note, numbered, its money on the buyer's balance. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor proposed it.
        NotFound: no such credit note.
        IllegalMove: it was rejected.
        InsufficientFunds: the hub owes the supplier, who bears it, less by now.
    """
    require(actor, "credit.issue")
    note = _locked(credit_note_id)
    if note.state == CreditNoteState.ISSUED:
        return note
    _check(note, actor=actor, to=CreditNoteState.ISSUED)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('market.credit_note'))")  # numbers without gaps
        year = year_in(hub_zone(), now)
        issued = CreditNote.objects.filter(number__startswith=f"C-{year}-").count()
        cursor.execute(
            "select refusal, account, available from market_issue_credit_note(%s, %s, %s, %s, %s)",
            [uuid7(), note.id, actor.id, f"C-{year}-{issued + 1:06d}", now],
        )
        refusal, account, available = cursor.fetchone()
    if refusal is not None:
        refuse_entry(refusal, account=account, available=available)
    note.refresh_from_db()
    _audit(note, actor=actor, before=CreditNoteState.PROPOSED, now=now)
    emit(
        name="market.credit_note_issued",
        subject_id=note.id,
        payload={"number": note.number, "amount_micros": note.amount_micros},
        now=now,
        organisation_id=note.organisation_id,
    )
    return note


@transaction.atomic(durable=True)
def reject_credit_note(*, actor: Actor, credit_note_id: UUID, why: str, now: datetime) -> CreditNote:
    """The credit note, refused for good. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor proposed it.
        NotFound: no such credit note.
        Invalid: no reason was given.
        IllegalMove: it was issued.
    """
    require(actor, "credit.issue")
    if not why.strip():
        raise Invalid("A rejection needs a reason.", hint="Say what is wrong.", field="why")
    note = _locked(credit_note_id)
    if note.state == CreditNoteState.REJECTED:
        return note
    _check(note, actor=actor, to=CreditNoteState.REJECTED)
    note.state, note.checker_id, note.decided_at = CreditNoteState.REJECTED, actor.id, now
    note.save(update_fields=["state", "checker", "decided_at"])
    _audit(note, actor=actor, before=CreditNoteState.PROPOSED, now=now, why=why.strip())
    return note


def _locked(credit_note_id: UUID) -> CreditNote:
    note = CreditNote.objects.select_for_update().filter(id=credit_note_id).first()
    if note is None:
        raise NotFound("There is no such credit note.", hint="See the bill of its month.")
    return note


def _check(note: CreditNote, *, actor: Actor, to: CreditNoteState) -> None:
    check_move(_MOVES, what=f"Credit note {note.public_id}", now=CreditNoteState(note.state), to=to)
    two_persons(note.maker_id, actor.id)


def _audit(note: CreditNote, *, actor: Actor, before: str | None, now: datetime, why: str = "") -> None:
    record_audit(
        actor=actor,
        action=f"credit_note.{note.state}",
        subject_id=note.id,
        before=before,
        after=note.state,
        now=now,
        organisation_id=note.organisation_id,
        why=why or note.why,
        facts={"amount_micros": note.amount_micros, "borne_by": note.borne_by},
    )
