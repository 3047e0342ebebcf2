"""A deposit keeps its amount and reference; once decided, its decision too; rejected or refunded, all of it."""

from django.db import migrations

from mosu.platform.sql import final, only

_KEEP_DECISION = """
create function ledger_keep_decision() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if old.state <> 'proposed' and
     (new.organisation_id, new.amount_micros, new.currency, new.bank_reference, new.maker_id, new.checker_id,
      new.entry_id, new.proposed_at, new.decided_at)
     is distinct from
     (old.organisation_id, old.amount_micros, old.currency, old.bank_reference, old.maker_id, old.checker_id,
      old.entry_id, old.proposed_at, old.decided_at) then
    raise exception 'deposit % was decided: its decision does not change', old.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger keep_decision before update on ledger_deposit for each row execute function ledger_keep_decision();
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_refunds"), ("platform", "0003_final")]

    operations = [
        only(
            "ledger_deposit",
            *("state", "checker_id", "decided_at", "entry_id"),
            *("refund_maker_id", "refund_checker_id", "refund_entry_id", "refund_why", "refunded_at"),
        ),
        final("ledger_deposit", "rejected", "refunded"),
        migrations.RunSQL(
            _KEEP_DECISION,
            "drop trigger keep_decision on ledger_deposit; drop function ledger_keep_decision()",
        ),
    ]
