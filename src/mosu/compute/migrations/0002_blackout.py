"""Spans in which a supplier keeps a node for itself."""

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.deletion
from django.db import migrations, models

import mosu.kernel.ids
from mosu.platform.sql import audited, final, only


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0001_initial"),
        ("platform", "0003_final"),
    ]

    operations = [
        migrations.CreateModel(
            name="Blackout",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("period", django.contrib.postgres.fields.ranges.DateTimeRangeField()),
                ("why", models.CharField(max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[("set", "set"), ("lifted", "lifted")], default="set", max_length=10
                    ),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "node",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="blackouts",
                        to="compute.node",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(condition=models.Q(("state", "set")), fields=["node"], name="blackout_set")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["set", "lifted"])), name="blackout_state_known"
                    ),
                    django.contrib.postgres.constraints.ExclusionConstraint(
                        condition=models.Q(("state", "set")),
                        expressions=[("node", "="), ("period", "&&")],
                        name="blackout_once_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("period__isempty", False),
                            ("period__lower_inf", False),
                            ("period__upper_inf", False),
                        ),
                        name="blackout_period_bounded",
                    ),
                ],
            },
        ),
        audited("compute_blackout"),
        only("compute_blackout", "state"),
        final("compute_blackout", "lifted"),
    ]
