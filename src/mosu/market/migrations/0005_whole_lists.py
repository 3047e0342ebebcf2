"""The whole list of orders, runs and their like is read in its order, page by page."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0004_imports"),
        ("platform", "0004_finding"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["-placed_at", "-id"], name="market_orde_placed__2628aa_idx"),
        ),
        migrations.AddIndex(
            model_name="quote",
            index=models.Index(fields=["-created_at", "-id"], name="market_quot_created_4b2e4c_idx"),
        ),
        migrations.AddIndex(
            model_name="receipt",
            index=models.Index(fields=["-issued_at", "-id"], name="market_rece_issued__5fef7c_idx"),
        ),
    ]
