"""A pool's work is read newest first, and what was promised lately without all that ever was."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0004_whole_lists"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="allocation",
            index=models.Index(fields=["released_at"], name="allocation_released"),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["pool", "-created_at", "-id"], name="attempt_of_pool"),
        ),
    ]
