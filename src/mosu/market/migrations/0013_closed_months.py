"""What is closed, the database keeps closed: bills, statements, the usage behind a charge, a receipt's credit notes."""

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


class Migration(migrations.Migration):
    dependencies = [("market", "0012_tiers")]

    operations = [migrations.RunSQL(_KEPT, migrations.RunSQL.noop)]
