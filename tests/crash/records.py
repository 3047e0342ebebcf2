"""All that a hub keeps, as rows and files: exactly, to be put back, and without the names that no two runs share."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from mosu.ledger.services import VERIFIED
from mosu.market.services import RECOMPUTED

_UNCOUNTED: Final = frozenset({"platform_failurecount", "django_session"})
"""What counts tries and visits: a repeated request is one more of them."""
_LOOKS: Final = frozenset({VERIFIED, RECOMPUTED})
"""That somebody looked: who looks twice has looked twice."""
_NAMES: Final = [
    (re.compile(pattern), text)
    for pattern, text in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"\b([a-z]+)_[0-9a-hjkmnp-tv-z]{26}\b", r"\1_ID"),
        (r"[0-9a-f]{64}", "SHA256"),
        (r"\bO-\d{4}-\d{6}\b", "O-NUMBER"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?", "TIME"),
        (r"\"(xid|job_id)\": \"?\d+\"?", r"\1"),
        (r"(scrypt|md5)\$[^\"]+", "PASSWORD"),
    )
]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: sql.Composed
    """Those that can be written."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows by table, and files by path."""

    digests: Mapping[str, str | None]
    rows: Mapping[str, bytes]
    files: Mapping[str, bytes]


class Records:
    """Of one hub, seen by the superuser: past its rules and triggers."""

    def __init__(self, superuser: psycopg.Connection[Any], folder: Path) -> None:
        self._connection, self._folder = superuser, folder
        self._tables = [
            Table(name, sql.SQL(", ").join(map(sql.Identifier, columns)))
            for name, columns in superuser.execute(
                "select relname, array_agg(attname order by attnum) from pg_class join pg_attribute on attrelid = pg_class.oid "
                "where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped "
                "and attgenerated = '' group by relname order by relname"
            )
        ]
        self._digests = sql.SQL(" union all ").join(
            sql.SQL("select {}, md5(string_agg(t::text, ' ' order by t::text)) from {} t").format(
                sql.Literal(table.name), sql.Identifier(table.name)
            )
            for table in self._tables
        )

    def exact(self) -> dict[str, str | None]:
        """A digest of each table's rows, and of each file."""
        return dict(self._connection.execute(self._digests).fetchall()) | {
            path: hashlib.sha256(data).hexdigest() for path, data in self._files().items()
        }

    def keep(self) -> Kept:
        rows = {table.name: self._copied(table) for table in self._tables}
        return Kept(self.exact(), rows, self._files())

    def put_back(self, kept: Kept) -> None:
        """All as it was but for the sequences, which no transaction takes back either."""
        now = self.exact()
        with self._connection.transaction():
            self._connection.execute("set local session_replication_role = replica")
            for table in self._tables:
                if now[table.name] != kept.digests[table.name]:
                    self._write(table, kept.rows[table.name])
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        for path, data in kept.files.items():
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / path).write_bytes(data)

    def alike(self, kept: Kept) -> dict[str, Counter[str]]:
        """What two hubs have in common to which the same happened, in what changed since `kept`."""
        now = self.exact()
        found = {
            table.name: Counter(
                _nameless(row)
                for (row,) in self._connection.execute(
                    sql.SQL("select to_jsonb(t) from {} t").format(sql.Identifier(table.name))
                )
                if row.get("action") not in _LOOKS
            )
            for table in self._tables
            if table.name not in _UNCOUNTED and now[table.name] != kept.digests[table.name]
        }
        return found | {"files": Counter(map(str, self._files().items()))}

    def differences(self, kept: Kept, other: Mapping[str, Counter[str]]) -> list[str]:
        """Rows that `alike` finds now and not there (+), and the other way round (-)."""
        now, none = self.alike(kept), Counter[str]()
        return [
            f"{sign} {name}: {row}"
            for name in sorted({*now, *other})
            for sign, rows in (
                ("+", now.get(name, none) - other.get(name, none)),
                ("-", other.get(name, none) - now.get(name, none)),
            )
            for row in rows
        ]

    def _copied(self, table: Table) -> bytes:
        query = sql.SQL("copy (select {} from {}) to stdout").format(
            table.columns, sql.Identifier(table.name)
        )
        with self._connection.cursor().copy(query) as copy:
            return b"".join(copy)

    def _write(self, table: Table, rows: bytes) -> None:
        name = sql.Identifier(table.name)
        self._connection.execute(sql.SQL("delete from {}").format(name))
        query = sql.SQL("copy {} ({}) from stdin").format(name, table.columns)
        with self._connection.cursor().copy(query) as copy:
            copy.write(rows)

    def _files(self) -> dict[str, bytes]:
        """What an upload that died left behind is nobody's, and swept."""
        return {
            str(path.relative_to(self._folder)): path.read_bytes()
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and path.parent.name != "tmp"
        }


def _nameless(row: dict[str, Any]) -> str:
    row = {
        key: value
        for key, value in row.items()
        if key != "last_login" and not (key == "id" and isinstance(value, int))
    }
    text = json.dumps(row, sort_keys=True, ensure_ascii=False)
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return text
