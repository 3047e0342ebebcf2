"""What every table keeps to, those that are yet to come too."""

import pytest
from django.db import connection

OTHERWISE = {
    "ledger_hold": "its triggers write the record themselves",
    "market_usagerecord": "append-only: a state is given once",
}
"""Tables with a state whose change needs no record of the application's, and why."""


def names(query: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return {name for (name,) in cursor.fetchall()}


@pytest.mark.django_db
def test_whatever_has_a_state_is_audited() -> None:
    states = names(
        "select table_name from information_schema.columns where table_schema = 'public' and column_name = 'state'"
    )
    audited = names(
        "select c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid "
        "where t.tgname = 'audited' and t.tgenabled = 'O' and t.tgdeferrable and t.tginitdeferred"
    )
    assert len(states) > 15
    assert states - audited == set(OTHERWISE)
    assert audited <= states


@pytest.mark.django_db
def test_the_application_owns_nothing() -> None:
    """What is revoked it cannot grant itself back, and what a trigger refuses it cannot disable."""
    assert names("select current_user") == {"mosu_app"}
    owned = "select relname::text from pg_class where pg_get_userbyid(relowner) = 'mosu_app' and relkind in ('r', 'p', 'v', 'S')"
    assert names(owned) == set()
    assert names("select proname::text from pg_proc where pg_get_userbyid(proowner) = 'mosu_app'") == set()
