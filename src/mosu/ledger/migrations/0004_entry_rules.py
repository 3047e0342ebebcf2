"""Holds are placed together, and each change of their state is on record."""

from django.db import migrations

from mosu.ledger.sql import HOLDS

_TRIGGERS = """
drop function ledger_hold_place(uuid, text, uuid, bigint, uuid, timestamptz);
drop trigger counted on ledger_hold;
drop function ledger_count_hold();
create trigger placed after insert on ledger_hold
  referencing new table as added for each statement execute function ledger_holds_placed();
create trigger moved after update on ledger_hold for each row execute function ledger_hold_moved();
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_final"), ("platform", "0003_final")]

    operations = [
        migrations.RunSQL(HOLDS, migrations.RunSQL.noop),
        migrations.RunSQL(_TRIGGERS, migrations.RunSQL.noop),
    ]
