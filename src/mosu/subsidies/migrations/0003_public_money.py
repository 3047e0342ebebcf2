"""Public money enters a pool by a version that two persons released, and a voucher by what its row says."""

from django.db import migrations

from mosu.subsidies.sql import public_money


class Migration(migrations.Migration):
    dependencies = [("subsidies", "0002_final"), ("ledger", "0004_entry_rules")]

    operations = [public_money()]
