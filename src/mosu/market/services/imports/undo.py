"""Taking an applied import back: prices, terms and the shelf return to what they were, by new lines, no deletions."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.refusals import DomainError, Invalid
from mosu.kernel.states import check_move
from mosu.market.models import Change, Gone, ImportState, OfferImport, OfferState
from mosu.market.services.imports.diff import OLD_TERMS, SET_BASED
from mosu.market.services.imports.moves import (
    IMPORT_MOVES,
    PROBLEMS_KEPT_MAX,
    WHY_MIN,
    hand_over,
    locked_import,
    move,
)
from mosu.market.services.imports.progress import Progress
from mosu.market.services.imports.shelved import (
    LOCK_OFFERS,
    PASSED,
    TERMS,
    given_of,
    lock_supplier,
    rows_passed,
)
from mosu.market.services.offers import check_supplier
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.services import Audit, record_audits
from mosu.wire.document import Problem


class ChangedSince(DomainError):
    """Something that the import touched is no longer as the import left it. `errors` lists what."""

    code = "changed_since"

    def __init__(self, found: list[tuple[int | None, str, str]], *, count: int) -> None:
        self.errors = [
            Problem(
                line=line or 0,
                column=1,
                field=key,
                found="",
                allowed="",
                nearest="",
                message=SINCE[what],
            )
            for line, key, what in found
        ]
        super().__init__(
            f"Offers that it touched changed since ({count}): the import cannot be undone.",
            hint="Bring in the earlier file instead, or change the offers by hand.",
            external_key=found[0][1][:200],
            problems=count,
        )


SINCE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "price": "It has another price since.",
        "terms": "Its terms changed since.",
        "state": "It left the shelf or came back to it since.",
        "meter": "The import gave it a price of a unit that it did not have before; a price is never taken away.",
    }
)
"""What can have happened to an offer."""

_TOUCHED: Final = f"{PASSED} and (r.change <> 'gone' or %(withdrawn)s)"
_SUBJECT: Final = "coalesce(r.subject_id, (r.old_terms ->> 'subject_id')::uuid, r.offer_id)"
_CHANGED: Final = f"""
select line, external_key, what, count(*) over () from (
  select r.id, r.line, r.external_key,
         case when exists (select from market_offerprice p where p.offer_id = r.offer_id and p.valid_from > %(applied)s)
                then 'price'
              when o.state <> case when r.change = 'gone' then 'delisted' else 'listed' end then 'state'
              when {OLD_TERMS} <> r.terms or (r.change <> 'gone' and o.subject_id <> {_SUBJECT}) then 'terms'
              when r.change = 'changed' and r.old_price_micros is null then 'meter'
              else '' end as what
    from market_offerimportrow r join market_offer o on o.id = r.offer_id
   where {_TOUCHED}) found
 where what <> '' order by id limit {PROBLEMS_KEPT_MAX}
"""  # noqa: S608 - its parts are constants of ours
_PRICES_BACK: Final = f"""
insert into market_offerprice (id, offer_id, meter, unit, per, unit_price_micros, currency, valid_from)
select market_uuid7(%(now)s), offer_id, meter, unit, per, unit_price_micros, currency, %(now)s from (
  select distinct on (p.offer_id, p.meter) p.*
    from market_offerprice p
    join market_offerprice imported on imported.offer_id = p.offer_id and imported.meter = p.meter
                                   and imported.valid_from = %(applied)s
    join market_offerimportrow r on r.offer_id = p.offer_id and r.meter = p.meter
   where {_TOUCHED} and r.change in ('price', 'changed') and p.valid_from < %(applied)s
   order by p.offer_id, p.meter, p.valid_from desc) before
"""  # noqa: S608 - its parts are constants of ours
_TERMS_BACK: Final = f"""
update market_offer o
   set title_zh = t.title_zh, title_en = t.title_en, attributes = t.attributes, tax_rate_bp = t.tax_rate_bp,
       tax_included = t.tax_included, min_units = t.min_units, max_units = t.max_units, wall_s_max = t.wall_s_max,
       sold_by = t.sold_by, subject_id = t.subject_id, state = r.old_state
  from market_offerimportrow r,
       jsonb_to_record(r.old_terms) as {TERMS}
 where {_TOUCHED} and r.change = 'changed' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
