"""Drawing on vouchers for an order: choose, hold, capture, give back. The market calls these inside its own
transactions, after it locked the accounts that `accounts_of` and `accounts_of_order` name."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from mosu.subsidies.rules import Choice, Spend, Split


def best_split(*, spend: Spend, choice: Choice, now: datetime) -> Split:
    """The best legal split of `spend` over the organisation's released vouchers, or over those of `choice`.

    Raises:
        VoucherNotUsable: a voucher named in `choice` cannot be used for this spend; the message says why.
    """
    raise NotImplementedError


def accounts_of(split: Split, *, now: datetime) -> list[UUID]:
    """The ledger accounts that `redeem` will touch, for the caller to lock with its own, by id, once.

    Opens the year's cap accounts where they are not open yet.
    """
    raise NotImplementedError


def redeem(*, order_id: UUID, split: Split, now: datetime, evidence: Sequence[str] = ()) -> None:
    """Hold every voucher share of the split and the year's cap behind it; one Redemption per voucher.

    Raises:
        VoucherNotUsable: a voucher expired or was revoked since the quote.
        InsufficientFunds: a voucher or a cap no longer has what the quote promised.
    """
    raise NotImplementedError


def accounts_of_order(order_id: UUID) -> list[UUID]:
    """The ledger accounts that `capture_redemptions` or `release_redemptions` will touch, the payee's apart."""
    raise NotImplementedError


def capture_redemptions(
    *, order_id: UUID, frozen: Split, charge_micros: int, payee_account_id: UUID, now: datetime
) -> Split:
    """Pay the payee from the holds what each share owes of the actual charge; the rest returns.

    Returns the actual split. A charge above the frozen one counts as the frozen one.
    """
    raise NotImplementedError


def release_redemptions(*, order_id: UUID, now: datetime) -> None:
    """Give back all that the order held: it was cancelled or cost nothing."""
    raise NotImplementedError
