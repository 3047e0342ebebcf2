"""Accounts, entries, holds.

Each is one call of one database function, which locks the accounts it touches, sorted by id, and refuses before
it writes. Whoever touches more accounts than one call does locks them all first, with `lock_accounts`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from django.db import connection

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.money import MICROS_MAX, decimal_of
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.ledger.models import Account
from mosu.ledger.rules import MOVES_MAX, HoldRequest, Move
from mosu.platform.services import KeyReused


class InsufficientFunds(DomainError):
    """An account has less available than the move or the hold needs."""

    code = "insufficient_funds"


class HoldExceeded(DomainError):
    """More was to be captured than the hold still has."""

    code = "hold_exceeded"


class AlreadyReversed(DomainError):
    """The entry was reversed before; an entry is reversed once."""

    code = "already_reversed"


class MoveForbidden(DomainError):
    """No rule lets an entry of this kind move money between accounts of these kinds in this way."""

    code = "move_forbidden"


class DayClosed(DomainError):
    """The day of the entry is sealed by its head; nothing can be posted into it."""

    code = "day_closed"


def open_account(*, kind: str, owner_id: UUID, currency: str, floor_micros: int | None) -> UUID:
    """The id of the account of `kind` that `owner_id` has in `currency`, opened if it is not there.

    A floor of None lets it go below zero; guarded kinds have the floor 0. An open account keeps its floor.
    """
    row = _call(
        "select ledger_open_account(%s, %s, %s, %s, %s)", [uuid7(), kind, owner_id, currency, floor_micros]
    )
    return UUID(str(row[0]))


def account_id(*, kind: str, owner_id: UUID, currency: str) -> UUID:
    """The id of an open account.

    Raises:
        NotFound: it was never opened.
    """
    found = Account.objects.filter(kind=kind, owner_id=owner_id, currency=currency).values_list(
        "id", flat=True
    )
    known = found.first()
    if known is None:
        raise NotFound(f"There is no {kind} account in {currency}.", hint="Open it first.", kind=kind)
    return known


def lock_accounts(ids: Collection[UUID]) -> None:
    """Hold the row locks of all accounts of an intention until its transaction ends: sorted, once, first.

    Raises:
        NotFound: one of them does not exist.
    """
    wanted = set(ids)
    row = _call("select ledger_lock(%s::uuid[])", [sorted(wanted)])
    if row[0] != len(wanted):
        raise _no_account()


def post_entry(
    *, key: str, kind: str, moves: Sequence[Move], subject_id: UUID, now: datetime, memo: str = ""
) -> UUID:
    """The id of the entry that makes these moves: all of them or none. `key` repeated returns the first entry.

    Postings are the moves' net by account; an account that gains what it loses gets none.

    Raises:
        InsufficientFunds: an account would go below its floor.
        KeyReused: `key` was used for another entry.
        Invalid: no moves, too many, or between currencies.
        NotFound: an account does not exist.
        MoveForbidden: no rule lets this kind of entry join these kinds of accounts.
        DayClosed: `now` lies in a sealed day.
    """
    if not 1 <= len(moves) <= MOVES_MAX:
        raise Invalid(
            f"An entry has 1 to {MOVES_MAX} moves, not {len(moves)}.",
            hint="Post several entries.",
            field="moves",
            found=len(moves),
            allowed=MOVES_MAX,
        )
    return _written(
        "select * from ledger_post(%s, %s, %s, %s, %s::uuid[], %s::uuid[], %s::bigint[], %s, %s)",
        [
            uuid7(),
            key,
            kind,
            subject_id,
            [move.source for move in moves],
            [move.destination for move in moves],
            [move.amount_micros for move in moves],
            now,
            memo,
        ],
        key=key,
    )


def place_holds(*, holds: Sequence[HoldRequest], now: datetime) -> list[UUID]:
    """The ids of holds that reserve all of these amounts, or none does: in one call, in their order.

    Their accounts are locked at once, by id. A `key` repeated returns its first hold.

    Raises:
        InsufficientFunds: an account has less available than its holds need; the first such hold's.
        KeyReused: a key was used for another hold, or twice here.
        NotFound: an account does not exist.
        Invalid: an amount is not positive.
    """
    if not holds:
        return []
    for hold in holds:
        _check_amount(hold.amount_micros)
    keys = [hold.key for hold in holds]
    if len(set(keys)) < len(keys):
        refuse_entry("key_reused", key=next(key for key in keys if keys.count(key) > 1))
    placed, refusal, account, available, key = _call(
        "select * from ledger_hold_place(%s::uuid[], %s::text[], %s::uuid[], %s::bigint[], %s::uuid[], %s)",
        [
            [uuid7() for _ in holds],
            keys,
            [hold.account_id for hold in holds],
            [hold.amount_micros for hold in holds],
            [hold.subject_id for hold in holds],
            now,
        ],
    )
    if refusal is not None:
        refuse_entry(refusal, account=account, available=available, key=key)
    return list(placed)


def place_hold(*, key: str, account_id: UUID, amount_micros: int, subject_id: UUID, now: datetime) -> UUID:
    """The id of one hold; see `place_holds`."""
    (placed,) = place_holds(holds=[HoldRequest(key, account_id, amount_micros, subject_id)], now=now)
    return placed


def capture_hold(
    *,
    key: str,
    hold_id: UUID,
    destination_id: UUID,
    amount_micros: int,
    kind: str,
    now: datetime,
    memo: str = "",
) -> UUID:
    """The id of the entry that moves a part of a hold, or all of it, to another account.

    May be called several times, each with its own key; `key` repeated returns the first entry.

    Raises:
        HoldExceeded: the hold has less left.
        KeyReused: `key` was used for another entry.
        NotFound: the hold or the account does not exist.
        Invalid: the amount is not positive, or the destination has another currency.
        MoveForbidden: no rule lets this kind of entry join these kinds of accounts.
        DayClosed: `now` lies in a sealed day.
    """
    _check_amount(amount_micros)
    return _written(
        "select * from ledger_capture(%s, %s, %s, %s, %s, %s, %s, %s)",
        [uuid7(), key, hold_id, destination_id, amount_micros, kind, now, memo],
        key=key,
    )


def release_hold(*, hold_id: UUID, now: datetime) -> None:
    """Give back what the hold still has; nothing happens when nothing is left.

    Raises:
        NotFound: there is no such hold.
    """
    row = _call("select ledger_hold_release(%s, %s)", [hold_id, now])
    if row[0] is not None:
        refuse_entry(row[0])


def reverse_entry(*, key: str, entry_id: UUID, now: datetime, memo: str) -> UUID:
    """The id of the entry that moves everything of `entry_id` back. `key` repeated returns the first reversal.

    Raises:
        AlreadyReversed: it was reversed under another key.
        InsufficientFunds: who got the money does not have it any more.
        KeyReused: `key` was used for another entry.
        NotFound: there is no such entry, or it is a reversal itself.
        MoveForbidden: no rule lets this kind of entry join these kinds of accounts.
        DayClosed: `now` lies in a sealed day.
    """
    return _written(
        "select * from ledger_reverse(%s, %s, %s, %s, %s)", [uuid7(), key, entry_id, now, memo], key=key
    )


def confirm_deposit_entry(*, deposit_id: UUID, checker_id: UUID | None, now: datetime) -> UUID:
    """The id of the entry by which a proposed deposit reaches its organisation's balance; the deposit is confirmed.

    The database takes no other entry from the bank, and this one only by a second person. The caller has checked
    both and writes the audit record.

    Raises:
        DayClosed: `now` lies in a sealed day.
    """
    return _written(
        "select * from ledger_confirm_deposit(%s, %s, %s, %s)",
        [uuid7(), deposit_id, checker_id, now],
        key=f"deposit:{deposit_id}",
    )


def confirm_refund_entry(*, deposit_id: UUID, checker_id: UUID | None, now: datetime) -> UUID:
    """The id of the entry by which a deposit under refund goes back to the bank; the deposit is refunded.

    Raises:
        InsufficientFunds: the organisation has spent or holds part of it.
        DayClosed: `now` lies in a sealed day.
    """
    return _written(
        "select * from ledger_confirm_refund(%s, %s, %s, %s)",
        [uuid7(), deposit_id, checker_id, now],
        key=f"deposit.refund:{deposit_id}",
    )


def confirm_payout_entry(*, payout_id: UUID, checker_id: UUID | None, now: datetime) -> UUID:
    """The id of the entry by which a proposed payout leaves by the bank; the payout is confirmed.

    Raises:
        InsufficientFunds: the hub owes the supplier less.
        DayClosed: `now` lies in a sealed day.
    """
    return _written(
        "select * from ledger_confirm_payout(%s, %s, %s, %s)",
        [uuid7(), payout_id, checker_id, now],
        key=f"payout:{payout_id}",
    )


def _check_amount(amount_micros: int) -> None:
    if not 0 < amount_micros <= MICROS_MAX:
        raise Invalid(
            f"The amount must be positive, not {amount_micros} micros.",
            hint="Leave out what is zero.",
            field="amount",
            found=amount_micros,
        )


def _call(sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def _written(sql: str, parameters: Sequence[Any], *, key: str) -> UUID:
    """What the function wrote, or its refusal raised."""
    written, refusal, account, available = _call(sql, parameters)
    if refusal is not None:
        refuse_entry(refusal, account=account, available=available, key=key)
    return UUID(str(written))


def _no_account() -> NotFound:
    return NotFound("There is no such account.", hint="Open it first.")


def refuse_entry(refusal: str, *, account: UUID | None = None, available: int = 0, key: str = "") -> NoReturn:
    """Raise what a database function of the ledger answered instead of an entry."""
    if refusal == "funds":
        raise InsufficientFunds(
            f"Only {decimal_of(available)} is available.",
            hint="Deposit money, or buy less.",
            account_id=typeid(Account.prefix, account) if account else "",
            available_micros=available,
        )
    if refusal == "hold":
        raise HoldExceeded(
            f"The hold has only {decimal_of(available)} left.",
            hint="Capture at most what is held.",
            available_micros=available,
        )
    raise {
        "key_reused": KeyReused(
            f"The key {key[:60]!r} was used for something else.",
            hint="Repeat the same request, or use a new key.",
            key=key[:60],
        ),
        "currency": Invalid(
            "An entry stays within one currency.", hint="Convert at the quote, before posting.", field="moves"
        ),
        "reversed": AlreadyReversed(
            "This entry was reversed before.", hint="See its reversal in the statement."
        ),
        "kind": MoveForbidden(
            "An entry of this kind does not join accounts of these kinds.",
            hint="See ledger_entryrule for what each kind may move.",
        ),
        "closed": DayClosed("The books of that day are sealed.", hint="Post it with the present time."),
        "no_account": _no_account(),
        "no_hold": NotFound("There is no such hold.", hint="See the order's holds."),
        "no_entry": NotFound(
            "There is no such entry to reverse.", hint="A reversal is not reversed: post the entry anew."
        ),
    }[refusal]
