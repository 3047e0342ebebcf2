"""A file's rows on their way into the database: judged one by one, copied in as they are read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from django.db import connection

from mosu.kernel.ids import uuid7
from mosu.kernel.money import MICROS_MAX, MINOR_DIGITS
from mosu.kernel.refusals import NotFound
from mosu.market.gates import Doubt, card_of, memory_in, price_doubt, slug_of
from mosu.market.hub import hub_currency
from mosu.market.rates import Rate, no_rate, usable
from mosu.market.shelves import NamedGoods, Shelf
from mosu.platform.models import Organisation
from mosu.wire.offers import OfferRow

_BATCH: Final = 5_000
_JSON: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_METERS: Final = {"card_hour": "card_second", "core_hour": "core_second"}
_CREATE: Final = """
drop table if exists pg_temp.offer_staging;
create temp table offer_staging (
  line int not null, offer_id uuid not null, external_key text not null, subject_id uuid, terms jsonb not null,
  meter text not null, unit text not null, unit_price_micros bigint not null, currency text not null,
  goods text not null, doubt text not null, reason text not null
) on commit drop
"""
_COPY: Final = "copy pg_temp.offer_staging from stdin"


_quoted: Final = json.encoder.encode_basestring
_ALIKE: Final = attrgetter(
    *(
        one.name
        for one in fields(OfferRow)
        if one.name not in ("line", "key", "price_micros", "listed", "other_micros", "title_zh", "title_en")
    )
)
_KNOWN_MAX: Final = 5_000


@dataclass(frozen=True, slots=True)
class _Alike:
    """What rows have in common that differ in line, key, titles and price alone."""

    currency: str
    currency_doubt: Doubt | None
    doubt: Doubt | None
    subject_id: UUID | None
    terms: str
    """As JSON, without its opening brace: the titles come before."""
    meter: str
    goods: str


def stage(rows: Iterator[OfferRow], judge: "Judge") -> Iterator[int]:
    """Copy the rows into a temporary table of this transaction, each with its doubt; a batch at a time in memory.

    Yields how many are copied, after each batch.
    """
    copied = 0
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        # Judged before it is copied: while a copy is open, the connection answers nothing else.
        while batch := [judge.staged(row) for row in islice(rows, _BATCH)]:
            with cursor.copy(_COPY) as copy:
                for staged in batch:
                    copy.write_row(staged)
            copied += len(batch)
            yield copied
        cursor.execute("analyze pg_temp.offer_staging")


class Judge:
    """Turns rows of a file into rows of the staging table; remembers what it already asked for a name."""

    def __init__(
        self,
        *,
        supplier_id: UUID,
        shelf: Shelf,
        subject_id: UUID | None,
        rates: Mapping[str, Rate],
        now: datetime,
    ) -> None:
        self._supplier_id, self._shelf, self._subject_id = supplier_id, shelf, subject_id
        self._rates, self._now = rates, now
        self._known: dict[tuple[object, ...], _Alike] = {}
        self._named: dict[str, tuple[NamedGoods, ...]] = {}
        self._subjects: dict[str, UUID | Doubt] = {}
        self._buyers: dict[str, Doubt | None] = {}
        self._currencies: dict[str, Doubt | None] = {}

    def staged(self, row: OfferRow) -> tuple[object, ...]:
        alike = self._alike(row)
        doubt = alike.currency_doubt or price_doubt(row) or alike.doubt
        code, reason = doubt or ("", "")
        return (
            row.line,
            uuid7(),
            row.key,
            alike.subject_id,
            f'{{"title_zh": {_quoted(row.title_zh)}, "title_en": {_quoted(row.title_en)}, {alike.terms}',
            alike.meter,
            row.unit,
            min(row.price_micros, MICROS_MAX),
            alike.currency,
            alike.goods,
            code,
            reason[:300],
        )

    def _alike(self, row: OfferRow) -> "_Alike":
        """What does not depend on the row's line, key, titles and price: much the same for many rows."""
        key = _ALIKE(row)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            found = self._known[key] = self._judged(row)
        return found

    def _judged(self, row: OfferRow) -> "_Alike":
        currency = row.currency or hub_currency()
        doubt: Doubt | None = None
        accelerator: str | None = None
        card: NamedGoods | None = None
        if row.accelerator:
            found = card_of(row, self._goods(row.accelerator))
            if isinstance(found, Doubt):
                doubt, accelerator = found, slug_of(row.accelerator)
            else:
                card, accelerator = found, found.id
        subject_id = self._subject_id
        if row.pool:
            subject = self._subject(row.pool)
            if isinstance(subject, Doubt):
                doubt = doubt or subject
            else:
                subject_id = subject
        if row.buyer:
            doubt = doubt or self._buyer_doubt(row.buyer)
        return _Alike(
            currency=currency,
            currency_doubt=self._currency_doubt(currency),
            doubt=doubt,
            subject_id=subject_id,
            terms=_JSON.encode(_terms(row, accelerator, card))[1:],
            meter=_METERS[row.unit],
            goods=accelerator or "",
        )

    def _goods(self, name: str) -> tuple[NamedGoods, ...]:
        if name not in self._named:
            self._named[name] = tuple(self._shelf.goods_named(name))
        return self._named[name]

    def _currency_doubt(self, currency: str) -> Doubt | None:
        if currency == hub_currency():
            return None
        if currency not in self._currencies:
            doubt = None
            if currency not in MINOR_DIGITS:
                doubt = Doubt("currency", f"{currency} is none of {', '.join(sorted(MINOR_DIGITS))}.")
            elif usable(self._rates, currency, now=self._now) is None:
                doubt = Doubt("rate", no_rate(currency, now=self._now))
            self._currencies[currency] = doubt
        return self._currencies[currency]

    def _subject(self, public_id: str) -> UUID | Doubt:
        if public_id not in self._subjects:
            self._subjects[public_id] = self._asked_subject(public_id)
        return self._subjects[public_id]

    def _asked_subject(self, public_id: str) -> UUID | Doubt:
        try:
            key = self._shelf.subject_of(public_id)
        except NotFound as refusal:
            return Doubt("subject", refusal.message)
        if not self._shelf.owns(supplier_id=self._supplier_id, subject_id=key):
            return Doubt("subject", f"{public_id} is not this supplier's.")
        return key

    def _buyer_doubt(self, public_id: str) -> Doubt | None:
        if public_id not in self._buyers:
            try:
                known = Organisation.objects.filter(id=Organisation.key_of(public_id)).exists()
            except NotFound:
                known = False
            self._buyers[public_id] = None if known else Doubt("buyer", f"There is no {public_id}.")
        return self._buyers[public_id]


