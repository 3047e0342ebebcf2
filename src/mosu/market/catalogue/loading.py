"""Reading offers out of PostgreSQL into columns: all of them, or those that changed."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import numpy as np
from django.db import connection

from mosu.kernel.time import day_in
from mosu.market.catalogue.snapshot import ID, UNKNOWN, Columns, Ids, Ints, bands_of
from mosu.market.catalogue.vocabularies import Vocabularies
from mosu.market.hub import hub_currency, hub_zone

_ROWS: Final = 2_000
"""Read at once."""
_NEWS: Final = """
select pg_snapshot_xmin(pg_current_snapshot())::text,
       exists (select from market_offerchange where xid = pg_current_xact_id_if_assigned()),
       coalesce(string_agg(distinct uuid_send(offer_id), ''::bytea), ''::bytea),
       coalesce(array_agg(distinct xid::text), '{}')
  from market_offerchange
 where xid >= %s::text::xid8 and xid < pg_snapshot_xmax(pg_current_snapshot()) and xid::text <> all(%s)
"""
_OFFERS: Final = """
select uuid_send(o.id), o.shelf, o.supplier_id, s.name, o.subject_id, o.title_zh, o.title_en,
       o.attributes::text, o.buyer_organisation_id, (extract(epoch from o.created_at) * 1000000)::bigint,
       o.min_units, o.max_units, o.wall_s_max, case when o.tax_included then 0 else o.tax_rate_bp end
  from market_offer o join platform_organisation s on s.id = o.supplier_id
 where o.state = 'listed' {only}
 order by o.id
"""
# Foreign list prices by the latest rate there is: for comparing. One without any has no known price.
_PRICES: Final = """
with worth as (
  select distinct on (currency) currency, rate from market_exchangerate where dated <= %(today)s
   order by currency, dated desc, recorded_at desc
)
select uuid_send(p.offer_id), p.meter,
       case when p.currency = %(hub)s then p.unit_price_micros else round(p.unit_price_micros * w.rate)::bigint end,
       p.per
  from (select distinct on (offer_id, meter) offer_id, meter, unit_price_micros, currency, per
          from market_offerprice
         where valid_from <= %(now)s {only} order by offer_id, meter, valid_from desc) p
  left join worth w on w.currency = p.currency
 where p.currency = %(hub)s or w.rate is not null
