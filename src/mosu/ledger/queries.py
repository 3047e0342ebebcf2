"""Reads of the ledger."""

from dataclasses import dataclass
from uuid import UUID

from mosu.kernel.refusals import NotFound
from mosu.ledger.models import Account


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has, what of it is held, and what is left to spend above the floor."""

    balance_micros: int
    held_micros: int
    available_micros: int


def balance_of(account_id: UUID) -> Balance:
    """The account's figures now. An account without a floor counts from zero.

    Raises:
        NotFound: there is no such account.
    """
    account = Account.objects.filter(id=account_id).first()
    if account is None:
        raise NotFound("There is no such account.", hint="See GET /api/v1/balance.")
    return balance_in(account)


def balance_in(account: Account) -> Balance:
    """The figures of a row already read."""
    return Balance(
        balance_micros=account.balance_micros,
        held_micros=account.held_micros,
        available_micros=account.balance_micros - account.held_micros - (account.floor_micros or 0),
    )
