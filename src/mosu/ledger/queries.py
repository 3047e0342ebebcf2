"""Reads of the ledger."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Prefetch, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncMonth

from mosu.kernel.refusals import NotFound
from mosu.ledger.models import (
    Account,
    AccountKind,
    DayHead,
    Deposit,
    Hold,
    HoldState,
    JournalEntry,
    Payout,
    PayoutState,
    Posting,
)
from mosu.platform.actors import Actor

ORGANISATION_KINDS = (AccountKind.BALANCE, AccountKind.PAYABLE)
"""Accounts whose owner is an organisation."""


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
        raise no_account()
    return balance_in(account)


def balances_of(account_ids: Collection[UUID]) -> dict[UUID, Balance]:
    """The figures of several accounts, in one query; an account that does not exist is left out."""
    return {key: balance_in(row) for key, row in Account.objects.in_bulk(list(account_ids)).items()}


def available_by_kind(owners: Mapping[str, Collection[UUID] | QuerySet[Any, UUID]]) -> dict[str, int]:
    """What is left to spend in all accounts of each kind whose owner is among those named, in one query."""
    wanted = Q(pk__in=[])
    for kind, ids in owners.items():
        wanted |= Q(kind=kind, owner_id__in=ids)
    left = F("balance_micros") - F("held_micros") - Coalesce("floor_micros", 0)
    rows = Account.objects.filter(wanted).order_by().values_list("kind").annotate(left=Sum(left))
    return {kind: int(left) for kind, left in rows}


def available_by_owner(kind: str, owner_ids: Collection[UUID]) -> dict[UUID, int]:
    """What is left to spend in the account of a kind that each owner has, in one query."""
    left = F("balance_micros") - F("held_micros") - Coalesce("floor_micros", 0)
    rows = Account.objects.filter(kind=kind, owner_id__in=owner_ids).order_by()
    return dict(rows.values_list("owner_id").annotate(left=Sum(left)))


def balance_in(account: Account) -> Balance:
    """The figures of a row already read."""
    return Balance(
        balance_micros=account.balance_micros,
        held_micros=account.held_micros,
        available_micros=account.balance_micros - account.held_micros - (account.floor_micros or 0),
    )


def accounts_visible_to(actor: Actor) -> QuerySet[Account]:
    """Accounts of the actor's organisations, or all for the hub's people."""
    rows = Account.objects.order_by("kind", "id")
    if actor.sees_all:
        return rows
    return rows.filter(kind__in=ORGANISATION_KINDS, owner_id__in=actor.organisation_ids)


def statement(actor: Actor, account_id: UUID) -> QuerySet[Posting]:
    """The account's postings with their entries, newest first, each with the balance after it.

    Raises:
        NotFound: no such account, or not the actor's to see.
    """
    if not accounts_visible_to(actor).filter(id=account_id).exists():
        raise no_account()
    return Posting.objects.filter(account_id=account_id).select_related("entry").order_by("-sequence")


def postings_about(actor: Actor, subject_id: UUID, *, also: Collection[UUID] = ()) -> QuerySet[Posting]:
    """What was posted about one subject on the accounts that the actor sees, in order; or on all for the hub's people.

    `also` names further accounts that the caller knows to be the actor's, such as those of its vouchers.
    """
    rows = Posting.objects.filter(entry__subject_id=subject_id).select_related("entry", "account")
    rows = rows.order_by("entry__posted_at", "entry_id", "account_id")
    if actor.sees_all:
        return rows
    own = Q(account__kind__in=ORGANISATION_KINDS, account__owner_id__in=actor.organisation_ids)
    return rows.filter(own | Q(account_id__in=also))


@dataclass(frozen=True, slots=True)
class MonthMoved:
    """What a month's postings did to an account, in micros."""

    month: date
    """Its first day, in the hub's zone."""
    postings: int
    by_kind: Mapping[str, int]
    """By the kind of entry; what went out is negative."""
    before_micros: int
    after_micros: int


