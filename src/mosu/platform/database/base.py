"""The engine that `settings.DATABASES` names: Django's own but for the pool's check."""

import select
from typing import Any

from django.db.backends.postgresql import base
from psycopg import Connection
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


def check_quietly(connection: Connection[Any]) -> None:
    """Nothing for a connection that lives; a server that ended has closed its end, and that can be read at once.

    Raises:
        psycopg.OperationalError: it has ended.
    """
    readable, _, _ = select.select([connection.fileno()], [], [], 0)
    if readable:  # its end, or the server's last word
        ConnectionPool.check_connection(connection)
