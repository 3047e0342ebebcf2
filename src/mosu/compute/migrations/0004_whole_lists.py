"""The whole list of orders, runs and their like is read in its order, page by page."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0003_meter_sample"),
        ("market", "0004_imports"),
        ("platform", "0004_finding"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["-created_at", "-id"], name="compute_run_created_408177_idx"),
        ),
    ]
