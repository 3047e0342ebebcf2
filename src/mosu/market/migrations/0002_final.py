"""An order that is over keeps its total."""

from django.db import migrations

from mosu.platform.sql import final


class Migration(migrations.Migration):
    dependencies = [("market", "0001_initial"), ("platform", "0003_final")]

    operations = [
        final("market_order", "settled", "cancelled"),
    ]
