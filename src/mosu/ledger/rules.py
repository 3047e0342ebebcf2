"""What an entry is, before any database: its moves, their net by account, the bytes that are hashed.

The database computes the same digests and hashes (`ledger/sql.py`); a test holds the two equal.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

GENESIS: Final = "0" * 64
"""What the first posting of an account names as its previous hash."""

HUB_ID: Final = UUID(int=0)
"""The owner of the hub's own accounts."""

MOVES_MAX: Final = 200
"""Moves in one entry."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Move:
    """Money from one account to another: what leaves one enters the other, so an entry of moves balances."""

    source: UUID
    destination: UUID
    amount_micros: int

    def __post_init__(self) -> None:
        if self.amount_micros <= 0:
            raise ValueError("a move takes a positive amount; to go back, swap its ends")
        if self.source == self.destination:
            raise ValueError("a move needs two accounts")

    @property
    def back(self) -> "Move":
        """The move that undoes this one."""
        return Move(source=self.destination, destination=self.source, amount_micros=self.amount_micros)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Money of an account to be reserved for one subject, under a key of its own."""

    key: str
    account_id: UUID
    amount_micros: int
    subject_id: UUID


def net_by_account(moves: Iterable[Move]) -> Mapping[UUID, int]:
    """What each account gains (or loses, negative) in all moves together, by account id; none with zero."""
    net: dict[UUID, int] = defaultdict(int)
    for move in moves:
        net[move.source] -= move.amount_micros
        net[move.destination] += move.amount_micros
    return {account: net[account] for account in sorted(net) if net[account]}


def digest_of(
    *,
    key: str,
    kind: str,
    moves: Sequence[Move],
    subject_id: UUID,
    memo: str = "",
    hold_id: UUID | None = None,
    reverses_id: UUID | None = None,
) -> str:
    """The sha256 of what an entry says. Two entries with one key must have one digest.

    Lines: key, kind, subject, hold or nothing, reversed entry or nothing, number of moves, each move as
    `source>destination:micros`, memo. Only the memo may contain a line break, so the lines read one way only.
    The time is not in it: a retry comes later.
    """
    lines = [
        key,
        kind,
        str(subject_id),
        str(hold_id or ""),
        str(reverses_id or ""),
        str(len(moves)),
        *(f"{move.source}>{move.destination}:{move.amount_micros}" for move in moves),
        memo,
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hash_of_posting(
    *,
    previous_hash: str,
    account_id: UUID,
    sequence: int,
    entry_id: UUID,
    entry_digest: str,
    posted_at: datetime,
    amount_micros: int,
    balance_after_micros: int,
) -> str:
    """The sha256 that chains a posting to the one before it on its account: the fields joined by `|`."""
    fields = [
        previous_hash,
        str(account_id),
        str(sequence),
        str(entry_id),
        entry_digest,
        str((posted_at - _EPOCH) // timedelta(microseconds=1)),
        str(amount_micros),
        str(balance_after_micros),
    ]
    return hashlib.sha256("|".join(fields).encode()).hexdigest()


def day_head_of(heads: Iterable[tuple[UUID, int, str]]) -> str:
    """The sha256 over all accounts' (id, sequence, head hash), sorted by id, a line `id|sequence|hash` each."""
    lines = "".join(f"{account}|{sequence}|{head}\n" for account, sequence, head in sorted(heads))
    return hashlib.sha256(lines.encode()).hexdigest()
