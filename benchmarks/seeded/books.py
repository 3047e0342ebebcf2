"""The ledger's rows of made-up business: balanced, chained and sealed by day, so that its own recomputation agrees."""

# ruff: noqa: PLC0415 - Django is set up before these are called
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as time_of_day
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.seeded.rows import Ids, Table
from mosu.ledger.rules import GENESIS, HUB_ID, Move, day_head_of, digest_of, hash_of_posting, net_by_account

CURRENCY = "CNY"
ZONE = ZoneInfo("Asia/Shanghai")
_GUARDED = frozenset({"balance", "payable", "voucher", "pool", "cap"})


@dataclass(slots=True)
class _Account:
    id: UUID
    kind: str
    owner_id: UUID
    balance: int = 0
    held: int = 0
    sequence: int = 0
    head: str = GENESIS


@dataclass(slots=True)
class _Hold:
    id: UUID
    key: str
    account: _Account
    amount: int
    subject_id: UUID
    placed_at: datetime
    captured: int = 0


class Books:
    """Entries in the order of their times. Accounts and seals are written by `close`."""

    def __init__(self, connection: psycopg.Connection[Any], ids: Ids, *, zone: ZoneInfo) -> None:
        from mosu.ledger.models import Account, DayHead, Hold, JournalEntry, Posting

        self._ids, self._zone = ids, zone
        self._accounts: dict[tuple[str, UUID], _Account] = {}
        self._by_id: dict[UUID, _Account] = {}
        self._open: dict[UUID, _Hold] = {}
        self._ends_at: datetime | None = None
        self._last_at: datetime | None = None
        self._account_rows = Table(
            connection,
            Account,
            (
                "id", "kind", "owner_id", "currency", "floor_micros", "balance_micros", "held_micros", "sequence",
                "head_hash",
            ),
        )  # fmt: skip
        self._entries = Table(
            connection,
            JournalEntry,
            ("id", "key", "digest", "kind", "subject_id", "hold_id", "moves", "memo", "posted_at"),
        )
        self._postings = Table(
            connection,
            Posting,
            (
                "account_id", "sequence", "entry_id", "amount_micros", "balance_after_micros", "previous_hash", "hash",
            ),
        )  # fmt: skip
        self._holds = Table(
            connection,
            Hold,
            (
                "id", "key", "account_id", "amount_micros", "captured_micros", "released_micros", "subject_id", "state",
                "placed_at", "closed_at",
            ),
        )  # fmt: skip
        self._days = Table(connection, DayHead, ("date", "ends_at", "sha256", "accounts", "sealed_at"))

    @property
    def tables(self) -> Sequence[Table]:
        return self._account_rows, self._holds, self._entries, self._postings, self._days

    def account(self, kind: str, owner_id: UUID = HUB_ID, *, at: datetime) -> UUID:
        """The account's id; opened when it is named first."""
        found = self._accounts.get((kind, owner_id))
        if found is None:
            found = _Account(self._ids.at(at), kind, owner_id)
            self._accounts[kind, owner_id] = self._by_id[found.id] = found
        return found.id

    def available(self, account_id: UUID) -> int:
        account = self._by_id[account_id]
        return account.balance - account.held

    def post(
        self,
        *,
        key: str,
        kind: str,
        source: UUID,
        destination: UUID,
        amount: int,
        subject_id: UUID,
        at: datetime,
        memo: str = "",
        hold_id: UUID | None = None,
    ) -> UUID:
        """The entry's id."""
        self._seal_up_to(at)
        moves = [Move(source, destination, amount)]
        digest = digest_of(key=key, kind=kind, moves=moves, subject_id=subject_id, memo=memo, hold_id=hold_id)
        entry_id = self._ids.at(at)
        stored = Jsonb([[str(source), str(destination), amount]])
        self._entries.add(entry_id, key, digest, kind, subject_id, hold_id, stored, memo, at)
        for account_id, net in net_by_account(moves).items():
            account = self._by_id[account_id]
            account.sequence += 1
            account.balance += net
            if account.kind in _GUARDED and account.balance < account.held:
                raise RuntimeError(f"{key}: {account.kind} of {account.owner_id} would go below its floor")
            hashed = hash_of_posting(
                previous_hash=account.head,
                account_id=account_id,
                sequence=account.sequence,
                entry_id=entry_id,
                entry_digest=digest,
                posted_at=at,
                amount_micros=net,
                balance_after_micros=account.balance,
            )
            self._postings.add(
                account_id, account.sequence, entry_id, net, account.balance, account.head, hashed
            )
            account.head = hashed
        return entry_id

    def hold(self, *, key: str, account_id: UUID, amount: int, subject_id: UUID, at: datetime) -> UUID:
        """The hold's id; it is written when it is released, or open at the end."""
        account = self._by_id[account_id]
        if account.balance - account.held < amount:
            raise RuntimeError(f"{key}: {account.kind} of {account.owner_id} has too little")
        account.held += amount
        hold = _Hold(self._ids.at(at), key, account, amount, subject_id, at)
        self._open[hold.id] = hold
        return hold.id

    def capture(
        self,
        hold_id: UUID,
        *,
        key: str,
        kind: str,
        destination: UUID,
        amount: int,
        at: datetime,
        memo: str = "",
    ) -> UUID:
        hold = self._open[hold_id]
        hold.captured += amount
        hold.account.held -= amount
        return self.post(
            key=key,
            kind=kind,
            source=hold.account.id,
            destination=destination,
            amount=amount,
            subject_id=hold.subject_id,
            at=at,
            memo=memo,
            hold_id=hold_id,
        )

    def release(self, hold_id: UUID, *, at: datetime) -> None:
        hold = self._open.pop(hold_id)
        hold.account.held -= hold.amount - hold.captured
        self._write(hold, closed_at=at)

    def close(self, now: datetime) -> None:
        """Write what is left: open holds, seals of days that are over, accounts as they stand."""
        self._seal_up_to(now)
        for hold in self._open.values():
            self._write(hold, closed_at=None)
        for one in self._accounts.values():
            floor = 0 if one.kind in _GUARDED else None
            self._account_rows.add(
                one.id, one.kind, one.owner_id, CURRENCY, floor, one.balance, one.held, one.sequence, one.head
            )
        for table in self.tables:
            table.flush()

    def _write(self, hold: _Hold, *, closed_at: datetime | None) -> None:
        released = hold.amount - hold.captured if closed_at else 0
        self._holds.add(
            hold.id, hold.key, hold.account.id, hold.amount, hold.captured, released, hold.subject_id,
            "closed" if closed_at else "open", hold.placed_at, closed_at,
        )  # fmt: skip

    def _seal_up_to(self, at: datetime) -> None:
        """Seal the hub's days that ended between the last entry and this one."""
        if self._last_at is not None and at < self._last_at:
            raise RuntimeError("entries come in the order of their times")
        self._last_at = at
        if self._ends_at is None:
            self._ends_at = self._midnight_after(at)
        while self._ends_at <= at:
            heads = [(one.id, one.sequence, one.head) for one in self._accounts.values() if one.sequence]
            day = (self._ends_at - timedelta(seconds=1)).astimezone(self._zone).date()
            self._days.add(day, self._ends_at, day_head_of(heads), len(heads), self._ends_at)
            self._ends_at = self._midnight_after(self._ends_at)

    def _midnight_after(self, at: datetime) -> datetime:
        day = at.astimezone(self._zone).date() + timedelta(days=1)
        return datetime.combine(day, time_of_day(), tzinfo=self._zone)
