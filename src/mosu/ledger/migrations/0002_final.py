"""A deposit keeps its amount and its bank reference; once decided, all of it."""

from django.db import migrations

from mosu.platform.sql import final, only


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial"), ("platform", "0003_final")]

    operations = [
        only("ledger_deposit", "state", "checker_id", "decided_at", "entry_id"),
        final("ledger_deposit", "confirmed", "rejected"),
    ]
