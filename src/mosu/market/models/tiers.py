"""Whom a supplier sells to at which part of its list price."""

from django.db import models
from django.db.models import Q

from mosu.market.models.offers import Offer
from mosu.platform.models import Organisation
from mosu.platform.rows import Row


class Tier(models.TextChoices):
    EXTERNAL = "external"
    """Everyone: the list price."""
    PARTNER = "partner"
    INTERNAL = "internal"
    """The supplier's own, itself among them."""


class Relation(Row):
    """What a buyer is to a supplier from `since` on. Append-only: the last word counts, `external` ends a relation."""

    prefix = "relation"

    supplier = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    buyer = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="+")
    tier = models.CharField(max_length=10, choices=Tier)
    since = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["buyer", "supplier", "-since"], name="relation_of_buyer")]
        constraints = [
            models.CheckConstraint(condition=Q(tier__in=Tier.values), name="relation_tier_known"),
            models.CheckConstraint(condition=~Q(supplier=models.F("buyer")), name="relation_of_two"),
        ]


class TierRate(Row):
    """Which part of an offer's list prices a tier pays from `valid_from` on, in basis points. Append-only."""

    prefix = "tierrate"

    offer = models.ForeignKey(Offer, on_delete=models.PROTECT, related_name="tier_rates")
    tier = models.CharField(max_length=10, choices=Tier)
    rate_bp = models.PositiveIntegerField()
    """10,000 is the list price."""
    valid_from = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["offer", "tier", "valid_from"], name="tier_rate_once"),
            models.CheckConstraint(
                condition=Q(tier__in=[Tier.PARTNER.value, Tier.INTERNAL.value]), name="tier_rate_tier_known"
            ),
            models.CheckConstraint(
                condition=Q(rate_bp__gte=1, rate_bp__lte=10_000), name="tier_rate_at_most_list"
            ),
        ]
