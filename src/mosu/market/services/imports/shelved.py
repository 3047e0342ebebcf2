"""What applying an import and undoing it have in common: which rows count, and what is locked meanwhile."""

from datetime import datetime
from typing import Any, Final

from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from mosu.market.models import Change, Gone, OfferImport, OfferImportRow

PASSED: Final = "r.offer_import_id = %(import)s and (r.doubt = '' or r.released)"
"""Rows `r` that reach the shelf."""
TERMS: Final = """t(title_zh text, title_en text, attributes jsonb, tax_rate_bp int, tax_included bool,
         min_units int, max_units int, wall_s_max int, sold_by text, subject_id uuid, buyer uuid)"""
"""Terms `t` of a row as a record: what is not among them is null."""

LOCK_OFFERS: Final = """
select count(*) from (
  select o.id from market_offer o
   where o.id in (select r.offer_id from market_offerimportrow r where r.offer_import_id = %(import)s)
   order by o.id for no key update) locked
"""


def rows_passed(row: OfferImport) -> QuerySet[OfferImportRow]:
    """The rows that reach the shelf, in order; those that are gone only where they are withdrawn."""
    rows = (
        OfferImportRow.objects.filter(offer_import=row).exclude(released=False, doubt__gt="").order_by("id")
    )
    return rows.exclude(change=Change.GONE) if row.gone == Gone.KEEP else rows


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
