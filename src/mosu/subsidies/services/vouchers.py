"""Vouchers released by a second person, taken back, expired by the clock; trials issued by rule."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from mosu.kernel.refusals import NotFound
from mosu.ledger.queries import balance_of
from mosu.ledger.services import (
    InsufficientFunds,
    Move,
    lock_accounts,
    open_account,
    post_entry,
)
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.policy import person_of, require
from mosu.platform.services import two_persons
from mosu.subsidies import queries
from mosu.subsidies.models import Voucher
from mosu.subsidies.rules import (
    VoucherState,
)
from mosu.subsidies.services.issuing import Ineligible, issued
from mosu.subsidies.services.programmes import pool_account
from mosu.subsidies.services.states import move


@transaction.atomic(durable=True)
def release_voucher(*, actor: Actor, voucher_id: UUID, now: datetime) -> Voucher:
    """The voucher with its money, taken from the programme's pool. Repeating it returns the same.

    Raises:
        SamePerson: the actor issued it.
        InsufficientFunds: the pool has less left.
        IllegalMove: it was revoked.
        NotFound: no such voucher.
    """
    require(actor, "voucher.release")
    voucher = _locked(voucher_id)
    if voucher.state == VoucherState.RELEASED:
        return voucher
    two_persons(voucher.maker_id, person_of(actor))
    _release(voucher, actor=actor, now=now, checker_id=actor.id)
    return voucher


@transaction.atomic(durable=True)
def revoke_voucher(*, actor: Actor, voucher_id: UUID, why: str, now: datetime) -> Voucher:
    """The voucher taken back: what is not held returns to the pool now, the rest when its orders end.

    Raises:
        IllegalMove: it is expired, exhausted or revoked.
        NotFound: no such voucher.
    """
    require(actor, "voucher.issue")
    voucher = _locked_with_money(voucher_id)
    move(voucher, to=VoucherState.REVOKED, actor=actor, now=now, why=why)
    _return_to_pool(voucher, now=now)
    return voucher


@transaction.atomic
def issue_trial(*, organisation_id: UUID, now: datetime) -> Voucher | None:
    """The organisation's trial voucher: by rule, once, from the pool of the released trial programme.

    None where there is no such programme, its clauses do not fit, or its pool is empty. Takes the locks of the
    pool and the voucher: call it last.
    """
    known = Voucher.objects.filter(organisation_id=organisation_id, by_rule=True).first()
    if known is not None:
        return known
    version = queries.trial_version(now)
    if version is None:
        return None
    grant = queries.terms_of(version).grant_micros
    try:
        # A savepoint: two calls at once, an empty pool or a clause leave nothing behind.
        with transaction.atomic():
            voucher = issued(
                version=version,
                organisation_id=organisation_id,
                amount_micros=grant or 0,
                actor=SYSTEM,
                now=now,
                by_rule=True,
            )
            _release(voucher, actor=SYSTEM, now=now)
    except (IntegrityError, InsufficientFunds, Ineligible):
        return Voucher.objects.filter(organisation_id=organisation_id, by_rule=True).first()
    return voucher


def expire_vouchers(*, now: datetime) -> int:
    """How many vouchers gave money back: what is not held returns to their pools. For the nightly task.

    Takes in what orders gave back to vouchers that had expired or been revoked meanwhile.
    """
    ended = Q(state=VoucherState.RELEASED, expires_at__lte=now) | Q(owes_pool=True)
    swept = 0
    for voucher_id in list(Voucher.objects.filter(ended).order_by("id").values_list("id", flat=True)):
        swept += _sweep(voucher_id, now=now)
    return swept


@transaction.atomic(durable=True)
def _sweep(voucher_id: UUID, *, now: datetime) -> bool:
    voucher = _locked_with_money(voucher_id)
    if voucher.state == VoucherState.RELEASED and voucher.expires_at <= now:
        move(voucher, to=VoucherState.EXPIRED, actor=SYSTEM, now=now, why="its time was over")
    elif not voucher.owes_pool:
        return False
    _return_to_pool(voucher, now=now)
    return True


def _locked(voucher_id: UUID) -> Voucher:
    voucher = (
        Voucher.objects.select_for_update(of=("self",), no_key=True)
        .select_related("version")
        .filter(id=voucher_id)
        .first()
    )
    if voucher is None:
        raise NotFound("There is no such voucher.", hint="See GET /api/v1/vouchers.")
    return voucher


def _release(voucher: Voucher, *, actor: Actor, now: datetime, **changes: Any) -> None:
    """Move the voucher's money from the pool to its own account."""
    pool = pool_account(voucher.version.programme_id)
    account = open_account(
        kind="voucher", owner_id=voucher.id, currency=settings.HUB_CURRENCY, floor_micros=0
    )
    lock_accounts([pool, account])
    move(
        voucher,
        to=VoucherState.RELEASED,
        actor=actor,
        now=now,
        released_at=now,
        account_id=account,
        **changes,
    )
    post_entry(
        key=f"voucher:{voucher.id}:released",
        kind="voucher.released",
        moves=[Move(pool, account, voucher.amount_micros)],
        subject_id=voucher.id,
        now=now,
    )


def _locked_with_money(voucher_id: UUID) -> Voucher:
    """The voucher under the locks of its account and its pool, then of its row.

    In this order, because whoever settles an order holds the account's lock before it writes the row.
    """
    seen = Voucher.objects.select_related("version").filter(id=voucher_id).first()
    if seen is not None and seen.account_id is not None:
        lock_accounts([seen.account_id, pool_account(seen.version.programme_id)])
    return _locked(voucher_id)


def _return_to_pool(voucher: Voucher, *, now: datetime) -> None:
    """Move what is not held back to the pool; the caller holds all locks."""
    if voucher.account_id is None:
        return
    if voucher.owes_pool:
        voucher.owes_pool = False
        voucher.save(update_fields=["owes_pool"])
    left = balance_of(voucher.account_id).available_micros
    if left:
        post_entry(
            key=f"voucher:{voucher.id}:returned:{now.isoformat()}",
            kind="voucher.returned",
            moves=[Move(voucher.account_id, pool_account(voucher.version.programme_id), left)],
            subject_id=voucher.id,
            now=now,
        )
