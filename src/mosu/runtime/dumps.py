"""PostgreSQL's own dump and restore, and a cluster that runs for as long as they need it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from mosu.kernel.refusals import DomainError
from mosu.runtime.binaries import Binaries
from mosu.runtime.postgres import ENVIRONMENT, Cluster

# Bookkeeping that PostgreSQL 15.20 and its contemporaries keep per column and dump: an older minor version of a
# newer major refuses to read it.
_ATTRIBUTE_VERSION: Final = re.compile(
    r"^ALTER TABLE ONLY \S+ ALTER COLUMN \S+ SET \(pg_attver=\d+\);\n", re.MULTILINE
)


class DumpFailed(DomainError):
    """PostgreSQL's pg_dump or pg_restore refused."""

    code = "dump_failed"


@contextmanager
def running(cluster: Cluster) -> Iterator[None]:
    """The cluster, answering; started and stopped again if it was not."""
    if cluster.answers():
        yield
        return
    cluster.start(with_parent=True)
    try:
        yield
    finally:
        cluster.stop()


def dump(dsn: str, *, file: Path, binaries: Binaries, snapshot: str | None = None) -> None:
    """The database of `dsn` into `file`, as of `snapshot` if given.

    Raises:
        DumpFailed: pg_dump said so; `file` may be there in part.
    """
    of = [f"--snapshot={snapshot}"] if snapshot else []
    _run([binaries.path("pg_dump"), "--format=custom", f"--file={file}", *of], dsn)


def undump(dsn: str, *, file: Path, binaries: Binaries) -> None:
    """What `dump` wrote, into the empty database of `dsn`; on a refusal the caller drops that database.

    Raises:
        DumpFailed: pg_restore or psql said so.
    """
    name = conninfo_to_dict(dsn)["dbname"]
    restore = [binaries.path("pg_restore"), "--exit-on-error"]
    tables = _run([*restore, "--section=pre-data", "--file=-", str(file)], dsn)
    once = ["--single-transaction", f"--dbname={name}"]
    stop = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    _run([binaries.path("psql"), *stop, *once], dsn, given=_ATTRIBUTE_VERSION.sub("", tables))
    _run([*restore, "--section=data", "--section=post-data", *once, str(file)], dsn)


def rows_by_table(dsn: str) -> dict[str, int]:
    """How many rows each table of the public schema holds, counted."""
    with psycopg.connect(dsn) as connection:
        names = [
            str(row[0])
            for row in connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
                "ORDER BY relname"
            )
        ]
        return {name: _count(connection, name) for name in names}


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return int(row[0]) if row else 0


def _run(command: list[str], dsn: str, *, given: str | None = None) -> str:
    """What the program printed, fed with `given`."""
    facts = conninfo_to_dict(dsn)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    # By the environment: all users see arguments.
    environment = ENVIRONMENT | {names[key]: str(value) for key, value in facts.items() if key in names}
    done = subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DumpFailed(
            f"{Path(command[0]).name} failed: {done.stderr.strip()[-2000:]}", hint="Run: mosu doctor"
        )
    return done.stdout
