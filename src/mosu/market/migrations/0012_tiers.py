"""Tiered prices: what a buyer is to a supplier, and which part of the list price that makes."""

from django.db import migrations, models
from django.db.models import F, Q

from mosu.platform.columns import own_id, reference
from mosu.platform.sql import append_only

_TIERS = [("external", "External"), ("partner", "Partner"), ("internal", "Internal")]


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0011_metering_to_money"),
        ("platform", "0004_finding"),
    ]

    operations = [
        migrations.CreateModel(
            name="Relation",
            fields=[
                own_id(),
                ("tier", models.CharField(choices=_TIERS, max_length=10)),
                ("since", models.DateTimeField()),
                ("buyer", reference("platform.organisation")),
                ("supplier", reference("platform.organisation")),
            ],
            options={
                "indexes": [models.Index(fields=["buyer", "supplier", "-since"], name="relation_of_buyer")],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(tier__in=["external", "partner", "internal"]), name="relation_tier_known"
                    ),
                    models.CheckConstraint(condition=~Q(supplier=F("buyer")), name="relation_of_two"),
                ],
            },
        ),
        migrations.CreateModel(
            name="TierRate",
            fields=[
                own_id(),
                ("tier", models.CharField(choices=_TIERS, max_length=10)),
                ("rate_bp", models.PositiveIntegerField()),
                ("valid_from", models.DateTimeField()),
                ("offer", reference("market.offer", "tier_rates")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=["offer", "tier", "valid_from"], name="tier_rate_once"),
                    models.CheckConstraint(
                        condition=Q(tier__in=["partner", "internal"]), name="tier_rate_tier_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(rate_bp__gte=1, rate_bp__lte=10_000), name="tier_rate_at_most_list"
                    ),
                ],
            },
        ),
        append_only("market_relation"),
        append_only("market_tierrate"),
    ]
