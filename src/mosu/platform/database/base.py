"""The engine that `settings.DATABASES` names: Django's own but for the pool's check."""

import select
from typing import Any, cast

from django.db import connection as of_this_thread
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg import Connection, Cursor
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection is asked whether it lives at each request's start; Django's way is one more statement."""

    @property
    def pool(self) -> ConnectionPool[Any] | None:
        options = self.settings_dict["OPTIONS"].get("pool")
        if not options:
            return None
        pools: dict[str, ConnectionPool[Any]] = self._connection_pools  # type: ignore[attr-defined]
        if self.alias not in pools:
            made: ConnectionPool[Any] = ConnectionPool(
                kwargs={**self.get_connection_params(), "autocommit": True},
                open=False,
                configure=self._configure_connection,  # type: ignore[attr-defined]
                check=check_quietly,
                **options,
            )
            pools.setdefault(self.alias, made)
        return pools[self.alias]

    def prepared_cursor(self) -> CursorWrapper:
        """A cursor whose statements this connection plans once and keeps, where Django's are planned each time."""
        self.ensure_connection()
        with self.wrap_database_errors:
            cursor: CursorWrapper = self._prepare_cursor(Cursor(self.connection))  # type: ignore[attr-defined]
        return cursor


def prepared_cursor() -> CursorWrapper:
    """For the few statements that come with every request: they are planned once per connection.

    Their text must not change, or each variant is kept too: values go in as parameters, lists as arrays.
    """
    return cast(DatabaseWrapper, of_this_thread).prepared_cursor()


def check_quietly(connection: Connection[Any]) -> None:
    """Nothing for a connection that lives; a server that ended has closed its end, and that can be read at once.

    Raises:
        psycopg.OperationalError: it has ended.
    """
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    if readable:  # its end, or the server's last word
        ConnectionPool.check_connection(connection)
