"""Bringing a file of offers in, second half: what the preview showed happens at once, or nothing does."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.states import check_move
from mosu.market.gates import DOUBTS, UNRELEASABLE
from mosu.market.models import Change, Gone, ImportState, OfferImport, OfferImportRow, OfferState
from mosu.market.services.imports.diff import OLD_TERMS, PRICES, SET_BASED
from mosu.platform.actors import Actor
from mosu.platform.policy import allows, require
from mosu.platform.services import Audit, record_audit, record_audits

IMPORT_MOVES: Final = MappingProxyType(
    {ImportState.PREVIEWED: frozenset({ImportState.APPLIED, ImportState.DISCARDED})}
)


class ImportStale(DomainError):
    """The shelf changed since the preview."""

    code = "import_stale"


class NotReleasable(DomainError):
    """Nothing could be sold by this row, whoever vouches for it."""

    code = "not_releasable"


_PASSED: Final = "r.offer_import_id = %(import)s and (r.doubt = '' or r.released)"
_LOCK: Final = """
select count(*) from (
  select o.id from market_offer o
   where o.id in (select r.offer_id from market_offerimportrow r where r.offer_import_id = %(import)s)
   order by o.id for no key update) locked
"""
_STALE: Final = f"""
select r.external_key from market_offerimportrow r
  left join market_offer o on o.supplier_id = %(supplier)s and o.source = %(source)s
                          and o.external_key = r.external_key
  left join {PRICES} p on p.offer_id = o.id and p.meter = r.meter
 where {_PASSED} and (
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
       jsonb_to_record(r.terms) as t(title_zh text, title_en text, attributes jsonb, tax_rate_bp int,
         tax_included bool, min_units int, max_units int, wall_s_max int, sold_by text, buyer uuid)
 where {_PASSED} and r.change = 'new'
"""  # noqa: S608 - its parts are constants of ours
_CHANGE: Final = f"""
update market_offer o
   set title_zh = t.title_zh, title_en = t.title_en, attributes = t.attributes, tax_rate_bp = t.tax_rate_bp,
       tax_included = t.tax_included, min_units = t.min_units, max_units = t.max_units, wall_s_max = t.wall_s_max,
       sold_by = t.sold_by, subject_id = coalesce(r.subject_id, o.subject_id), state = 'listed'
  from market_offerimportrow r,
       jsonb_to_record(r.terms) as t(title_zh text, title_en text, attributes jsonb, tax_rate_bp int,
         tax_included bool, min_units int, max_units int, wall_s_max int, sold_by text)
 where {_PASSED} and r.change = 'changed' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
_PRICE: Final = f"""
insert into market_offerprice (id, offer_id, meter, unit, per, unit_price_micros, currency, valid_from)
select market_uuid7(%(now)s), r.offer_id, r.meter, r.unit, 3600, r.unit_price_micros, r.currency, %(now)s
  from market_offerimportrow r
 where {_PASSED} and r.change <> 'gone'
   and (r.unit_price_micros is distinct from r.old_price_micros or r.currency <> r.old_currency)
"""  # noqa: S608 - its parts are constants of ours
_WITHDRAW: Final = f"""
update market_offer o set state = 'delisted' from market_offerimportrow r
 where {_PASSED} and r.change = 'gone' and o.id = r.offer_id
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
    """Make the shelf as the preview showed: offers made, changed and priced, and withdrawn if that was chosen.

    Offers keep their ids, prices their history; quotes already made keep theirs. What is quarantined and not released
    is left as it is. Applying again changes nothing.

    Raises:
        NotFound: no such import, or not the actor's to see.
        Forbidden: the actor may not manage the supplier's offers.
        IllegalMove: it was discarded.
        ImportStale: another price, import or change came in between; preview the file again.
    """
    row = _locked(actor, import_id)
    if row.state == ImportState.APPLIED:
        return row
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=ImportState.APPLIED)
    given = _given(row, now=now)
    with connection.cursor() as cursor:
        # Two imports of one supplier would make the same new offers.
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"import:{row.supplier_id}"])
        cursor.execute(SET_BASED)
        cursor.execute(_LOCK, given)
        cursor.execute(_STALE, given)
        stale = cursor.fetchone()
        if stale is not None:
            raise ImportStale(
                f"The offer {stale[0][:60]} changed since the preview.",
                hint="Preview the file again.",
                external_key=stale[0][:200],
            )
        record_audits(actor=actor, entries=_audits(row), now=now, organisation_id=row.supplier_id)
        for statement in (_MAKE, _CHANGE, _PRICE):
            cursor.execute(statement, given)
        if row.gone == Gone.WITHDRAW:
            cursor.execute(_WITHDRAW, given)
    return _move(row, actor=actor, to=ImportState.APPLIED, now=now)


@transaction.atomic(durable=True)
def discard_import(*, actor: Actor, import_id: UUID, now: datetime, why: str = "") -> OfferImport:
    """The import, thrown away unapplied. Repeating it changes nothing.

    Raises:
        NotFound, Forbidden: as `apply_import`.
        IllegalMove: it was applied.
    """
    row = _locked(actor, import_id)
    if row.state == ImportState.DISCARDED:
        return row
    return _move(row, actor=actor, to=ImportState.DISCARDED, now=now, why=why)


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
    row = _locked(actor, import_id)
    if len(why.strip()) < 3:
        raise Invalid("why: release it for what reason?", hint="Say why; it is kept.", field="why")
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=ImportState.APPLIED)
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
    OfferImportRow.objects.filter(id__in=[one.id for one in doubted]).update(released=True)
    doubted[0].released = True
    return doubted[0]


def _locked(actor: Actor, import_id: UUID) -> OfferImport:
    """The import, locked; one that the actor may not see is not there."""
    row = OfferImport.objects.select_for_update(no_key=True).filter(id=import_id).first()
    if row is None or not (allows(actor, "import.read", row.supplier_id) or row.supplier_id in actor.roles):
        raise NotFound("There is no such import.", hint="See GET /offer-imports.")
    require(actor, "offer.manage", row.supplier_id)
    return row


def _move(row: OfferImport, *, actor: Actor, to: ImportState, now: datetime, why: str = "") -> OfferImport:
    """The only place that writes `OfferImport.state`; the caller holds the row's lock."""
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=to)
    record_audit(
        actor=actor,
        action=f"import.{to.value}",
        subject_id=row.id,
        before=row.state,
        after=to,
        now=now,
        organisation_id=row.supplier_id,
        why=why,
        facts={"counts": row.counts},
    )
    row.state = to
    if to is ImportState.APPLIED:
        row.applied_at = now
    row.save(update_fields=["state", "applied_at"])
    return row


def _given(row: OfferImport, *, now: datetime) -> dict[str, Any]:
    return {
        "import": row.id,
        "supplier": row.supplier_id,
        "shelf": row.shelf,
        "source": row.source,
        "now": now,
    }


def _audits(row: OfferImport) -> Iterator[Audit]:
    """One record for each offer that changes, as if each had been changed by hand."""
    rows = OfferImportRow.objects.filter(offer_import=row).exclude(released=False, doubt__gt="")
    if row.gone == Gone.KEEP:
        rows = rows.exclude(change=Change.GONE)
    columns = ("change", "offer_id", "old_state", "meter", "unit_price_micros", "currency")
    for change, offer_id, old_state, meter, price, currency in (
        rows.order_by("id").values_list(*columns).iterator(chunk_size=_BATCH)
    ):
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
