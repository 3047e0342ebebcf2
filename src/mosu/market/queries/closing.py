"""Reads of closed months: bills, settlement statements, closes, credit notes."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q, QuerySet

from mosu.kernel.time import Period
from mosu.market.models import Bill, CreditNote, CreditNoteState, MonthClose, Receipt, Statement
from mosu.platform.actors import Actor


def bills_visible_to(actor: Actor) -> QuerySet[Bill]:
    """Frozen bills of the actor's organisations, or all for the hub's people; newest month first."""
    rows = Bill.objects.order_by("-month", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def statements_visible_to(actor: Actor) -> QuerySet[Statement]:
    """Settlement statements of the actor's organisations, or all for the hub's people; newest month first."""
    rows = Statement.objects.select_related("supplier").order_by("-month", "-id")
    return rows if actor.sees_all else rows.filter(supplier_id__in=actor.organisation_ids)


def closes_visible_to(actor: Actor) -> QuerySet[MonthClose]:
    """Closed months, newest first. For the hub's people alone."""
    rows = MonthClose.objects.order_by("-month")
    return rows if actor.sees_all else rows.none()


def credit_notes_visible_to(actor: Actor) -> QuerySet[CreditNote]:
    """Credit notes to the actor's organisations, on their sales once issued; all for the hub's people. Newest first."""
    rows = CreditNote.objects.select_related("receipt", "organisation", "supplier").order_by("-id")
    if actor.sees_all:
        return rows
    own = actor.organisation_ids
    sold = Q(supplier_id__in=own, state=CreditNoteState.ISSUED)
    return rows.filter(Q(organisation_id__in=own) | sold)


def credit_notes_beside(actor: Actor, organisation_id: UUID, span: Period) -> QuerySet[CreditNote]:
    """What a month's bill is read with: notes issued in the span, and those on its receipts issued since."""
    if not actor.sees(organisation_id):
        return CreditNote.objects.none()
    inside = Q(decided_at__gte=span.start, decided_at__lt=span.end)
    since = Q(receipt__issued_at__gte=span.start, receipt__issued_at__lt=span.end)
    return credit_notes_visible_to(actor).filter(
        inside | since, organisation_id=organisation_id, state=CreditNoteState.ISSUED
    )


def credit_notes_numbered(actor: Actor, numbers: Sequence[str]) -> QuerySet[CreditNote]:
    """Those with these numbers that the actor sees, by number."""
    return credit_notes_visible_to(actor).filter(number__in=numbers).order_by("number")


def receipts_sold_in(actor: Actor, supplier_id: UUID, span: Period) -> QuerySet[Receipt]:
    """The receipts behind a supplier's statement; nothing unless the actor sees the supplier's sales."""
    rows = Receipt.objects.filter(
        order__supplier_id=supplier_id, issued_at__gte=span.start, issued_at__lt=span.end
    )
    return rows if actor.sees(supplier_id) else rows.none()
