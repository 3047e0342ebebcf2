"""What of the counter waits on whom."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.fields.json import KT
from django.utils.translation import get_language

from mosu.market.models import ImportState, Offer, OfferImport, Order, Quote, QuoteState, Receipt
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_where
from mosu.platform.waiting import Turn, Waiting, arm, gathered

QUOTES_SHOWN: Final = 3
RECEIPTS_SHOWN: Final = 10


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Quotes that expire soon, today's receipts, the last order, and rows of imports that are held back; one query."""
    return gathered([*_of_members(actor, now), *_held(actor)])


def _held(actor: Actor) -> list[QuerySet[Any, Any]]:
    """Imports with rows that the hub's operator may let through: for the operator, and for whose offers they are."""
    rows = OfferImport.objects.filter(state=ImportState.PREVIEWED, held__gt=0)
    columns: Any = {
        "subject": F("id"),
        "title": F("filename"),
        "who": F("supplier__name"),
        "since": F("created_at"),
        "count": F("held"),
        "order": "created_at",
    }
    if allows(actor, "import.release"):
        return [arm(rows, kind="import.release", turn=Turn.YOURS, **columns)]
    mine = organisations_where(actor, "offer.manage")
    if not mine:
        return []
    return [arm(rows.filter(supplier__in=mine), kind="import.release_awaited", turn=Turn.OTHERS, **columns)]


def _of_members(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    own = actor.organisation_ids
    if not own:
        return []
    local = now.astimezone(ZoneInfo(settings.HUB_ZONE))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    zh = (get_language() or "").startswith("zh")
    quotes = Quote.objects.filter(organisation__in=own, state=QuoteState.OPEN, valid_until__gt=now)
    receipts = Receipt.objects.filter(organisation__in=own, issued_at__gte=midnight)
    return [
        arm(
            quotes,
            kind="quote.accept",
            turn=Turn.YOURS,
            subject=F("id"),
            title=KT(f"terms__title__{'zh' if zh else 'en'}"),
            who=KT("terms__supplier__name"),
            amount=F("total_max_micros"),
            since=F("created_at"),
            due=F("valid_until"),
            order="valid_until",
        )[:QUOTES_SHOWN],
        arm(
            receipts,
            kind="receipt.read",
            turn=Turn.DONE,
            subject=F("id"),
            title=F("number"),
            who=F("organisation__name"),
            amount=F("order__total_micros"),
            since=F("issued_at"),
            order="-issued_at",
        )[:RECEIPTS_SHOWN],
        arm(
            Order.objects.filter(organisation__in=own),
            kind="order.last",
            turn=Turn.DONE,
            subject=F("id"),
            title=F("number"),
            since=F("placed_at"),
            order="-placed_at",
        )[:1],
        # Sorted by the supplier, whose index finds that there is none; sorted by id, all offers of the hub are read.
        arm(
            Offer.objects.filter(supplier__in=own),
            kind="offer.any",
            turn=Turn.DONE,
            subject=F("id"),
            order="supplier_id",
        )[:1],
    ]
