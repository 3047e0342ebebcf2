"""A day is sealed by where its accounts stand, not by every posting that there ever was."""

from django.db import migrations, models

_SEAL = """
-- Seals a day that is over: waits for the entries under way, then no more can be posted into it. While it waits
-- nobody posts, so it gives up soon and is tried again; and while it works, so it reads accounts and what was posted
-- since the day's end: an account without an entry since then stands where the day left it.
create or replace function ledger_seal_day(day date, day_ends_at timestamptz, at timestamptz) returns void
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '2s' as $$
begin
  -- Not the caller's word alone: sealing a day to come would stop every entry until then.
  if at < day_ends_at or clock_timestamp() < day_ends_at then
    raise exception 'the day is not over' using errcode = 'invalid_parameter_value';
  end if;
  lock table ledger_journalentry in share row exclusive mode;
  insert into ledger_dayhead (date, ends_at, sha256, accounts, sealed_at)
    with later as materialized (
      select distinct p.account_id as id
        from ledger_journalentry e join ledger_posting p on p.entry_id = e.id where e.posted_at >= day_ends_at),
    head as (
      select a.id, a.sequence, a.head_hash as hash
        from ledger_account a where a.sequence > 0 and a.id not in (select l.id from later l)
      union all
      select l.id, last.sequence, last.hash
        from later l cross join lateral (
          select p.sequence, p.hash from ledger_posting p join ledger_journalentry e on e.id = p.entry_id
           where p.account_id = l.id and e.posted_at < day_ends_at order by p.sequence desc limit 1) as last)
    select day, day_ends_at, encode(sha256(convert_to(coalesce(string_agg(
             head.id || '|' || head.sequence || '|' || head.hash || E'\\n', '' order by head.id), ''),
             'UTF8')), 'hex'), count(*), at
      from head
    on conflict (date) do nothing;
end $$;
"""

_BEFORE = """
create or replace function ledger_seal_day(day date, day_ends_at timestamptz, at timestamptz) returns void
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '2s' as $$
begin
  -- Not the caller's word alone: sealing a day to come would stop every entry until then.
  if at < day_ends_at or clock_timestamp() < day_ends_at then
    raise exception 'the day is not over' using errcode = 'invalid_parameter_value';
  end if;
  lock table ledger_journalentry in share row exclusive mode;
  insert into ledger_dayhead (date, ends_at, sha256, accounts, sealed_at)
    select day, day_ends_at, encode(sha256(convert_to(coalesce(string_agg(
             head.account_id || '|' || head.sequence || '|' || head.hash || E'\\n', '' order by head.account_id), ''),
             'UTF8')), 'hex'), count(*), at
      from (select distinct on (p.account_id) p.account_id, p.sequence, p.hash
              from ledger_posting p join ledger_journalentry e on e.id = p.entry_id
             where e.posted_at < day_ends_at order by p.account_id, p.sequence desc) as head
    on conflict (date) do nothing;
end $$;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0004_entry_rules")]

    operations = [
        migrations.AddIndex(
            model_name="journalentry",
            index=models.Index(fields=["posted_at"], name="entry_posted_at"),
        ),
        migrations.AddIndex(
            model_name="journalentry",
            index=models.Index(fields=["kind", "id"], name="entry_kind"),
        ),
        migrations.RunSQL(_SEAL, _BEFORE),
    ]
