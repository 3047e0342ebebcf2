"""The row that every table of mosu is made of."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from django.db import connection, models

from mosu.kernel.ids import typeid, uuid7, uuid_of
from mosu.kernel.refusals import NotFound


class Row(models.Model):
    """A UUIDv7 key inside, a TypeID with the class's `prefix` outside."""

    prefix: ClassVar[str]

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True

    @property
    def public_id(self) -> str:
        return typeid(self.prefix, self.id)

    @classmethod
    def key_of(cls, public_id: str) -> UUID:
        """The key behind a public id of this class.

        Raises:
            NotFound: not an id of this class.
        """
        return uuid_of(cls.prefix, public_id)


RowT = TypeVar("RowT", bound=Row)


def row_of(rows: models.QuerySet[RowT], public_id: str) -> RowT:
    """The one of `rows` with this public id; `rows` is what the actor may see.

    Raises:
        NotFound: there is none, or the actor may not know that there is.
    """
    row = rows.filter(id=rows.model.key_of(public_id)).first()
    if row is None:
        raise NotFound(f"There is no {public_id}.", hint="See the list for what there is.", found=public_id)
    return row


_waiting: Final[ContextVar[list[Row] | None]] = ContextVar("rows_to_insert", default=None)


def insert(*rows: Row) -> None:
    """Write new rows, in one message to the database; inside `inserts_together`, at its end.

    The ORM builds its statement anew for each row, which costs more than the insert itself.
    """
    waiting = _waiting.get()
    if waiting is None:
        _write(rows)
    else:
        waiting.extend(rows)


@contextmanager
def inserts_together() -> Iterator[None]:
    """All that is inserted inside is written at the end, in one message: for an intention that writes many rows.

    Inside that intention's transaction: a refusal writes nothing. Foreign keys are checked at the commit, so rows may
    come in any order. What is inside does not read what it inserted.
    """
    if _waiting.get() is not None:
        yield
        return
    rows: list[Row] = []
    token = _waiting.set(rows)
    try:
        yield
    finally:
        _waiting.reset(token)
    _write(rows)


def _write(rows: Sequence[Row]) -> None:
    if not rows:
        return
    values = [
        field.get_db_prep_save(field.pre_save(row, add=True), connection)
        for row in rows
        for field in row._meta.concrete_fields
    ]
    with connection.cursor() as cursor:
        # Several statements in one message: the driver puts the values in, as always without server-side binding.
        cursor.execute(";".join(_statement(type(row)) for row in rows), values)
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


@cache
def _statement(model: type[Row]) -> str:
    fields: Sequence[Any] = model._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    places = ", ".join(
        field.get_placeholder(None, None, connection) if hasattr(field, "get_placeholder") else "%s"
        for field in fields
    )
    return f'insert into "{model._meta.db_table}" ({columns}) values ({places})'  # noqa: S608 - names of the code
