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
