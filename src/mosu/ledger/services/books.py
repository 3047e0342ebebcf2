"""The books as a whole: recomputed every night, and sealed at the end of each of the hub's days."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum

from mosu.kernel.time import day_in
from mosu.ledger import rules
from mosu.ledger.models import Account, DayHead, Hold, JournalEntry, Posting
from mosu.ledger.queries import accounts_visible_to, no_account
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.models import HubMembership
from mosu.platform.services import emit, notify, record_audit

_log = logging.getLogger(__name__)

VERIFIED: Final = "ledger.verified"
"""The audit action of a recomputation; its subject is the hub."""
_CHUNK: Final = 2_000
_DAYS_MAX: Final = 400
CHAIN_MAX: Final = 1_000
"""Postings of one account that are recomputed while somebody waits."""
PROBLEMS_MAX: Final = 100
"""So many are listed; the first is enough to raise the alarm."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a recomputation of the whole ledger found."""

    at: datetime
    entries: int
    postings: int
    accounts: int
    holds: int
    days: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(*, now: datetime) -> Verification:
    """Everything recomputed from the rows: entries' digests and balance, chains, balances, holds, day heads.

    Reads one snapshot, so it can run while money moves; changes nothing.
    """
    checker = _Checker()
    with _one_snapshot():
        checker.check_entries()
        checker.check_chains()
        checker.check_holds()
        checker.check_days()
    return Verification(
        at=now,
        entries=checker.entries,
        postings=checker.postings,
        accounts=checker.accounts,
        holds=checker.holds,
        days=checker.days,
        problems=tuple(checker.problems[:PROBLEMS_MAX]),
    )


def verify_and_alarm(*, now: datetime) -> Verification:
    """`verify`, on record; when something is wrong, also a log line, an event and notices to the hub's people."""
    found = verify(now=now)
    record_audit(
        actor=SYSTEM,
        action=VERIFIED,
        subject_id=rules.HUB_ID,
        before=None,
        after="sound" if found.ok else "broken",
        now=now,
        facts={
            "entries": found.entries,
            "postings": found.postings,
            "accounts": found.accounts,
            "holds": found.holds,
            "days": found.days,
            "problems": list(found.problems[:5]),
        },
    )
    if not found.ok:
        _log.error("the ledger does not add up: %s", "; ".join(found.problems[:5]))
        _raise_alarm(found)
    return found


@transaction.atomic
def _raise_alarm(found: Verification) -> None:
    emit(
        name="ledger.broken",
        subject_id=rules.HUB_ID,
        payload={"problems": list(found.problems), "entries": found.entries},
        now=found.at,
    )
    first = found.problems[0]
    notify(
        user_ids=set(HubMembership.objects.values_list("user_id", flat=True)),
        kind="ledger.broken",
        title={"zh": "账本核对不符", "en": "The ledger does not add up"},
        body={
            "zh": f"夜间重算发现 {len(found.problems)} 处不符，第一处：{first}。请暂停付款并核查。",
            "en": f"The nightly recomputation found {len(found.problems)} problems, first: {first}. "
            "Pause payments and look into it.",
        },
        now=found.at,
        mail=True,
    )


def seal_days(*, now: datetime) -> list[date]:
    """The days sealed by this call: all that ended before `now` since the last seal, or since the first entry.

    A sealed day takes no more entries. Repeating it seals nothing twice.
    """
    zone = ZoneInfo(settings.HUB_ZONE)
    last = DayHead.objects.order_by("-date").values_list("date", flat=True).first()
    if last is not None:
        day = last + timedelta(days=1)
    else:
        first = JournalEntry.objects.order_by("posted_at").values_list("posted_at", flat=True).first()
        if first is None:
            return []
        day = day_in(zone, first)
    sealed: list[date] = []
    while day < day_in(zone, now) and len(sealed) < _DAYS_MAX:
        ends_at = datetime.combine(day + timedelta(days=1), time_of_day(), tzinfo=zone)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select ledger_seal_day(%s, %s, %s)", [day, ends_at, now])
        sealed.append(day)
        day += timedelta(days=1)
    return sealed


@contextmanager
def _one_snapshot() -> Iterator[None]:
    """All reads inside see the ledger of one moment; inside another transaction, what that one sees."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read, read only")
        yield


def faults_of(posting: Posting, *, sequence: int, balance_micros: int, head: str) -> list[str]:
    """What is wrong with a posting, read with its entry, that follows one of this sequence, balance and hash."""
    expected = rules.hash_of_posting(
        previous_hash=head,
        account_id=posting.account_id,
        sequence=sequence + 1,
        entry_id=posting.entry_id,
        entry_digest=posting.entry.digest,
        posted_at=posting.entry.posted_at,
        amount_micros=posting.amount_micros,
        balance_after_micros=balance_micros + posting.amount_micros,
    )
    name = f"posting {posting.sequence}"
    faults = []
    if posting.sequence != sequence + 1:
        faults.append(f"{name}: {sequence + 1} is missing")
    if posting.previous_hash != head:
        faults.append(f"{name}: names another hash before it")
    if posting.balance_after_micros != balance_micros + posting.amount_micros:
        faults.append(f"{name}: its balance is another")
    if posting.hash != expected:
        faults.append(f"{name}: its hash is another")
    return faults


@dataclass(frozen=True, slots=True)
class ChainVerification:
    """What a recomputation of the end of one account's chain found."""

    postings: int
    from_sequence: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_account(*, actor: Actor, account_id: UUID, last: int = CHAIN_MAX) -> ChainVerification:
    """The last postings of one account recomputed, at most `CHAIN_MAX`, and its head and balance; changes nothing.

    What lies before them is taken at its word: the nightly recomputation goes through all.

    Raises:
        NotFound: no such account, or not the actor's to see.
    """
    with _one_snapshot():
        account = accounts_visible_to(actor).filter(id=account_id).first()
        if account is None:
            raise no_account()
        count = max(1, min(last, CHAIN_MAX))
        rows = Posting.objects.filter(account_id=account_id).select_related("entry").order_by("-sequence")
        found = list(reversed(rows[: count + 1]))
    before = found.pop(0) if len(found) > count else None
    if before is None:
        sequence, balance, head = 0, 0, rules.GENESIS
    else:
        sequence, balance, head = before.sequence, before.balance_after_micros, before.hash
    problems: list[str] = []
    for posting in found:
        problems += faults_of(posting, sequence=sequence, balance_micros=balance, head=head)
        sequence, balance, head = posting.sequence, posting.balance_after_micros, posting.hash
    if (account.sequence, account.balance_micros, account.head_hash) != (sequence, balance, head):
        problems.append("the account is not where its postings end")
    return ChainVerification(
        postings=len(found),
        from_sequence=found[0].sequence if found else 0,
        problems=tuple(problems[:PROBLEMS_MAX]),
    )


