"""What is closed, the database keeps closed: bills, statements, usage behind a charge. Two workers open one month."""

from django.db import migrations

_KEPT = """
-- A close waits for the receipts under way, then none more is dated into its month: also one that moves no money.
create function market_wait_for_receipts() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  lock table market_receipt in share row exclusive mode;
  return new;
end $$;
create trigger alone before insert on market_monthclose
  for each row execute function market_wait_for_receipts();

create function market_refuse_bill_of_closed() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if exists (select from market_monthclose c where c.month = new.month) then
    raise exception 'the month of % is closed', new.number using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger open_month before insert on market_bill
  for each row execute function market_refuse_bill_of_closed();
create trigger open_month before insert on market_statement
  for each row execute function market_refuse_bill_of_closed();

-- A charge stays the function of its usage: nothing more counts on a line that was charged.
create function market_refuse_usage_of_charged() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  line uuid;
begin
  select h.order_line_id into line from market_charge h
   where h.order_line_id in (select a.order_line_id from added a where a.quantity_accepted > 0) limit 1;
  if found then
    raise exception 'line % is charged: no more usage counts on it', line
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create trigger uncharged after insert on market_usagerecord
  referencing new table as added for each statement execute function market_refuse_usage_of_charged();

-- The money of a credit note goes to who paid the receipt, from who was paid for it.
create function market_require_notes_receipt() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if not exists (
    select from market_receipt r join market_order o on o.id = r.order_id join market_offer f on f.id = o.offer_id
     where r.id = new.receipt_id and r.organisation_id = new.organisation_id and f.supplier_id = new.supplier_id
       and r.content ->> 'currency' = new.currency) then
    raise exception 'credit note % is not of its receipt''s buyer, supplier and currency', new.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger of_receipt before insert on market_creditnote
  for each row execute function market_require_notes_receipt();
"""

_OPEN_MONTH = """
-- The partition of a month, made by its first record. Attached, not created in place: that lets others go on reading.
-- They take turns at the table's own lock: unlike an advisory one it shows who waited what was made meanwhile.
create or replace function market_open_usage_month(month date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  name text := 'market_usagerecord_' || to_char(month, 'YYYY_MM');
begin
  if to_regclass(name) is not null then
    return;
  end if;
  if month <> date_trunc('month', month) then
    raise exception '% is not the first day of a month', month using errcode = 'invalid_parameter_value';
  end if;
  lock table only market_usagerecord in share update exclusive mode;
  if to_regclass(name) is not null then
    return;
  end if;
  execute format('create table %I (like market_usagerecord including all)', name);
  execute format('revoke all on %I from mosu_app', name);
  execute format('create trigger append_only_whole before truncate on %I '
                 'for each statement execute function refuse_change()', name);
  execute format('alter table market_usagerecord attach partition %I for values from (%L) to (%L)',
                 name, month, month + interval '1 month');
end $$;
"""


class Migration(migrations.Migration):
    dependencies = [("market", "0012_tiers")]

    operations = [
        migrations.RunSQL(_KEPT, migrations.RunSQL.noop),
        migrations.RunSQL(_OPEN_MONTH, migrations.RunSQL.noop),
    ]
