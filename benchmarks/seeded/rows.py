"""Rows into a hub's tables by COPY, as the owner of the tables; what is not named has the model's own default."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

BATCH_ROWS = 20_000
_NUMBERED = ("AutoField", "BigAutoField")


class Ids:
    """UUIDs of version 7, as `kernel.ids` makes them, but the same for the same seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def at(self, when: datetime) -> UUID:
        value = int(when.timestamp() * 1000) << 80 | self._chance.getrandbits(80)
        value = value & ~(0xF << 76) | 0x7 << 76
        return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


class Table:
    """Gathers rows of one model's table and copies them in batches."""

    def __init__(self, connection: psycopg.Connection[Any], model: Any, columns: Sequence[str]) -> None:
        self._connection, self.name = connection, model._meta.db_table
        self._rows: list[tuple[Any, ...]] = []
        rest = []
        for field in model._meta.concrete_fields:
            if field.column in columns or field.generated or field.get_internal_type() in _NUMBERED:
                continue
            value = field.get_default()
            is_json = value is not None and field.get_internal_type() == "JSONField"
            rest.append((field.column, Jsonb(value) if is_json else value))
        self._rest = tuple(value for _, value in rest)
        names = [*columns, *(name for name, _ in rest)]
        self._copy = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(self.name), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        self.count = 0

    def add(self, *row: Any) -> None:
        self._rows.append(row + self._rest)
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            with self._connection.cursor() as cursor, cursor.copy(self._copy) as copy:
                for row in self._rows:
                    copy.write_row(row)
        self.count += len(self._rows)
        self._rows.clear()


@contextmanager
def without_triggers(owner_dsn: str, tables: Sequence[str]) -> Iterator[None]:
    """The tables without their own triggers (those of foreign keys stay): a year of rows would take them hours."""
    _set_triggers(owner_dsn, tables, "disable")
    try:
        yield
    finally:
        _set_triggers(owner_dsn, tables, "enable")


def _set_triggers(owner_dsn: str, tables: Sequence[str], word: str) -> None:
    with psycopg.connect(owner_dsn) as connection:
        for table in tables:
            connection.execute(
                sql.SQL("alter table {} " + word + " trigger user").format(sql.Identifier(table))
            )
