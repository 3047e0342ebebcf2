"""Migration operations that let the database hold what must always hold.

Each takes the table's name. The application's role, `mosu_app`, owns no table: what is revoked here it cannot
grant itself back.
"""

from django.db.migrations.operations import RunSQL

APP_ROLE = "mosu_app"

_REQUIRE_AUDIT = """
create function require_audit() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare was text := case when tg_op = 'UPDATE' then old.state end;
begin
  if tg_op = 'UPDATE' and new.state = old.state then return null; end if;
  perform 1 from platform_auditrecord
   where subject_id = new.id and xid = pg_current_xact_id()
     and before is not distinct from was and after = new.state;
  if not found then
    raise exception 'state of % % changed from % to % without an audit record', tg_table_name, new.id, was, new.state
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create function stamp_transaction() returns trigger language plpgsql as $$
begin new.xid := pg_current_xact_id(); return new; end $$;
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, lower(tg_op)
    using errcode = 'integrity_constraint_violation';
end $$;
"""


_REFUSE_FINAL = """
create function refuse_change_of_final() returns trigger language plpgsql as $$
begin
  if old.state = any (tg_argv) and new is distinct from old then
    raise exception '% is %: it no longer changes', tg_table_name, old.state
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
"""


def final_function() -> RunSQL:
    """The function that `final` hangs on tables; once."""
    return RunSQL(_REFUSE_FINAL, "drop function refuse_change_of_final()")


def audit_functions() -> RunSQL:
    """The functions that `audited` and `append_only` hang on tables; once, in the platform's first migration."""
    return RunSQL(
        _REQUIRE_AUDIT,
        "drop function require_audit(); drop function stamp_transaction(); drop function refuse_change();",
    )


def audited(table: str) -> RunSQL:
    """Refuse a new `state` in `table` unless the same transaction wrote its audit record (before, after)."""
    return RunSQL(
        f"create constraint trigger audited after insert or update of state on {table} "
        "deferrable initially deferred for each row execute function require_audit()",
        f"drop trigger audited on {table}",
    )


def append_only(table: str) -> RunSQL:
    """Refuse update, delete and truncate on `table`, for the owner too."""
    return RunSQL(
        f"create trigger append_only before update or delete on {table} "
        "for each row execute function refuse_change();"
        f"create trigger append_only_whole before truncate on {table} "
        "for each statement execute function refuse_change();"
        f"revoke update, delete, truncate on {table} from {APP_ROLE};",
        f"drop trigger append_only on {table}; drop trigger append_only_whole on {table};"
        f"grant update, delete on {table} to {APP_ROLE};",
    )


def owner_only(table: str) -> RunSQL:
    """Leave the application's role only reading `table`: what writes it are SECURITY DEFINER functions."""
    return RunSQL(
        f"revoke insert, update, delete, truncate on {table} from {APP_ROLE}",
        f"grant insert, update, delete on {table} to {APP_ROLE}",
    )


def only(table: str, *columns: str) -> RunSQL:
    """The application's role may change nothing but `columns` of `table`, and deletes no row of it."""
    return RunSQL(
        f"revoke update, delete, truncate on {table} from {APP_ROLE};"
        f"grant update ({', '.join(columns)}) on {table} to {APP_ROLE}",
        f"revoke update ({', '.join(columns)}) on {table} from {APP_ROLE};"
        f"grant update, delete on {table} to {APP_ROLE}",
    )


def final(table: str, *states: str) -> RunSQL:
    """Refuse changing a row of `table` in one of `states`, and deleting any or truncating; for the owner too."""
    return RunSQL(
        f"create trigger final before update on {table} "
        f"for each row execute function refuse_change_of_final({', '.join(repr(state) for state in states)});"
        f"create trigger kept before delete on {table} for each row execute function refuse_change();"
        f"create trigger kept_whole before truncate on {table} "
        "for each statement execute function refuse_change();",
        f"drop trigger final on {table}; drop trigger kept on {table}; drop trigger kept_whole on {table};",
    )
