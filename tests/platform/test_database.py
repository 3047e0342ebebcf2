"""The pool's check: no statement for what lives, an error for what was killed."""

from typing import Any

import psycopg
import pytest

from mosu.platform.database.base import check_quietly


def test_a_killed_connection_is_seen_and_a_living_one_costs_no_statement(
    fresh_db: Any,
) -> None:
    with (
        psycopg.connect(fresh_db.app_dsn, autocommit=True) as one,
        psycopg.connect(fresh_db.app_dsn, autocommit=True) as other,
    ):
        before = _statements(other, one.info.backend_pid)
        check_quietly(one)
        assert _statements(other, one.info.backend_pid) == before
        other.execute("select pg_terminate_backend(%s, 5000)", [one.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            check_quietly(one)


def _statements(connection: psycopg.Connection[Any], pid: int) -> Any:
    query = "select query, state_change from pg_stat_activity where pid = %s"
    return connection.execute(query, [pid]).fetchone()
