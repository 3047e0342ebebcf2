"""How far an import is, for those who wait: told while it goes on, outside of its transaction."""

import time
from types import TracebackType
from typing import Final
from uuid import UUID

from django.db import connection

_EVERY_S: Final = 0.3
_TELL: Final = """
update market_offerimport set percent = %s, rows_read = greatest(rows_read, %s)
 where id = %s and state in ('reading', 'applying', 'undoing')
"""


class Progress:
    """Tells by a connection of its own: what the work's transaction writes nobody sees before it ends.

    In a `with` that ends before that transaction locks the import.
    """

    def __init__(self, import_id: UUID) -> None:
        self._import_id = import_id
        self._own = connection.copy()
        self._told_at = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._own.close()

    def tell(self, share: float, *, rows_read: int = 0) -> None:
        """`share` is between 0 and 1. Not more often than anybody looks."""
        now = time.monotonic()
        if now - self._told_at < _EVERY_S:
            return
        self._told_at = now
        with self._own.cursor() as cursor:
            cursor.execute(_TELL, [min(99, int(share * 100)), rows_read, self._import_id])
