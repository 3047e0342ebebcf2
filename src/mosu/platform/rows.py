"""The row that every table of mosu is made of."""

from typing import ClassVar, TypeVar
from uuid import UUID

from django.db import models

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
