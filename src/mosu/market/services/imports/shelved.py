"""What applying an import and undoing it have in common: which rows count, and what is locked meanwhile."""

from datetime import datetime
from typing import Any, Final

from django.db.backends.utils import CursorWrapper

from mosu.market.models import OfferImport

PASSED: Final = "r.offer_import_id = %(import)s and (r.doubt = '' or r.released)"
"""Rows `r` that reach the shelf."""

LOCK_OFFERS: Final = """
select count(*) from (
  select o.id from market_offer o
   where o.id in (select r.offer_id from market_offerimportrow r where r.offer_import_id = %(import)s)
   order by o.id for no key update) locked
"""


def lock_supplier(cursor: CursorWrapper, row: OfferImport) -> None:
    """Two imports of one supplier would make the same new offers."""
    cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"import:{row.supplier_id}"])


def given_of(row: OfferImport, *, now: datetime) -> dict[str, Any]:
    """The parameters of their statements."""
    return {
        "import": row.id,
        "supplier": row.supplier_id,
        "shelf": row.shelf,
        "source": row.source,
        "now": now,
    }
