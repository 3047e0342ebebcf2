"""Samples say how much of the cards' memory is in use."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0010_waited"),
    ]

    operations = [
        migrations.AddField(
            model_name="metersample",
            name="accelerator_memory_bytes",
            field=models.PositiveBigIntegerField(null=True),
        ),
    ]
