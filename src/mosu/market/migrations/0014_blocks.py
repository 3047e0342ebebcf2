"""Offers sold by the block: on what terms, published with them."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0013_closed_months"),
    ]

    operations = [
        migrations.AddField("offer", "block", models.JSONField(null=True)),
        migrations.AddConstraint(
            model_name="offer",
            constraint=models.CheckConstraint(
                condition=Q(block__isnull=True) | Q(attributes__contains={"mode": "reserved"}),
                name="offer_block_is_reserved",
            ),
        ),
    ]