class _Checker:
    """One recomputation: counts and problems as they come."""

    def __init__(self) -> None:
        self.entries = self.postings = self.accounts = self.holds = self.days = 0
        self.problems: list[str] = []

    def _expect(self, true: bool, problem: str) -> None:
        if not true and len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)

    def check_entries(self) -> None:
        """Digests say what the entries say, and postings are the net of the moves."""
        currencies = dict(Account.objects.values_list("id", "currency"))
        rows = JournalEntry.objects.order_by("id").prefetch_related("postings")
        for entry in rows.iterator(chunk_size=_CHUNK):
            self.entries += 1
            moves = [rules.Move(UUID(source), UUID(to), amount) for source, to, amount in entry.moves]
            digest = rules.digest_of(
                key=entry.key,
                kind=entry.kind,
                moves=moves,
                subject_id=entry.subject_id,
                memo=entry.memo,
                hold_id=entry.hold_id,
                reverses_id=entry.reverses_id,
            )
            posted = {posting.account_id: posting.amount_micros for posting in entry.postings.all()}
            name = entry.public_id
            self._expect(digest == entry.digest, f"{name}: its digest is another")
            self._expect(posted == rules.net_by_account(moves), f"{name}: its postings are not its moves")
            self._expect(sum(posted.values()) == 0, f"{name}: does not balance")
            self._expect(
                len({currencies.get(account) for account in posted}) == 1, f"{name}: mixes currencies"
            )

    def check_chains(self) -> None:
        """Each account's postings follow one another, and end at what the account says."""
        ends: dict[UUID, tuple[int, int, str]] = {}
        rows = Posting.objects.select_related("entry").order_by("account_id", "sequence")
        for posting in rows.iterator(chunk_size=_CHUNK):
            self.postings += 1
            sequence, balance, head = ends.get(posting.account_id, (0, 0, rules.GENESIS))
            for fault in faults_of(posting, sequence=sequence, balance_micros=balance, head=head):
                self._expect(False, f"account {posting.account_id}, {fault}")
            ends[posting.account_id] = (posting.sequence, posting.balance_after_micros, posting.hash)
        for account in Account.objects.order_by("id").iterator(chunk_size=_CHUNK):
            self.accounts += 1
            figures = (account.sequence, account.balance_micros, account.head_hash)
            self._expect(
                figures == ends.get(account.id, (0, 0, rules.GENESIS)),
                f"{account.public_id}: is not where its postings end",
            )
            self._expect(
                account.floor_micros is None
                or account.balance_micros - account.held_micros >= account.floor_micros,
                f"{account.public_id}: is below its floor",
            )

    def check_holds(self) -> None:
        """What accounts hold is what their holds have left, and what holds gave is what was posted."""
        left = F("amount_micros") - F("captured_micros") - F("released_micros")
        held = dict(
            Hold.objects.order_by()
            .values("account_id")
            .annotate(left=Sum(left))
            .values_list("account_id", "left")
        )
        for account in Account.objects.order_by("id").only("id", "held_micros").iterator(chunk_size=_CHUNK):
            self._expect(
                account.held_micros == held.get(account.id, 0), f"{account.public_id}: holds something else"
            )
        for hold in Hold.objects.order_by("id").prefetch_related("captures").iterator(chunk_size=_CHUNK):
            self.holds += 1
            taken = sum(amount for entry in hold.captures.all() for _, _, amount in entry.moves)
            self._expect(taken == hold.captured_micros, f"{hold.public_id}: captured something else")

    def check_days(self) -> None:
        """Each sealed day's head is that of the postings before its end; all postings are read once, in time order."""
        heads: dict[UUID, tuple[int, str]] = {}
        rows = (
            Posting.objects.order_by("entry__posted_at", "account_id", "sequence")
            .values_list("entry__posted_at", "account_id", "sequence", "hash")
            .iterator(chunk_size=10_000)
        )
        row = next(rows, None)
        for day in DayHead.objects.order_by("date"):
            self.days += 1
            while row is not None and row[0] < day.ends_at:
                _, account, sequence, head = row
                if account not in heads or heads[account][0] < sequence:
                    heads[account] = (sequence, head)
                row = next(rows, None)
            found = [(account, *last) for account, last in heads.items()]
            self._expect(
                day.sha256 == rules.day_head_of(found) and day.accounts == len(found),
                f"day {day.date}: its head is another",
            )