def statement_by_month(actor: Actor, account_id: UUID, *, zone: ZoneInfo) -> list[MonthMoved]:
    """The account's statement summed by month, newest first; one query beside the check.

    Raises:
        NotFound: no such account, or not the actor's to see.
    """
    rows = (
        statement(actor, account_id)
        .select_related(None)
        .order_by()
        .annotate(month=TruncMonth("entry__posted_at", tzinfo=zone))
        .values_list("month", "entry__kind")
        .annotate(count=Count("sequence"), sum=Sum("amount_micros"))
    )
    sums: defaultdict[date, dict[str, int]] = defaultdict(dict)
    counts: defaultdict[date, int] = defaultdict(int)
    for month, kind, count, amount in rows:
        sums[month.date()][kind] = int(amount)
        counts[month.date()] += count
    found: list[MonthMoved] = []
    after = 0
    for month in sorted(sums):
        before, after = after, after + sum(sums[month].values())
        found.insert(0, MonthMoved(month, counts[month], sums[month], before, after))
    return found


def open_holds(actor: Actor, account_id: UUID) -> QuerySet[Hold]:
    """What of the account is held, and for what, newest first; nothing of an account that is not the actor's to see."""
    rows = Hold.objects.filter(account__in=accounts_visible_to(actor).order_by().filter(id=account_id))
    return rows.filter(state=HoldState.OPEN).order_by("-placed_at", "-id")


def deposits_visible_to(actor: Actor) -> QuerySet[Deposit]:
    """Deposits of the actor's organisations, or all for the hub's people; newest first."""
    rows = Deposit.objects.order_by("-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def payouts_visible_to(actor: Actor) -> QuerySet[Payout]:
    """Payouts to the actor's organisations, or all for the hub's people; newest first."""
    rows = Payout.objects.select_related("organisation").order_by("-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def paid_out_to(actor: Actor, organisation_id: UUID) -> int:
    """What confirmed payouts have paid an organisation in all, in micros; nothing if the actor sees none of it."""
    rows = payouts_visible_to(actor).filter(organisation_id=organisation_id, state=PayoutState.CONFIRMED)
    return int(rows.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def day_heads() -> QuerySet[DayHead]:
    """The seals of the hub's days, newest first. Public."""
    return DayHead.objects.order_by("-ends_at")


def account_visible_to(actor: Actor, account_id: UUID) -> Account:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    account = accounts_visible_to(actor).filter(id=account_id).first()
    if account is None:
        raise no_account()
    return account


def entries_about(actor: Actor, *subject_ids: UUID) -> list[JournalEntry]:
    """The entries of subjects such as orders, with their postings; oldest first. For the hub's people alone.

    The postings of one entry are on accounts of several organisations.
    """
    if not actor.sees_all:
        return []
    rows = JournalEntry.objects.filter(subject_id__in=subject_ids).order_by("posted_at", "id")
    return list(rows.prefetch_related(Prefetch("postings", Posting.objects.select_related("account"))))


def postings_before(postings: Collection[Posting]) -> dict[tuple[UUID, int], Posting]:
    """The posting before each of these on its account, by account and its own sequence; in one query."""
    wanted = Q(pk__in=[])
    for posting in postings:
        wanted |= Q(account_id=posting.account_id, sequence=posting.sequence - 1)
    return {(row.account_id, row.sequence): row for row in Posting.objects.filter(wanted)}


def holds_about(actor: Actor, subject_id: UUID) -> list[Hold]:
    """The holds for one subject, oldest first. For the hub's people alone, as `entries_about`."""
    if not actor.sees_all:
        return []
    return list(Hold.objects.filter(subject_id=subject_id).order_by("placed_at", "id"))


def sum_of_books() -> int:
    """What all accounts together have: nothing, in books that balance."""
    return int(Account.objects.aggregate(sum=Sum("balance_micros"))["sum"] or 0)


def no_account() -> NotFound:
    return NotFound("There is no such account.", hint="See GET /api/v1/balance.")
