"""Accounts to move money between."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from tests.conftest import NOW

from mosu.ledger import services
from mosu.ledger.rules import Move


def open_account(kind: str = "balance", *, currency: str = "CNY") -> UUID:
    guarded = kind in {"balance", "payable", "voucher", "pool", "cap"}
    return services.open_account(
        kind=kind, owner_id=uuid4(), currency=currency, floor_micros=0 if guarded else None
    )


def funded(amount_micros: int) -> UUID:
    """A new balance account with money from a new bank account."""
    account = open_account()
    if amount_micros:
        services.post_entry(
            key=f"fund:{account}",
            kind="test",
            moves=[Move(open_account("bank"), account, amount_micros)],
            subject_id=account,
            now=NOW,
        )
    return account


@pytest.fixture
def account(db: None) -> Callable[[int], UUID]:
    return funded
