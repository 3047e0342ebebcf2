"""Bringing a file of offers in, second half: what the preview showed happens at once, or nothing does."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.market.gates import DOUBTS, UNRELEASABLE
from mosu.market.models import Change, Gone, ImportState, OfferImport, OfferImportRow, OfferState
from mosu.market.services.imports.diff import OLD_TERMS, PRICES, SET_BASED
from mosu.market.services.imports.moves import IMPORT_MOVES, WHY_MIN, hand_over, locked_import, move
from mosu.market.services.imports.progress import Progress
from mosu.market.services.imports.shelved import (
    LOCK_OFFERS,
    PASSED,
    TERMS,
    given_of,
    lock_supplier,
    rows_passed,
)
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.platform.services import Audit, record_audit, record_audits


class ImportStale(DomainError):
    """The shelf changed since the preview."""

    code = "import_stale"


class NotReleasable(DomainError):
    """Nothing could be sold by this row, whoever vouches for it."""

    code = "not_releasable"


_STALE: Final = f"""
select r.external_key from market_offerimportrow r
  left join market_offer o on o.supplier_id = %(supplier)s and o.source = %(source)s
                          and o.external_key = r.external_key
  left join {PRICES} p on p.offer_id = o.id and p.meter = r.meter
 where {PASSED} and (
   (r.change = 'new') <> (o.id is null)
   or (o.id is not null and (
     o.state <> r.old_state or p.unit_price_micros is distinct from r.old_price_micros
     or coalesce(p.currency, '') <> r.old_currency
     or {OLD_TERMS} <> r.old_terms - 'subject_id')))
 limit 1
"""  # noqa: S608 - its parts are constants of ours
_MAKE: Final = f"""
insert into market_offer (
  id, supplier_id, shelf, subject_id, title_zh, title_en, attributes, tax_rate_bp, tax_included, min_units, max_units,
  wall_s_max, sold_by, buyer_organisation_id, fee_bp, source, external_key, state, created_at)
select r.offer_id, %(supplier)s, %(shelf)s, coalesce(r.subject_id, r.offer_id), t.title_zh, t.title_en, t.attributes,
       t.tax_rate_bp, t.tax_included, t.min_units, t.max_units, t.wall_s_max, t.sold_by, t.buyer, 0, %(source)s,
       r.external_key, 'listed', %(now)s
  from market_offerimportrow r,
       jsonb_to_record(r.terms) as {TERMS}
 where {PASSED} and r.change = 'new'
"""  # noqa: S608 - its parts are constants of ours
_CHANGE: Final = f"""
update market_offer o
   set title_zh = t.title_zh, title_en = t.title_en, attributes = t.attributes, tax_rate_bp = t.tax_rate_bp,
       tax_included = t.tax_included, min_units = t.min_units, max_units = t.max_units, wall_s_max = t.wall_s_max,
       sold_by = t.sold_by, subject_id = coalesce(r.subject_id, o.subject_id), state = 'listed'
  from market_offerimportrow r,
       jsonb_to_record(r.terms) as {TERMS}
 where {PASSED} and r.change = 'changed' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
