"""Money in, and money in that is given back: one person enters it, another confirms it, and only then it moves."""

from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction

from mosu.kernel.money import MICROS_MAX, decimal_of, rounded
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import IllegalMove, check_move
from mosu.ledger.models import Deposit, DepositState
from mosu.ledger.services.entries import confirm_deposit_entry, confirm_refund_entry
from mosu.platform.actors import Actor, Role
from mosu.platform.models import Organisation
from mosu.platform.policy import person_of, require
from mosu.platform.services import emit, members_of, notify, record_audit, two_persons

_MOVES: Final = MappingProxyType(
    {
        DepositState.PROPOSED: frozenset({DepositState.CONFIRMED, DepositState.REJECTED}),
        DepositState.CONFIRMED: frozenset({DepositState.REFUNDING}),
        DepositState.REFUNDING: frozenset({DepositState.REFUNDED, DepositState.CONFIRMED}),
    }
)


class BankReferenceKnown(DomainError):
    """A deposit with this bank reference was entered before."""

    code = "bank_reference_known"


@transaction.atomic(durable=True)
def propose_deposit(
    *, actor: Actor, organisation_id: UUID, amount_micros: int, bank_reference: str, now: datetime
) -> Deposit:
    """A deposit that waits for its second person; no money moves yet.

    Raises:
        Forbidden: not an operator, or not a person.
        Invalid: the amount is not positive or finer than the currency, or the reference is empty or too long.
        NotFound: no such organisation.
        BankReferenceKnown: this transfer was entered before.
    """
    require(actor, "deposit.propose")
    reference = bank_reference.strip()
    if not 1 <= len(reference) <= 100:
        raise Invalid(
            "A deposit needs the bank's reference, of at most 100 characters.",
            hint="Copy it from the bank's statement.",
            field="bank_reference",
        )
    currency = settings.HUB_CURRENCY
    if not 0 < amount_micros <= MICROS_MAX or rounded(amount_micros, currency=currency) != amount_micros:
        raise Invalid(
            f"The amount must be positive and in whole minor units of {currency}.",
            hint='Write what the bank shows, such as "5000.00".',
            field="amount",
        )
    if not Organisation.objects.filter(id=organisation_id).exists():
        raise NotFound("There is no such organisation.", hint="See GET /api/v1/organisations.")
    deposit, fresh = Deposit.objects.get_or_create(
        bank_reference=reference,
        defaults={
            "organisation_id": organisation_id,
            "amount_micros": amount_micros,
            "currency": currency,
            "maker_id": person_of(actor),
            "proposed_at": now,
        },
    )
    if not fresh:
        raise BankReferenceKnown(
            f"The transfer {reference!r} was entered before.",
            hint="See the list of deposits.",
            deposit_id=deposit.public_id,
        )
    _audit(deposit, actor=actor, before=None, now=now)
    return deposit


@transaction.atomic(durable=True)
def confirm_deposit(*, actor: Actor, deposit_id: UUID, now: datetime) -> Deposit:
    """The deposit, its money now on the organisation's balance. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor entered it.
        NotFound: no such deposit.
        IllegalMove: it was rejected.
    """
    require(actor, "deposit.confirm")
    deposit = _locked(deposit_id)
    if deposit.state == DepositState.CONFIRMED:
        return deposit
    _check_decision(deposit, actor=actor, to=DepositState.CONFIRMED)
    confirm_deposit_entry(deposit_id=deposit.id, checker_id=actor.id, now=now)
    deposit.refresh_from_db()
    _audit(deposit, actor=actor, before=DepositState.PROPOSED, now=now)
    emit(
        name="ledger.deposit_confirmed",
        subject_id=deposit.id,
        payload={"amount_micros": deposit.amount_micros, "currency": deposit.currency},
        now=now,
        organisation_id=deposit.organisation_id,
    )
    _tell(deposit, now=now)
    return deposit


@transaction.atomic(durable=True)
def reject_deposit(*, actor: Actor, deposit_id: UUID, why: str, now: datetime) -> Deposit:
    """The deposit, refused for good. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor entered it.
        Invalid: no reason was given.
        NotFound: no such deposit.
        IllegalMove: it was confirmed.
    """
    require(actor, "deposit.confirm")
    if not why.strip():
        raise Invalid("A rejection needs a reason.", hint="Say what is wrong.", field="why")
    deposit = _locked(deposit_id)
    if deposit.state == DepositState.REJECTED:
        return deposit
    _check_decision(deposit, actor=actor, to=DepositState.REJECTED)
    deposit.state, deposit.checker_id, deposit.decided_at = DepositState.REJECTED, actor.id, now
    deposit.save(update_fields=["state", "checker", "decided_at"])
    _audit(deposit, actor=actor, before=DepositState.PROPOSED, now=now, why=why.strip())
    return deposit


