"""Money out to suppliers: one person enters the bank's transfer, another confirms it, and only then it is booked."""

from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.ledger.models import Payout, PayoutState
from mosu.ledger.services.entries import confirm_payout_entry
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.platform.services import emit, record_audit, two_persons

_MOVES: Final = MappingProxyType(
    {PayoutState.PROPOSED: frozenset({PayoutState.CONFIRMED, PayoutState.REJECTED})}
)


class PaidBefore(DomainError):
    """The subject has a payout, or the bank's transfer was entered before."""

    code = "paid_before"


@transaction.atomic
def propose_payout(
    *,
    actor: Actor,
    organisation_id: UUID,
    subject_id: UUID,
    amount_micros: int,
    currency: str,
    bank_reference: str,
    now: datetime,
) -> Payout:
    """A payout that waits for its second person; no money moves yet. For the context that knows the subject.

    Raises:
        Forbidden: not an operator, or not a person.
        Invalid: the reference is empty or too long.
        PaidBefore: the subject has a payout that was not rejected, or the transfer was entered before.
    """
    require(actor, "payout.propose")
    reference = bank_reference.strip()
    if not 1 <= len(reference) <= 100:
        raise Invalid(
            "A payout needs the bank's reference, of at most 100 characters.",
            hint="Copy it from the bank's statement.",
            field="bank_reference",
        )
    live = Payout.objects.exclude(state=PayoutState.REJECTED).filter(subject_id=subject_id)
    if live.exists() or Payout.objects.filter(bank_reference=reference).exists():
        raise PaidBefore(
            "This was paid, or this transfer was entered before.", hint="See the settlement statements."
        )
    payout = Payout.objects.create(
        organisation_id=organisation_id,
        subject_id=subject_id,
        amount_micros=amount_micros,
        currency=currency,
        bank_reference=reference,
        maker_id=person_of(actor),
        proposed_at=now,
    )
    _audit(payout, actor=actor, before=None, now=now)
    return payout


@transaction.atomic(durable=True)
def confirm_payout(*, actor: Actor, payout_id: UUID, now: datetime) -> Payout:
    """The payout, booked from the supplier's payable to the bank. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor entered it.
        NotFound: no such payout.
        IllegalMove: it was rejected.
        InsufficientFunds: the hub owes the supplier less by now.
    """
    require(actor, "payout.confirm")
    payout = _locked(payout_id)
    if payout.state == PayoutState.CONFIRMED:
        return payout
    _check(payout, actor=actor, to=PayoutState.CONFIRMED)
    confirm_payout_entry(payout_id=payout.id, checker_id=actor.id, now=now)
    payout.refresh_from_db()
    _audit(payout, actor=actor, before=PayoutState.PROPOSED, now=now)
    emit(
        name="ledger.payout_confirmed",
        subject_id=payout.id,
        payload={"amount_micros": payout.amount_micros, "currency": payout.currency},
        now=now,
        organisation_id=payout.organisation_id,
    )
    return payout


@transaction.atomic(durable=True)
def reject_payout(*, actor: Actor, payout_id: UUID, why: str, now: datetime) -> Payout:
    """The payout, refused for good; its subject can be paid by another. Repeating it changes nothing.

    Raises:
        Forbidden: not a checker.
        SamePerson: the actor entered it.
        NotFound: no such payout.
        Invalid: no reason was given.
        IllegalMove: it was confirmed.
    """
    require(actor, "payout.confirm")
    if not why.strip():
        raise Invalid("A rejection needs a reason.", hint="Say what is wrong.", field="why")
    payout = _locked(payout_id)
    if payout.state == PayoutState.REJECTED:
        return payout
    _check(payout, actor=actor, to=PayoutState.REJECTED)
    payout.state, payout.checker_id, payout.decided_at = PayoutState.REJECTED, actor.id, now
    payout.save(update_fields=["state", "checker", "decided_at"])
    _audit(payout, actor=actor, before=PayoutState.PROPOSED, now=now, why=why.strip())
    return payout


def _locked(payout_id: UUID) -> Payout:
    payout = Payout.objects.select_for_update().filter(id=payout_id).first()
    if payout is None:
        raise NotFound("There is no such payout.", hint="See the settlement statements.")
    return payout


def _check(payout: Payout, *, actor: Actor, to: PayoutState) -> None:
    check_move(_MOVES, what=f"Payout {payout.public_id}", now=PayoutState(payout.state), to=to)
    two_persons(payout.maker_id, actor.id)


def _audit(payout: Payout, *, actor: Actor, before: str | None, now: datetime, why: str = "") -> None:
    record_audit(
        actor=actor,
        action=f"payout.{payout.state}",
        subject_id=payout.id,
        before=before,
        after=payout.state,
        now=now,
        organisation_id=payout.organisation_id,
        why=why,
        facts={"amount_micros": payout.amount_micros, "bank_reference": payout.bank_reference},
    )
