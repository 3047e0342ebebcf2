"""Django's default connection, pointed somewhere else for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections
from psycopg.conninfo import conninfo_to_dict


@contextmanager
def connected_to(dsn: str) -> Iterator[None]:
    """Django's default connection, in every thread, goes to `dsn`, without a pool."""
    facts = conninfo_to_dict(dsn)
    settings = connections.settings["default"]
    before = dict(settings)
    connections.close_all()
    options = {key: value for key, value in before.get("OPTIONS", {}).items() if key != "pool"}
    settings.update(
        NAME=facts.get("dbname", ""),
        USER=facts.get("user", ""),
        PASSWORD=facts.get("password", ""),
        HOST=facts.get("host", ""),
        PORT=str(facts.get("port", "")),
        CONN_MAX_AGE=0,
        OPTIONS=options,
    )
    try:
        yield
    finally:
        connections.close_all()
        settings.clear()
        settings.update(before)
