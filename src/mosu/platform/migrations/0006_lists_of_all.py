"""The audit trail over all organisations is read by time, by who and by action through an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("platform", "0005_admission"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditrecord",
            index=models.Index(fields=["at", "id"], name="platform_au_at_ff09ce_idx"),
        ),
        migrations.AddIndex(
            model_name="auditrecord",
            index=models.Index(fields=["actor_label", "at", "id"], name="platform_au_actor_l_2190c0_idx"),
        ),
        migrations.AddIndex(
            model_name="auditrecord",
            index=models.Index(fields=["action", "at", "id"], name="platform_au_action_788813_idx"),
        ),
    ]
