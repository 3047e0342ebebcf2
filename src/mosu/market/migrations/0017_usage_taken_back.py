"""A claim may take back what was claimed too much: a negative quantity, within what was claimed and counts."""

from django.db import migrations, models
from django.db.models import F, Q

_SUMMED = """
-- Keeps each line's total; what counts stays within what the order's hold covers and is never less than nothing,
-- whoever writes.
create or replace function market_sum_usage() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  line uuid;
begin
  insert into market_usagetotal as t
    (order_line_id, records, last_sequence, quarantined, quantity, quantity_accepted, quantity_observed)
    select a.order_line_id, count(*), max(a.sequence), count(*) filter (where a.state = 'quarantined'), sum(a.quantity),
           sum(a.quantity_accepted), max(a.quantity_observed)
      from added a group by a.order_line_id order by a.order_line_id
    on conflict (order_line_id) do update
      set records = t.records + excluded.records,
          last_sequence = greatest(t.last_sequence, excluded.last_sequence), quarantined = t.quarantined + excluded.quarantined,
          quantity = t.quantity + excluded.quantity,
          quantity_accepted = t.quantity_accepted + excluded.quantity_accepted,
          quantity_observed = greatest(t.quantity_observed, excluded.quantity_observed);
  select t.order_line_id into line
    from market_usagetotal t join market_orderline l on l.id = t.order_line_id
   where t.order_line_id in (select a.order_line_id from added a) and t.quantity_accepted > l.quantity_max limit 1;
  if found then
    raise exception 'more usage counts on line % than its hold covers', line
      using errcode = 'integrity_constraint_violation';
  end if;
  select t.order_line_id into line from market_usagetotal t
   where t.order_line_id in (select a.order_line_id from added a) and t.quantity_accepted < 0 limit 1;
  if found then
    raise exception 'more usage is taken back on line % than counts', line
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
"""

_UNCHARGED = """
-- A charge stays the function of its usage: nothing more counts on a line that was charged, nothing is taken back.
create or replace function market_refuse_usage_of_charged() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  line uuid;
begin
  select h.order_line_id into line from market_charge h
   where h.order_line_id in (select a.order_line_id from added a where a.quantity_accepted <> 0) limit 1;
  if found then
    raise exception 'line % is charged: no more usage counts on it', line
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
"""


class Migration(migrations.Migration):
    dependencies = [("market", "0016_orders_by_end_of_number")]

    operations = [
        migrations.RemoveConstraint("usagerecord", "usage_accepted_within_claim"),
        migrations.AddConstraint(
            "usagerecord",
            models.CheckConstraint(
                condition=Q(quantity_accepted__gte=0, quantity__gte=F("quantity_accepted"))
                | Q(quantity__lt=0, quantity_accepted__lte=0, quantity_accepted__gte=F("quantity")),
                name="usage_accepted_within_claim",
            ),
        ),
        migrations.RunSQL(_SUMMED, migrations.RunSQL.noop),
        migrations.RunSQL(_UNCHARGED, migrations.RunSQL.noop),
    ]
