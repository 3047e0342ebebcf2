"""Claims: the refund that a settled order earned, asked for once, approved by one person, paid by another."""

import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.ledger.services import lock_accounts, open_account
from mosu.platform.actors import Actor
from mosu.platform.policy import person_of, require
from mosu.platform.services import two_persons
from mosu.subsidies.models import Claim, Disbursement, Redemption
from mosu.subsidies.rules import ClaimState, RedemptionState
from mosu.subsidies.services.redemptions import accounts_of_order, give_back, look_after, take
from mosu.subsidies.services.states import move, record_birth

EVIDENCE_MAX = 20


class NothingToClaim(DomainError):
    """The order earned no refund, or the time to claim it is over."""

    code = "nothing_to_claim"


class ClaimedBefore(DomainError):
    """The order has a claim: an order is claimed once."""

    code = "claimed_before"


@transaction.atomic(durable=True)
def submit_claim(*, actor: Actor, order_id: UUID, evidence: Sequence[str], now: datetime) -> Claim:
    """A claim for all refunds of one settled order. `evidence`: sha256 of receipt, invoice, delivery certificate.

    Raises:
        NothingToClaim: no refund is due, or the time to claim is over.
        ClaimedBefore: the order was claimed.
        Invalid: no evidence, or not sha256 digests.
    """
    _check_evidence(evidence)
    # The accounts' locks keep the refunds from lapsing while they are claimed.
    lock_accounts(accounts_of_order(order_id))
    due = _due(order_id)
    if due:
        require(actor, "voucher.apply", due[0].voucher.organisation_id)
    due = [one for one in due if one.claim_by and one.claim_by > now]
    if Claim.objects.filter(order_id=order_id, organisation_id__in=actor.organisation_ids).exists():
        raise ClaimedBefore("This order has a claim.", hint="See GET /api/v1/claims.")
    if not due:
        raise NothingToClaim(
            "This order has no refund that can be claimed now.",
            hint="A refund is due from the order's settlement to the end of its programme's claim period.",
        )
    claim, fresh = Claim.objects.get_or_create(
        order_id=order_id,
        defaults={
            "organisation_id": due[0].voucher.organisation_id,
            "amount_micros": sum(one.amount_micros or 0 for one in due),
            "evidence": list(evidence),
            "claimant_id": person_of(actor),
            "submitted_at": now,
        },
    )
    if not fresh:
        raise ClaimedBefore("This order has a claim.", hint="See GET /api/v1/claims.")
    record_birth(claim, actor=actor, now=now)
    return claim


@transaction.atomic(durable=True)
def approve_claim(*, actor: Actor, claim_id: UUID, now: datetime) -> Claim:
    """The claim, its evidence checked by the maker; no money moves until a checker disburses it.

    Raises:
        IllegalMove: it was decided.
        NotFound: no such claim.
    """
    require(actor, "voucher.issue")
    claim = _locked(claim_id)
    move(claim, to=ClaimState.APPROVED, actor=actor, now=now, maker_id=person_of(actor), decided_at=now)
    return claim


@transaction.atomic(durable=True)
def reject_claim(*, actor: Actor, claim_id: UUID, why: str, now: datetime) -> Claim:
    """The claim, refused with a reason: what was held for it returns to its vouchers and caps.

    Raises:
        IllegalMove: it was disbursed or rejected.
        NotFound: no such claim.
    """
    require(actor, "voucher.issue")
    claim = _locked(claim_id)
    lock_accounts(accounts_of_order(claim.order_id))
    move(claim, to=ClaimState.REJECTED, actor=actor, now=now, why=why, decided_at=now)
    for redemption in _due(claim.order_id):
        give_back(redemption, now=now, why="its claim was rejected")
    return claim


@transaction.atomic(durable=True)
def disburse_claim(*, actor: Actor, claim_id: UUID, now: datetime) -> Claim:
    """The claim paid: from each voucher's hold to the organisation's balance. Repeating it returns the same.

    Raises:
        SamePerson: the actor approved it.
        IllegalMove: it is not approved.
        NotFound: no such claim.
    """
    require(actor, "voucher.release")
    claim = _locked(claim_id)
    if claim.state == ClaimState.DISBURSED:
        return claim
    if claim.state == ClaimState.APPROVED:  # from any other, the move below is refused
        two_persons(claim.maker_id, person_of(actor))
    balance = open_account(
        kind="balance", owner_id=claim.organisation_id, currency=settings.HUB_CURRENCY, floor_micros=0
    )
    lock_accounts([balance, *accounts_of_order(claim.order_id)])
    move(claim, to=ClaimState.DISBURSED, actor=actor, now=now, checker_id=actor.id, decided_at=now)
    for redemption in _due(claim.order_id):
        _disburse(claim, redemption, balance_id=balance, actor=actor, now=now)
    return claim


def _disburse(claim: Claim, redemption: Redemption, *, balance_id: UUID, actor: Actor, now: datetime) -> None:
    amount = redemption.amount_micros or 0
    entry = take(redemption, destination_id=balance_id, amount_micros=amount, now=now)
    move(redemption, to=RedemptionState.CAPTURED, actor=actor, now=now, why="its claim was disbursed")
    look_after(redemption.voucher, now=now)
    Disbursement.objects.create(
        claim=claim, redemption=redemption, amount_micros=amount, entry_id=entry, disbursed_at=now
    )


def lapse_refunds(*, now: datetime) -> int:
    """How many orders' unclaimed refunds lapsed: what was held for them is free again. For the nightly task."""
    orders = (
        Redemption.objects.filter(state=RedemptionState.DUE, claim_by__lte=now)
        .exclude(order_id__in=Claim.objects.values("order_id"))
        .order_by("order_id")
        .values_list("order_id", flat=True)
        .distinct()
    )
    return sum(_lapse(order_id, now=now) for order_id in list(orders))


@transaction.atomic(durable=True)
def _lapse(order_id: UUID, *, now: datetime) -> bool:
    lock_accounts(accounts_of_order(order_id))
    if Claim.objects.filter(order_id=order_id).exists():
        return False
    due = _due(order_id)
    for redemption in due:
        if redemption.claim_by and redemption.claim_by <= now:
            give_back(redemption, now=now, why="it was not claimed in time")
    return bool(due)


def _due(order_id: UUID) -> list[Redemption]:
    return list(
        Redemption.objects.filter(order_id=order_id, state=RedemptionState.DUE)
        .select_related("voucher__version__programme", "cap")
        .order_by("position")
    )


def _locked(claim_id: UUID) -> Claim:
    claim = Claim.objects.select_for_update(no_key=True).filter(id=claim_id).first()
    if claim is None:
        raise NotFound("There is no such claim.", hint="See GET /api/v1/claims.")
    return claim


def _check_evidence(evidence: Sequence[str]) -> None:
    sound = 0 < len(evidence) <= EVIDENCE_MAX and all(re.fullmatch(r"[0-9a-f]{64}", one) for one in evidence)
    if not sound:
        raise Invalid(
            "A claim stands on evidence.",
            hint=f"Send 1 to {EVIDENCE_MAX} sha256 digests in hex: of the receipt, the invoice, the delivery.",
            field="evidence",
            found=len(evidence),
        )
