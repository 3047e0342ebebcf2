"""Writes of the ledger."""

from mosu.ledger.rules import HUB_ID, HoldRequest, Move
from mosu.ledger.services.books import Verification, seal_days, verify, verify_and_alarm
from mosu.ledger.services.deposits import (
    BankReferenceKnown,
    confirm_deposit,
    confirm_refund,
    decline_refund,
    propose_deposit,
    propose_refund,
    reject_deposit,
)
from mosu.ledger.services.entries import (
    AlreadyReversed,
    DayClosed,
    HoldExceeded,
    InsufficientFunds,
    MoveForbidden,
    account_id,
    capture_hold,
    lock_accounts,
    open_account,
    place_hold,
    place_holds,
    post_entry,
    release_hold,
    reverse_entry,
)
from mosu.platform.services import KeyReused, SamePerson

__all__ = [
    "HUB_ID",
    "AlreadyReversed",
    "BankReferenceKnown",
    "DayClosed",
    "HoldExceeded",
    "HoldRequest",
    "InsufficientFunds",
    "KeyReused",
    "Move",
    "MoveForbidden",
    "SamePerson",
    "Verification",
    "account_id",
    "capture_hold",
    "confirm_deposit",
    "confirm_refund",
    "decline_refund",
    "lock_accounts",
    "open_account",
    "place_hold",
    "place_holds",
    "post_entry",
    "propose_deposit",
    "propose_refund",
    "reject_deposit",
    "release_hold",
    "reverse_entry",
    "seal_days",
    "verify",
    "verify_and_alarm",
]
