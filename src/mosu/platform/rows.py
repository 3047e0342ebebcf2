"""The row that every table of mosu is made of."""

from typing import ClassVar
from uuid import UUID

from django.db import models

from mosu.kernel.ids import typeid, uuid7, uuid_of


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
