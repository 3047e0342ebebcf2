"""Reads of closed months: settlement statements, closes, credit notes."""

from django.db.models import QuerySet

from mosu.market.models import CreditNote, MonthClose, Statement
from mosu.platform.actors import Actor


def statements_visible_to(actor: Actor) -> QuerySet[Statement]:
    """Settlement statements of the actor's organisations, or all for the hub's people; newest month first."""
    rows = Statement.objects.select_related("supplier").order_by("-month", "-id")
    return rows if actor.sees_all else rows.filter(supplier_id__in=actor.organisation_ids)


def closes_visible_to(actor: Actor) -> QuerySet[MonthClose]:
    """Closed months, newest first. For the hub's people alone."""
    rows = MonthClose.objects.order_by("-month")
    return rows if actor.sees_all else rows.none()


def credit_notes_visible_to(actor: Actor) -> QuerySet[CreditNote]:
    """Credit notes to the actor's organisations, or all for the hub's people; newest first."""
    rows = CreditNote.objects.select_related("receipt", "organisation").order_by("-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)
