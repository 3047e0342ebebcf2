"""Money out to suppliers: payouts by two persons, and the kinds of entry for them and for credit notes."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from mosu.ledger.sql import PAYOUTS
from mosu.platform.columns import own_id, reference, two_persons_constraint
from mosu.platform.sql import audited, final, only


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0005_seal_by_heads"),
        ("platform", "0006_lists_of_all"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="entryrule",
            name="door",
            field=models.CharField(
                choices=[
                    ("post", "Post"),
                    ("capture", "Capture"),
                    ("reverse", "Reverse"),
                    ("deposit", "Deposit"),
                    ("refund", "Refund"),
                    ("payout", "Payout"),
                    ("credit", "Credit"),
                ],
                max_length=10,
            ),
        ),
        migrations.CreateModel(
            name="Payout",
            fields=[
                own_id(),
                ("subject_id", models.UUIDField()),
                ("amount_micros", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("bank_reference", models.CharField(max_length=100, unique=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "Proposed"),
                            ("confirmed", "Confirmed"),
                            ("rejected", "Rejected"),
                        ],
                        default="proposed",
                        max_length=20,
                    ),
                ),
                ("proposed_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("checker", reference(settings.AUTH_USER_MODEL, null=True)),
                (
                    "entry",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="payout",
                        to="ledger.journalentry",
                    ),
                ),
                ("maker", reference(settings.AUTH_USER_MODEL)),
                ("organisation", reference("platform.organisation", "payouts")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "rejected"), _negated=True),
                        fields=("subject_id",),
                        name="payout_subject_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_micros__gt", 0), ("amount_micros__lte", 9000000000000000000)
                        ),
                        name="payout_positive",
                    ),
                    two_persons_constraint("payout_two_persons"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("checker", None),
                                ("decided_at", None),
                                ("entry", None),
                                ("state", "proposed"),
                            ),
                            models.Q(
                                ("checker__isnull", False),
                                ("decided_at__isnull", False),
                                ("entry__isnull", False),
                                ("state", "confirmed"),
                            ),
                            models.Q(
                                ("checker__isnull", False),
                                ("decided_at__isnull", False),
                                ("entry", None),
                                ("state", "rejected"),
                            ),
                            _connector="OR",
                        ),
                        name="payout_state_whole",
                    ),
                ],
            },
        ),
        migrations.RunSQL(PAYOUTS, migrations.RunSQL.noop),
        audited("ledger_payout"),
        final("ledger_payout", "confirmed", "rejected"),
        only("ledger_payout", "state", "checker_id", "decided_at"),
    ]