@transaction.atomic(durable=True)
def propose_refund(*, actor: Actor, deposit_id: UUID, why: str, now: datetime) -> Deposit:
    """The deposit, to be given back once a second person confirms; the money stays where it is until then.

    Raises:
        Forbidden: not an operator.
        Invalid: no reason was given.
        NotFound: no such deposit.
        IllegalMove: it was not confirmed, or is being refunded already.
    """
    require(actor, "deposit.propose")
    if not 1 <= len(why.strip()) <= 1000:
        raise Invalid("A refund needs a reason.", hint="Say why, in up to 1000 characters.", field="why")
    deposit = _locked(deposit_id)
    deposit.refund_maker_id, deposit.refund_why = person_of(actor), why.strip()
    _move_refund(deposit, actor=actor, to=DepositState.REFUNDING, now=now)
    return deposit


@transaction.atomic(durable=True)
def confirm_refund(*, actor: Actor, deposit_id: UUID, now: datetime) -> Deposit:
    """The deposit, given back by the reversal of its entry. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor asked for the refund.
        InsufficientFunds: the organisation has spent or holds part of it.
        NotFound: no such deposit.
        IllegalMove: nobody asked for its refund.
    """
    require(actor, "deposit.confirm")
    deposit = _locked(deposit_id)
    if deposit.state == DepositState.REFUNDED:
        return deposit
    _check_refund(deposit, actor=actor, to=DepositState.REFUNDED)
    confirm_refund_entry(deposit_id=deposit.id, checker_id=actor.id, now=now)
    deposit.refresh_from_db()
    _audit(deposit, actor=actor, before=DepositState.REFUNDING, now=now, why=deposit.refund_why)
    return deposit


@transaction.atomic(durable=True)
def decline_refund(*, actor: Actor, deposit_id: UUID, why: str, now: datetime) -> Deposit:
    """The deposit, not given back after all.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor asked for the refund.
        Invalid: no reason was given.
        NotFound: no such deposit.
        IllegalMove: nobody asked for its refund.
    """
    require(actor, "deposit.confirm")
    if not why.strip():
        raise Invalid("A rejection needs a reason.", hint="Say what is wrong.", field="why")
    deposit = _locked(deposit_id)
    _check_refund(deposit, actor=actor, to=DepositState.CONFIRMED)
    deposit.refund_maker_id, deposit.refund_why = None, ""
    _move_refund(deposit, actor=actor, to=DepositState.CONFIRMED, now=now, why=why.strip())
    return deposit


def _check_refund(deposit: Deposit, *, actor: Actor, to: DepositState) -> None:
    if deposit.state != DepositState.REFUNDING:
        raise IllegalMove(
            f"Deposit {deposit.public_id} is {deposit.state}; nobody asked for its refund.",
            hint="Ask for it first: POST /deposits/{id}/refund.",
            now=deposit.state,
            to=to,
        )
    two_persons(deposit.refund_maker_id, actor.id)


def _move_refund(deposit: Deposit, *, actor: Actor, to: DepositState, now: datetime, why: str = "") -> None:
    before = deposit.state
    check_move(_MOVES, what=f"Deposit {deposit.public_id}", now=DepositState(before), to=to)
    deposit.state = to
    deposit.save(update_fields=["state", "refund_maker", "refund_why"])
    _audit(deposit, actor=actor, before=before, now=now, why=why or deposit.refund_why)


def _locked(deposit_id: UUID) -> Deposit:
    deposit = Deposit.objects.select_for_update().filter(id=deposit_id).first()
    if deposit is None:
        raise NotFound("There is no such deposit.", hint="See GET /api/v1/deposits.")
    return deposit


def _check_decision(deposit: Deposit, *, actor: Actor, to: DepositState) -> None:
    check_move(_MOVES, what=f"Deposit {deposit.public_id}", now=DepositState(deposit.state), to=to)
    two_persons(deposit.maker_id, actor.id)


def _tell(deposit: Deposit, *, now: datetime) -> None:
    amount = f"{decimal_of(deposit.amount_micros, currency=deposit.currency)} {deposit.currency}"
    notify(
        user_ids=members_of(deposit.organisation_id, roles=[Role.OWNER, Role.FINANCE]),
        kind="deposit.confirmed",
        title={"zh": f"充值到账:{amount}", "en": f"Deposit received: {amount}"},
        body={
            "zh": f"银行流水号 {deposit.bank_reference} 的充值已计入余额。",
            "en": f"The transfer {deposit.bank_reference} is now on your balance.",
        },
        now=now,
        subject_id=deposit.id,
        organisation_id=deposit.organisation_id,
        link="/money/deposits/",
    )


def _audit(deposit: Deposit, *, actor: Actor, before: str | None, now: datetime, why: str = "") -> None:
    record_audit(
        actor=actor,
        action=f"deposit.{deposit.state}",
        subject_id=deposit.id,
        before=before,
        after=deposit.state,
        now=now,
        organisation_id=deposit.organisation_id,
        why=why,
        facts={"amount_micros": deposit.amount_micros, "bank_reference": deposit.bank_reference},
    )