# Its key is free again: the mended file brings a new offer, and does not bring back what somebody took off the shelf.
_NEW_OFF: Final = f"""
update market_offer o set state = 'delisted', external_key = ''
  from market_offerimportrow r where {_TOUCHED} and r.change = 'new' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
_GONE_ON: Final = f"""
update market_offer o set state = 'listed'
  from market_offerimportrow r where {_TOUCHED} and r.change = 'gone' and o.id = r.offer_id
"""  # noqa: S608 - its parts are constants of ours
_ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Change.NEW: "offer.delist",
        Change.PRICE: "offer.price",
        Change.CHANGED: "offer.change",
        Change.GONE: "offer.relist",
    }
)


@transaction.atomic(durable=True)
def undo_import(*, actor: Actor, import_id: UUID, why: str, now: datetime) -> OfferImport:
    """The import, on its way back: the hub takes it back in the background. Asking again changes nothing.

    Raises:
        NotFound: no such import, or not the actor's to see.
        Forbidden: the actor may not manage the supplier's offers.
        Invalid: no reason.
        IllegalMove: it was not applied.
        NotASupplier: the organisation may no longer sell.
    """
    row = locked_import(actor, import_id)
    if row.state in (ImportState.UNDOING, ImportState.UNDONE):
        return row
    if len(why.strip()) < WHY_MIN:
        raise Invalid("why: undo it for what reason?", hint="Say why; it is kept.", field="why")
    check_move(IMPORT_MOVES, what=row.public_id, now=ImportState(row.state), to=ImportState.UNDOING)
    check_supplier(Organisation.objects.get(id=row.supplier_id))
    row.refusal = {}
    move(row, actor=actor, to=ImportState.UNDOING, now=now, why=why.strip())
    hand_over(row)
    return row


def take_back(row: OfferImport, *, actor: Actor, why: str, progress: Progress, now: datetime) -> ImportState:
    """Make the shelf as it was before the import, if all that it touched is still as it left it.

    Each offer keeps its id; what a price was comes back as a new price. Quotes already made keep theirs.

    Raises:
        ChangedSince: something has been changed since.
    """
    withdrawn = row.gone == Gone.WITHDRAW
    given = given_of(row, now=now) | {"applied": row.applied_at, "withdrawn": withdrawn}
    with connection.cursor() as cursor:
        lock_supplier(cursor, row)
        cursor.execute(SET_BASED)
        cursor.execute(LOCK_OFFERS, given)
        cursor.execute(_CHANGED, given)
        changed = cursor.fetchall()
        if changed:
            raise ChangedSince([one[:3] for one in changed], count=changed[0][3])
        progress.tell(0.2)
        record_audits(
            actor=actor, entries=_audits(row, progress), now=now, organisation_id=row.supplier_id, why=why
        )
        for done, statement in enumerate((_PRICES_BACK, _TERMS_BACK, _NEW_OFF, _GONE_ON)):
            progress.tell(0.5 + done / 8)
            cursor.execute(statement, given)
    return ImportState.UNDONE


def _audits(row: OfferImport, progress: Progress) -> Iterator[Audit]:
    """One record for each offer that returns, as if each had been changed by hand."""
    facts: dict[str, Any] = {"undone": row.public_id}
    for change, offer_id, old_state in (
        rows_passed(row).values_list("change", "offer_id", "old_state").iterator(chunk_size=10_000)
    ):
        gone = change == Change.GONE
        yield Audit(
            action=_ACTIONS[change],
            subject_id=offer_id,
            before=(OfferState.DELISTED if gone else OfferState.LISTED).value,
            after=OfferState.DELISTED.value if change == Change.NEW else old_state,
            facts=facts,
        )
        progress.tell(0.3)
