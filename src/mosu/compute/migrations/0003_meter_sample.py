"""Samples for the curves of a run."""

import django.db.models.deletion
from django.db import migrations, models

from mosu.platform.sql import append_only


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0002_blackout"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="sampled_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="MeterSample",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("cpu_s", models.FloatField()),
                ("memory_bytes", models.PositiveBigIntegerField()),
                (
                    "attempt",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="samples",
                        to="compute.attempt",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("attempt", "at"), name="meter_sample_once")],
            },
        ),
        append_only("compute_metersample"),
    ]
