"""Suppliers join: which agent serves a pool, what was published beside what is there, health tests, delivery."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

from mosu.platform.sql import append_only

# What is sold already goes on being sold: its first health test is due at its agent's next word.
_PUBLISHED = """
update compute_node set cores_published = cores, memory_bytes_published = memory_bytes, fitness = 'fit'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0006_sharing"),
    ]

    operations = [
        *[
            migrations.AddField(model_name="pool", name=name, field=field)
            for name, field in (
                ("agent_instance", models.CharField(blank=True, default="", max_length=64)),
                ("agent_host", models.CharField(blank=True, default="", max_length=100)),
                ("ordered_s", models.PositiveBigIntegerField(default=0)),
                ("delivered_s", models.PositiveBigIntegerField(default=0)),
                ("delivery_counted_at", models.DateTimeField(null=True)),
            )
        ],
        migrations.AddConstraint(
            model_name="pool",
            constraint=models.CheckConstraint(
                condition=Q(delivered_s__lte=F("ordered_s")), name="pool_delivers_what_was_ordered"
            ),
        ),
        *[
            migrations.AddField(model_name="node", name=name, field=field)
            for name, field in (
                ("cores_published", models.PositiveIntegerField(default=0)),
                ("memory_bytes_published", models.PositiveBigIntegerField(default=0)),
                (
                    "fitness",
                    models.CharField(
                        choices=[("unchecked", "unchecked"), ("fit", "fit"), ("unfit", "unfit")],
                        default="unchecked",
                        max_length=10,
                    ),
                ),
                ("unfit_why", models.CharField(blank=True, default="", max_length=300)),
                ("checked_at", models.DateTimeField(null=True)),
                ("check_asked_at", models.DateTimeField(null=True)),
            )
        ],
        migrations.RunSQL(_PUBLISHED, migrations.RunSQL.noop),
        migrations.AlterField("node", "cores_published", models.PositiveIntegerField()),
        migrations.AlterField("node", "memory_bytes_published", models.PositiveBigIntegerField()),
        migrations.AlterField("node", "unfit_why", models.CharField(blank=True, max_length=300)),
        migrations.AlterField("pool", "agent_instance", models.CharField(blank=True, max_length=64)),
        migrations.AlterField("pool", "agent_host", models.CharField(blank=True, max_length=100)),
        migrations.AddConstraint(
            model_name="node",
            constraint=models.CheckConstraint(
                condition=Q(fitness__in=["unchecked", "fit", "unfit"]), name="node_fitness_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="node",
            constraint=models.CheckConstraint(
                condition=Q(cores__lte=F("cores_published"))
                & Q(memory_bytes__lte=F("memory_bytes_published")),
                name="node_sells_no_more_than_published",
            ),
        ),
        migrations.AddField("device", "published", models.BooleanField(default=True)),
        migrations.AddField("device", "found", models.CharField(blank=True, default="", max_length=60)),
        migrations.AlterField("device", "found", models.CharField(blank=True, max_length=60)),
        migrations.CreateModel(
            name="HealthCheck",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("took_s", models.FloatField()),
                ("fit", models.BooleanField()),
                ("why", models.CharField(blank=True, max_length=300)),
                ("measures", models.JSONField()),
                (
                    "node",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="checks",
                        to="compute.node",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["node", "-at"], name="health_check_of_node")],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(fit=True, why="") | (Q(fit=False) & ~Q(why="")),
                        name="health_check_says_why",
                    )
                ],
            },
        ),
        append_only("compute_healthcheck"),
        migrations.AddField(
            "blackout",
            "kind",
            models.CharField(
                choices=[("maintenance", "maintenance"), ("elsewhere", "elsewhere")],
                default="maintenance",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="blackout",
            constraint=models.CheckConstraint(
                condition=Q(kind__in=["maintenance", "elsewhere"]), name="blackout_kind_known"
            ),
        ),
    ]
