"""What of the counter waits on whom."""

from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.fields.json import KT
from django.utils.translation import get_language

from mosu.market.models import Offer, Order, Quote, QuoteState, Receipt
from mosu.platform.actors import Actor
from mosu.platform.waiting import Turn, Waiting, arm, gathered

QUOTES_SHOWN: Final = 3
RECEIPTS_SHOWN: Final = 10


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Quotes that expire soon, today's receipts, and the last order, if there ever was one; one query."""
    own = actor.organisation_ids
    if not own:
        return []
    local = now.astimezone(ZoneInfo(settings.HUB_ZONE))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    zh = (get_language() or "").startswith("zh")
    quotes = Quote.objects.filter(organisation__in=own, state=QuoteState.OPEN, valid_until__gt=now)
    receipts = Receipt.objects.filter(organisation__in=own, issued_at__gte=midnight)
    arms: list[QuerySet[Any, Any]] = [
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
            order="-id",
        )[:1],
    ]
    offers = Offer.objects.filter(supplier__in=own)
    arms.append(arm(offers, kind="offer.any", turn=Turn.DONE, subject=F("id"))[:1])
    return gathered(arms)