_PRICE: Final = f"""
insert into market_offerprice (id, offer_id, meter, unit, per, unit_price_micros, currency, valid_from)
select market_uuid7(%(now)s), r.offer_id, r.meter, r.unit, 3600, r.unit_price_micros, r.currency, %(now)s
  from market_offerimportrow r
 where {PASSED} and r.change <> 'gone'
   and (r.unit_price_micros is distinct from r.old_price_micros or r.currency <> r.old_currency)
"""  # noqa: S608 - its parts are constants of ours
_WITHDRAW: Final = f"""
update market_offer o set state = 'delisted' from market_offerimportrow r
 where {PASSED} and r.change = 'gone' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
_ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Change.NEW: "offer.create",
        Change.PRICE: "offer.price",
        Change.CHANGED: "offer.change",
        Change.GONE: "offer.delist",
    }
)
_BATCH: Final = 10_000


@transaction.atomic(durable=True)
def apply_import(*, actor: Actor, import_id: UUID, now: datetime) -> OfferImport:
    """The import, on its way to the shelf: the hub applies it in the background. Asking again changes nothing.

    Raises:
        NotFound: no such import, or not the actor's to see.
        Forbidden: the actor may not manage the supplier's offers.
        IllegalMove: it is not previewed: still read, refused, discarded, undone.
    """
    row = locked_import(actor, import_id)
    if row.state in (ImportState.APPLYING, ImportState.APPLIED):
        return row
    move(row, actor=actor, to=ImportState.APPLYING, now=now)
    hand_over(row)
    return row


def put_on_shelf(
    row: OfferImport, *, actor: Actor, why: str, progress: Progress, now: datetime
) -> ImportState:
    """Make the shelf as the preview showed: offers made, changed and priced, and withdrawn if that was chosen.

    Offers keep their ids, prices their history; quotes already made keep theirs. What is quarantined and not released
    is left as it is.

    Raises:
        ImportStale: another price, import or change came in between.
    """
    given = given_of(row, now=now)
    with connection.cursor() as cursor:
        lock_supplier(cursor, row)
        cursor.execute(SET_BASED)
        cursor.execute(LOCK_OFFERS, given)
        cursor.execute(_STALE, given)
        stale = cursor.fetchone()
        if stale is not None:
            raise ImportStale(
                f"The offer {stale[0][:60]} changed since the preview.",
                hint="Bring the file in again.",
                external_key=stale[0][:200],
            )
        progress.tell(0.1)
        record_audits(
            actor=actor, entries=_audits(row, progress), now=now, organisation_id=row.supplier_id, why=why
        )
        steps = (_MAKE, _CHANGE, _PRICE, *((_WITHDRAW,) if row.gone == Gone.WITHDRAW else ()))
        for done, statement in enumerate(steps):
            progress.tell(0.4 + done / 8)
            cursor.execute(statement, given)
    return ImportState.APPLIED


@transaction.atomic(durable=True)
def discard_import(*, actor: Actor, import_id: UUID, now: datetime, why: str = "") -> OfferImport:
    """The import, thrown away unapplied. Repeating it changes nothing.

    Raises:
        NotFound, Forbidden: as `apply_import`.
        IllegalMove: it is not previewed.
    """
    row = locked_import(actor, import_id)
    if row.state == ImportState.DISCARDED:
        return row
    return move(row, actor=actor, to=ImportState.DISCARDED, now=now, why=why)


@transaction.atomic(durable=True)
def release_row(*, actor: Actor, import_id: UUID, line: int, why: str, now: datetime) -> OfferImportRow:
    """Let a quarantined row through when the import is applied; for the hub's operator, with a reason that is kept.

    Raises:
        Forbidden: the actor is not the hub's operator.
        NotFound: no such import, or no quarantined row of this line.
        Invalid: no reason.
        IllegalMove: the import is no longer previewed.
        NotReleasable: nothing could be sold by it (no price, no rate, the same key twice...).
    """
    require(actor, "import.release")
    row = locked_import(actor, import_id)
    if len(why.strip()) < WHY_MIN:
        raise Invalid("why: release it for what reason?", hint="Say why; it is kept.", field="why")
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=ImportState.APPLYING)
    doubted = list(
        OfferImportRow.objects.filter(offer_import=row, line=line).exclude(doubt="").order_by("id")
    )
    if not doubted:
        raise NotFound(f"No row of line {line} is in quarantine.", hint="See the import's quarantined rows.")
    for one in doubted:
        if one.doubt in UNRELEASABLE:
            raise NotReleasable(
                f"Line {line} cannot be released: {DOUBTS[one.doubt]['en']}.",
                hint="Mend the file and import it again.",
                doubt=one.doubt,
            )
    record_audit(
        actor=actor,
        action="import.release",
        subject_id=row.id,
        before=row.state,
        after=row.state,
        now=now,
        organisation_id=row.supplier_id,
        why=why.strip(),
        facts={"line": line, "doubt": doubted[0].doubt, "reason": doubted[0].reason},
    )
    if OfferImportRow.objects.filter(id__in=[one.id for one in doubted], released=False).update(
        released=True
    ):
        OfferImport.objects.filter(id=row.id).update(held=F("held") - 1)
    doubted[0].released = True
    return doubted[0]


def _audits(row: OfferImport, progress: Progress) -> Iterator[Audit]:
    """One record for each offer that changes, as if each had been changed by hand."""
    columns = ("change", "offer_id", "old_state", "meter", "unit_price_micros", "currency")
    whole = max(1, sum(row.counts.get(kind, 0) for kind in Change.values))
    found = rows_passed(row).values_list(*columns).iterator(chunk_size=_BATCH)
    for done, (change, offer_id, old_state, meter, price, currency) in enumerate(found):
        facts: dict[str, Any] = {"import": row.public_id}
        if price is not None:
            facts |= {"meter": meter, "unit_price_micros": price, "currency": currency, "per": 3600}
        yield Audit(
            action=_ACTIONS[change],
            subject_id=offer_id,
            before=old_state or None,
            after=(OfferState.DELISTED if change == Change.GONE else OfferState.LISTED).value,
            facts=facts,
        )
        progress.tell(0.1 + min(0.3, 0.3 * done / whole))
