"""How good the words about starts were is read from the last attempts that had to wait, by an index of those."""

from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("compute", "0009_open_runs")]

    operations = [
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                fields=["pool", "-created_at"],
                condition=Q(leased_at__isnull=False, expected_at__gt=F("created_at")),
                name="attempt_waited",
            ),
        ),
    ]
