"""An organisation asks for a capability; what was asked stays, what was decided too."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import mosu.kernel.ids
from mosu.platform.sql import audited, final, only


class Migration(migrations.Migration):
    dependencies = [
        ("platform", "0004_finding"),
    ]

    operations = [
        migrations.CreateModel(
            name="Admission",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "capability",
                    models.CharField(
                        choices=[
                            ("resident", "Resident"),
                            ("supplier", "Supplier"),
                            ("data_provider", "Data Provider"),
                            ("sponsor", "Sponsor"),
                            ("investor", "Investor"),
                            ("operator", "Operator"),
                        ],
                        max_length=20,
                    ),
                ),
                ("note", models.TextField(max_length=2000)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("asked", "Asked"),
                            ("admitted", "Admitted"),
                            ("declined", "Declined"),
                            ("withdrawn", "Withdrawn"),
                        ],
                        default="asked",
                        max_length=10,
                    ),
                ),
                ("asked_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("why", models.TextField(blank=True, max_length=1000)),
                (
                    "asked_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="admissions",
                        to="platform.organisation",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["state", "-asked_at", "-id"], name="platform_ad_state_30a79c_idx")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "capability__in",
                                ["resident", "supplier", "data_provider", "sponsor", "investor"],
                            )
                        ),
                        name="admission_capability_known",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state", "asked")),
                        fields=("organisation", "capability"),
                        name="admission_asked_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at", None), ("decided_by", None), ("state", "asked")),
                            models.Q(("decided_at__isnull", False), ("state__in", ["admitted", "declined"])),
                            models.Q(
                                ("decided_at__isnull", False), ("decided_by", None), ("state", "withdrawn")
                            ),
                            _connector="OR",
                        ),
                        name="admission_state_whole",
                    ),
                ],
            },
        ),
        audited("platform_admission"),
        only("platform_admission", "state", "decided_by_id", "decided_at", "why"),
        final("platform_admission", "admitted", "declined", "withdrawn"),
    ]
