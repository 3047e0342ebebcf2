"""Entries are checked once each; their kinds say which accounts they join; money comes in by deposits alone."""

import django.db.models.deletion
from django.db import migrations, models

from mosu.ledger.sql import FUNCTIONS
from mosu.platform.sql import owner_only

_OLD = """
drop trigger counted on ledger_hold;
drop trigger chained on ledger_posting;
drop trigger balanced on ledger_posting;
drop trigger balanced on ledger_journalentry;
drop function ledger_hold_place(uuid, text, uuid, bigint, uuid, timestamptz);
drop function ledger_count_hold();
drop function ledger_require_balance();
drop function ledger_post(uuid, text, text, uuid, uuid[], uuid[], bigint[], timestamptz, text);
drop function ledger_write(uuid, text, text, uuid, uuid[], uuid[], bigint[], timestamptz, text, uuid, uuid);
"""

_TRIGGERS = """
create trigger chained after insert on ledger_posting
  referencing new table as added for each statement execute function ledger_chain();
create constraint trigger whole after insert on ledger_journalentry
  deferrable initially deferred for each row execute function ledger_require_postings();
create trigger placed after insert on ledger_hold
  referencing new table as added for each statement execute function ledger_holds_placed();
create trigger moved after update on ledger_hold for each row execute function ledger_hold_moved();
create trigger born before insert on ledger_deposit for each row when (new.state <> 'proposed')
  execute function refuse_change();
revoke execute on function ledger_write, ledger_undo from public, mosu_app;
"""

_RULES = """
insert into ledger_entryrule (kind, door, source, destination) values
  ('deposit', 'deposit', 'bank', 'balance'),
  ('reversal', 'refund', 'balance', 'bank'),
  ('pool.filled', 'post', 'funder', 'pool'),
  ('voucher.released', 'post', 'pool', 'voucher'),
  ('voucher.returned', 'post', 'voucher', 'pool'),
  ('voucher.captured', 'capture', 'voucher', 'payable'),
  ('voucher.captured', 'capture', 'voucher', 'balance'),
  ('cap.opened', 'post', 'cap_source', 'cap'),
  ('cap.used', 'capture', 'cap', 'cap_used'),
  ('order.charge', 'capture', 'balance', 'payable'),
  ('order.fee', 'post', 'payable', 'fee'),
  ('reversal', 'reverse', 'payable', 'balance'),
  ('reversal', 'reverse', 'payable', 'voucher'),
  ('reversal', 'reverse', 'cap_used', 'cap'),
  ('reversal', 'reverse', 'fee', 'payable');
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_final"), ("platform", "0003_final")]

    operations = [
        migrations.CreateModel(
            name="EntryRule",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=40)),
                (
                    "door",
                    models.CharField(
                        choices=[
                            ("post", "Post"),
                            ("capture", "Capture"),
                            ("reverse", "Reverse"),
                            ("deposit", "Deposit"),
                            ("refund", "Refund"),
                        ],
                        max_length=10,
                    ),
                ),
                ("source", models.CharField(max_length=20)),
                ("destination", models.CharField(max_length=20)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["kind", "door", "source", "destination"], name="entry_rule_once"
                    )
                ]
            },
        ),
        migrations.RunSQL(_RULES, migrations.RunSQL.noop),
        owner_only("ledger_entryrule"),
        migrations.AlterField(
            model_name="posting",
            name="account",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="postings",
                to="ledger.account",
            ),
        ),
        migrations.AlterField(
            model_name="posting",
            name="entry",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="postings",
                to="ledger.journalentry",
            ),
        ),
        migrations.RunSQL(_OLD, migrations.RunSQL.noop),
        migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop),
        migrations.RunSQL(_TRIGGERS, migrations.RunSQL.noop),
        migrations.RunSQL(
            "revoke update (entry_id, refund_entry_id, refund_checker_id, refunded_at) on ledger_deposit from mosu_app",
            "grant update (entry_id, refund_entry_id, refund_checker_id, refunded_at) on ledger_deposit to mosu_app",
        ),
    ]