"""
_NEXT: Final = """
select valid_from, uuid_send(offer_id) from market_offerprice where valid_from > %(now)s {only} order by 1
"""


@dataclass(frozen=True, slots=True)
class News:
    """What one look at the changes told."""

    xmin: int
    """Ask from here on the next time: what commits later has this number or a higher one."""
    is_own: bool
    """This very transaction changed offers, and may yet take it back."""
    changed: Ids
    transactions: frozenset[str]
    """Those that changed them: seen whole, so not to be asked for again while an older one keeps `xmin` back."""


def news_since(xmin: int, *, but: Collection[str] = ()) -> News:
    """Which offers changed in transactions from `xmin` on; one query, whose snapshot says where to go on.

    Numbers beyond the database's own count are of another life of it (a restored backup) and mean nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWS, [str(xmin), list(but)])
        upto, is_own, changed, transactions = cursor.fetchone()
    return News(int(upto), is_own, np.frombuffer(bytes(changed), dtype=ID), frozenset(transactions))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Offers as columns, and when prices that lie ahead begin."""

    columns: Columns
    next_prices: Sequence[tuple[datetime, bytes]]


def load(words: Vocabularies, *, now: datetime, only: Ids | None = None) -> Loaded:
    """The listed offers, or those of `only`, with the prices in force at `now`."""
    params: dict[str, Any] = {"now": now, "hub": hub_currency(), "today": day_in(hub_zone(), now)}
    if only is not None:
        params["ids"] = [UUID(bytes=bytes(key).ljust(16, b"\0")) for key in only]

    def rows(query: str, column: str) -> Iterator[tuple[Any, ...]]:
        # All of them a few at a time: the memory that 100,000 rows once took stays with the process.
        with connection.chunked_cursor() if only is None else connection.cursor() as cursor:
            cursor.execute(query.format(only="" if only is None else f"and {column} = any(%(ids)s)"), params)
            while found := cursor.fetchmany(_ROWS):
                yield from found

    columns = columns_of(words, offers=rows(_OFFERS, "o.id"), prices=rows(_PRICES, "offer_id"))
    return Loaded(columns, [(at, bytes(key)) for at, key in rows(_NEXT, "offer_id")])


def columns_of(
    words: Vocabularies, *, offers: Iterable[tuple[Any, ...]], prices: Iterable[tuple[Any, ...]]
) -> Columns:
    """Rows as `_OFFERS` and `_PRICES` select them, as columns; what is new in them is added to `words`."""
    columns = _columns(words, offers)
    _add_prices(columns, words, prices, tax=columns.pop("tax"))
    return columns


def _columns(words: Vocabularies, rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    codes = {name: array("i") for name in ("shelf", "supplier", "goods", "place", "title", "buyer")}
    numbers = {name: array("q") for name in ("created_us", "min_units", "max_units", "wall_s_max", "tax")}
    ids = bytearray()
    for key, shelf, supplier_id, name, subject_id, title_zh, title_en, attributes, buyer, *rest in rows:
        goods = words.goods_code(shelf, attributes)
        ids += key
        codes["shelf"].append(words.shelves.code(shelf))
        codes["supplier"].append(words.supplier(supplier_id, name))
        codes["goods"].append(goods)
        codes["place"].append(words.places.code((shelf, (subject_id, words.goods[goods].key))))
        codes["title"].append(words.title(title_zh, title_en))
        codes["buyer"].append(-1 if buyer is None else words.buyers.code(buyer))
        for column, number in zip(numbers.values(), rest, strict=True):
            column.append(number)
    columns: dict[str, Any] = {name: np.array(found, dtype=np.int32) for name, found in codes.items()}
    columns |= {name: np.array(found, dtype=np.int64) for name, found in numbers.items()}
    columns["id"] = np.frombuffer(bytes(ids), dtype=ID)
    count = len(columns["id"])
    columns["alive"] = np.ones(count, dtype=np.bool_)
    for facet in words.facet_codes:
        by_goods = words.facet_of_goods(facet)
        columns[f"facet:{facet}"] = by_goods[columns["goods"]] if count else np.zeros(0, dtype=np.int32)
    return columns


def _add_prices(
    columns: dict[str, Any], words: Vocabularies, prices: Iterable[tuple[Any, ...]], *, tax: Ints
) -> None:
    """Prices with tax for 3,600 of each meter's unit; then what the goods are compared by."""
    count = len(columns["id"])
    row_of = {bytes(key).ljust(16, b"\0"): row for row, key in enumerate(columns["id"].tolist())}
    for key, meter, micros, per in prices:
        row = row_of.get(bytes(key))
        if row is not None:
            column = columns.get(f"price:{meter}")
            if column is None:
                column = columns[f"price:{meter}"] = np.zeros(count, dtype=np.int64)
            gross = micros * 3600 * (10_000 + int(tax[row])) // (per * 10_000)
            column[row] = max(1, min(gross, UNKNOWN - 1))
    price = np.full(count, UNKNOWN, dtype=np.int64)
    meters = [goods.meter for goods in words.goods]
    for name in [name for name in columns if name.startswith("price:")]:
        is_own = np.array([f"price:{meter}" == name for meter in meters] or [False], dtype=np.bool_)
        fits = is_own[columns["goods"]] & (columns[name] > 0) if count else np.zeros(0, dtype=np.bool_)
        price[fits] = columns[name][fits]
    worth = np.array([goods.worth or 0.0 for goods in words.goods] or [0.0], dtype=np.float64)
    by_row = worth[columns["goods"]] if count else np.zeros(0, dtype=np.float64)
    known = (price < UNKNOWN) & (by_row > 0)
    effective = np.full(count, UNKNOWN, dtype=np.int64)
    effective[known] = np.minimum(np.rint(price[known] / by_row[known]), UNKNOWN - 1).astype(np.int64)
    columns["price"], columns["effective"] = price, effective
    columns["facet:price"] = np.where(price < UNKNOWN, bands_of(price), np.int32(-1))
