"""What the database itself holds of subsidies."""

from django.db.migrations.operations import RunSQL

from mosu.platform.sql import APP_ROLE

_FIXED = f"""
create function subsidies_refuse_released() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or old.state = 'released'
     or (old.programme_id, old.number, old.document, old.sha256, old.terms, old.pool_micros, old.maker_id)
        is distinct from (new.programme_id, new.number, new.document, new.sha256, new.terms, new.pool_micros,
                             new.maker_id)
  then
    raise exception 'terms of a programme are fixed: % refused', lower(tg_op)
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger fixed_once_released before update or delete on subsidies_programmeversion
  for each row execute function subsidies_refuse_released();
create trigger fixed_whole before truncate on subsidies_programmeversion
  for each statement execute function refuse_change();
revoke delete, truncate on subsidies_programmeversion, subsidies_voucher, subsidies_redemption, subsidies_claim,
  subsidies_programme from {APP_ROLE};
"""


def fixed_once_released() -> RunSQL:
    """Refuse to change a programme version's terms, ever, and the row once it is released."""
    return RunSQL(
        _FIXED,
        "drop trigger fixed_whole on subsidies_programmeversion;"
        "drop trigger fixed_once_released on subsidies_programmeversion;"
        "drop function subsidies_refuse_released();",
    )


_PUBLIC_MONEY = """
create function subsidies_require_release() returns trigger
language plpgsql set search_path = public, pg_temp as $$
begin
  if new.kind = 'pool.filled' and not exists (
    select from subsidies_programmeversion v
      join ledger_account a on a.kind = 'pool' and a.owner_id = v.programme_id
     where new.subject_id = v.programme_id and new.key = 'programme:' || v.id || ':pool'
       and v.state = 'released' and v.checker_id <> v.maker_id
       and not exists (select from jsonb_array_elements(new.moves) as m where (m ->> 1)::uuid <> a.id)
       and v.pool_micros = (
         select sum((m ->> 2)::bigint) from ledger_journalentry e, jsonb_array_elements(e.moves) as m
          where e.kind = 'pool.filled' and e.subject_id = v.programme_id
            and e.key in (select 'programme:' || o.id || ':pool' from subsidies_programmeversion o
                           where o.programme_id = v.programme_id and o.number <= v.number)))
  then
    raise exception 'entry % fills no pool that two persons released', new.id
      using errcode = 'integrity_constraint_violation';
  end if;
  if new.kind = 'voucher.released' and not exists (
    select from subsidies_voucher w join subsidies_programmeversion v on v.id = w.version_id
      join ledger_account a on a.kind = 'pool' and a.owner_id = v.programme_id
     where new.subject_id = w.id and new.key = 'voucher:' || w.id || ':released' and w.released_at is not null
       and new.moves = jsonb_build_array(jsonb_build_array(a.id, w.account_id, w.amount_micros)))
  then
    raise exception 'entry % is not that of a released voucher', new.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create constraint trigger released after insert on ledger_journalentry deferrable initially deferred
  for each row when (new.kind in ('pool.filled', 'voucher.released')) execute function subsidies_require_release();
"""


def public_money() -> RunSQL:
    """Refuse an entry that fills a pool or a voucher unless the rows of both say so: at commit, whoever posts it."""
    return RunSQL(
        _PUBLIC_MONEY,
        "drop trigger released on ledger_journalentry; drop function subsidies_require_release();",
    )


_CLAIMED = """
create function subsidies_require_claim() returns trigger
language plpgsql set search_path = public, pg_temp as $$
begin
  if exists (select from jsonb_array_elements(new.moves) as m join ledger_account a on a.id = (m ->> 1)::uuid
              where a.kind = 'balance')
     and not exists (
    select from subsidies_redemption r
      join subsidies_disbursement d on d.redemption_id = r.id
      join subsidies_claim c on c.id = d.claim_id
      join subsidies_voucher w on w.id = r.voucher_id
      join ledger_account b on b.kind = 'balance' and b.owner_id = c.organisation_id
     where d.entry_id = new.id and new.key = 'redemption:' || r.id || ':captured'
       and new.hold_id = r.voucher_hold_id and r.state = 'captured' and r.amount_micros = d.amount_micros
       and c.order_id = r.order_id and c.organisation_id = w.organisation_id
       and c.state = 'disbursed' and c.checker_id <> c.maker_id
       and c.amount_micros = (select sum(o.amount_micros) from subsidies_disbursement o where o.claim_id = c.id)
       and new.moves = jsonb_build_array(jsonb_build_array(w.account_id, b.id, d.amount_micros)))
  then
    raise exception 'entry % is not that of a claim that two persons decided', new.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create constraint trigger claimed after insert on ledger_journalentry deferrable initially deferred
  for each row when (new.kind = 'voucher.captured') execute function subsidies_require_claim();
"""


def claimed() -> RunSQL:
    """Refuse a voucher's money on a balance unless a disbursed claim says so: at commit, whoever posts it."""
    return RunSQL(
        _CLAIMED,
        "drop trigger claimed on ledger_journalentry; drop function subsidies_require_claim();",
    )
