"""More time for what runs: bought by orders of their own, where the pool's engine can give it."""

from django.db import migrations, models
from django.db.models import Q

from mosu.platform.columns import reference
from mosu.platform.sql import append_only


class Migration(migrations.Migration):
    dependencies = [("compute", "0023_copying")]

    operations = [
        migrations.AddField("pool", "extends", models.BooleanField(default=False)),
        migrations.AddField("attempt", "extended_s", models.PositiveIntegerField(default=0)),
        migrations.CreateModel(
            name="Extension",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("from_s", models.PositiveIntegerField()),
                ("seconds", models.PositiveIntegerField()),
                (
                    "order",
                    models.OneToOneField(on_delete=models.PROTECT, related_name="+", to="market.order"),
                ),
                ("attempt", reference("compute.attempt", "extensions")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=["attempt", "from_s"], name="extension_follows_once"),
                    models.CheckConstraint(condition=Q(seconds__gte=1), name="extension_has_time"),
                ],
            },
        ),
        append_only("compute_extension"),
    ]
