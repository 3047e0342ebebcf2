"""Finding entries and what stands behind them, for the hub's people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from mosu.kernel.ids import uuid_of
from mosu.kernel.refusals import NotFound
from mosu.ledger.models import Account, EntryRule, JournalEntry, Posting
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord, Event
from mosu.platform.rows import row_of

BROKEN: Final = "ledger.broken"


def entries_visible_to(actor: Actor) -> QuerySet[JournalEntry]:
    """Journal entries, for the hub's people; newest first. Organisations see their accounts' statements."""
    rows = JournalEntry.objects.order_by("-id")
    return rows if actor.sees_all else rows.none()


def entry_visible_to(actor: Actor, public_id: str) -> JournalEntry:
    """One of them, with its postings.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    rows = entries_visible_to(actor).select_related("hold", "reverses", "reversed_by")
    return row_of(rows.prefetch_related("postings__account"), public_id)


def of_account(rows: QuerySet[JournalEntry], public_id: str) -> QuerySet[JournalEntry]:
    """Those that moved the account, named by its public id."""
    key = _key(public_id)
    return (
        rows.filter(Exists(Posting.objects.filter(entry=OuterRef("pk"), account_id=key)))
        if key
        else rows.none()
    )


def about(rows: QuerySet[JournalEntry], public_id: str) -> QuerySet[JournalEntry]:
    """Those with this id, or about what has it: an order, a voucher, a deposit, a programme."""
    key = _key(public_id)
    return rows.filter(Q(id=key) | Q(subject_id=key)) if key else rows.none()


def of_amount(rows: QuerySet[JournalEntry], micros: int) -> QuerySet[JournalEntry]:
    """Those with a posting of this amount, in or out."""
    posted = Posting.objects.filter(entry=OuterRef("pk"), amount_micros__in=[micros, -micros])
    return rows.filter(Exists(posted))


def kinds_of_entries() -> list[str]:
    """All kinds that there can be, by name."""
    return sorted(set(EntryRule.objects.order_by().values_list("kind", flat=True)))


def accounts_named(ids: Sequence[UUID]) -> dict[UUID, Account]:
    """The accounts of these ids."""
    return Account.objects.in_bulk(ids)


def audit_of_subject(actor: Actor, subject_id: UUID) -> QuerySet[AuditRecord]:
    """What was done to the subject of an entry, for the hub's people; oldest first."""
    rows = AuditRecord.objects.filter(subject_id=subject_id).order_by("id")
    return rows if actor.sees_all else rows.none()


@dataclass(frozen=True, slots=True)
class Alarm:
    """The last time that a recomputation found something."""

    at: datetime
    problems: Sequence[str]


def last_alarm() -> Alarm | None:
    """The last alarm of the nightly recomputation; None: it never found anything."""
    event = Event.objects.filter(name=BROKEN).order_by("-id").first()
    return Alarm(event.at, event.payload["problems"]) if event else None


def _key(public_id: str) -> UUID | None:
    """The key of any public id; None of what is none."""
    prefix, _, _ = public_id.strip().rpartition("_")
    try:
        return uuid_of(prefix, public_id.strip())
    except NotFound:
        return None
