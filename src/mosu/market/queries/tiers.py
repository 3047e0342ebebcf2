"""Tiered prices, for who sells."""

from uuid import UUID

from django.db.models import QuerySet

from mosu.market.models import Relation, TierRate
from mosu.platform.actors import Actor


def relations_of(actor: Actor) -> QuerySet[Relation]:
    """What organisations are to the actor's own, as suppliers, or to all for the hub's people; latest first."""
    rows = Relation.objects.select_related("supplier", "buyer").order_by("-id")
    return rows if actor.sees_all else rows.filter(supplier_id__in=actor.organisation_ids)


def tier_rates_of(actor: Actor, offer_id: UUID) -> QuerySet[TierRate]:
    """All tier rates that an offer ever had, latest first; nothing if the actor does not sell it."""
    rows = TierRate.objects.filter(offer_id=offer_id).order_by("-valid_from", "-id")
    return rows if actor.sees_all else rows.filter(offer__supplier_id__in=actor.organisation_ids)
