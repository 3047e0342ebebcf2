"""Runs that have not ended are listed by an index of their own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0008_blocks")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(state__in=["queued", "running"]),
                fields=["state", "-created_at", "-id"],
                name="run_open",
            ),
        ),
    ]