def _terms(row: OfferRow, accelerator: str | None, card: NamedGoods | None) -> dict[str, Any]:
    """What the offer becomes, beside its titles. The keys are columns of `Offer`; people search by `attributes`."""
    attributes: dict[str, Any] = {
        "accelerator": accelerator,
        "region": row.region,
        "mode": row.mode,
        "kind": row.kind,
        "domestic": row.domestic,
    }
    if row.cores:
        attributes["cores"] = row.cores
    if row.memory_gib:
        attributes["host_memory_gib"] = float(row.memory_gib)
    if card is not None and card.memory_gb:
        attributes["memory_gb"] = card.memory_gb
    elif card is not None and (memory := memory_in(row)):
        attributes["memory_gb"] = memory
    if accelerator and row.min_units == row.max_units:
        attributes["count"] = row.max_units  # a whole machine
    return {
        "attributes": attributes,
        "min_units": row.min_units,
        "max_units": row.max_units,
        "wall_s_max": row.wall_s_max,
        "tax_rate_bp": row.tax_rate_bp,
        "tax_included": row.tax_included,
        "sold_by": row.sold_by,
        "buyer": str(Organisation.key_of(row.buyer)) if row.buyer and _is_id(row.buyer) else None,
    }


def _is_id(public_id: str) -> bool:
    try:
        Organisation.key_of(public_id)
    except NotFound:
        return False
    return True
