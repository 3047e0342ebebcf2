"""Reads of the counter; every list takes the actor."""

from django.db.models import QuerySet

from mosu.market.models import Order, Quote, Receipt
from mosu.platform.actors import Actor


def quotes_visible_to(actor: Actor) -> QuerySet[Quote]:
    """Quotes of the actor's organisations, or all for the hub's people; newest first."""
    rows = Quote.objects.order_by("-created_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def orders_visible_to(actor: Actor) -> QuerySet[Order]:
    """Orders of the actor's organisations, or all for the hub's people; newest first."""
    rows = Order.objects.order_by("-placed_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def receipts_visible_to(actor: Actor) -> QuerySet[Receipt]:
    """Receipts of the actor's organisations, or all for the hub's people; newest first."""
    rows = Receipt.objects.select_related("order").order_by("-issued_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)
