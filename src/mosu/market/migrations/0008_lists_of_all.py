"""Lists over all organisations are sorted, and filtered by state and month, by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0007_imports_in_background"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["state", "id"], name="market_orde_state_a2bb24_idx"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["total_max_micros", "id"], name="market_orde_total_m_11acde_idx"),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["settled_at"], name="market_orde_settled_253124_idx"),
        ),
        migrations.AddIndex(
            model_name="offer",
            index=models.Index(fields=["state", "id"], name="market_offe_state_0e1b4f_idx"),
        ),
        migrations.AddIndex(
            model_name="offer",
            index=models.Index(fields=["source", "id"], name="market_offe_source_40d760_idx"),
        ),
    ]
