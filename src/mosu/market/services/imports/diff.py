"""What a staged file would change: set-based, in SQL; the same number of statements for ten rows and for 100,000.

`terms` as text decides whether an offer changed: jsonb is one text for one value, whatever the order of its keys.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from mosu.market.gates import MEDIAN_OF_MIN, RATIO_MAX
from mosu.market.hub import hub_currency
from mosu.market.models import OfferImport
from mosu.market.rates import Rate
from mosu.market.services.imports.progress import Progress

OLD_TERMS: Final = """jsonb_build_object(
  'title_zh', o.title_zh, 'title_en', o.title_en, 'attributes', o.attributes, 'min_units', o.min_units,
  'max_units', o.max_units, 'wall_s_max', o.wall_s_max, 'tax_rate_bp', o.tax_rate_bp,
  'tax_included', o.tax_included, 'sold_by', o.sold_by, 'buyer', o.buyer_organisation_id)"""
"""An offer `o` as `OfferImportRow.terms` has it."""

PRICES: Final = """(
  select distinct on (p.offer_id, p.meter) p.offer_id, p.meter, p.unit_price_micros, p.currency, p.valid_from
    from market_offerprice p join market_offer po on po.id = p.offer_id
   where po.supplier_id = %(supplier)s and po.source = %(source)s and p.valid_from <= %(now)s
   order by p.offer_id, p.meter, p.valid_from desc)"""
"""The prices in force of the offers that a file is compared with."""

# The same row twice counts once; one key with two meanings is doubted, both of them.
_REPEATED: Final = """
with ranked as (
  select ctid, row_number() over (
    partition by external_key, md5(row(subject_id, terms, meter, unit_price_micros, currency)::text) order by line
  ) as turn from pg_temp.offer_staging
   where external_key in (select external_key from pg_temp.offer_staging group by 1 having count(*) > 1)
)
delete from pg_temp.offer_staging s using ranked r where s.ctid = r.ctid and r.turn > 1
"""
_DUPLICATES: Final = """
update pg_temp.offer_staging s
   set doubt = 'duplicate', reason = 'Lines ' || d.lines || ' have the same key and say different things.'
  from (select external_key, string_agg(line::text, ', ' order by line) as lines
          from pg_temp.offer_staging group by external_key having count(*) > 1) d
 where d.external_key = s.external_key
"""
_MEDIAN: Final = """
with worth(currency, rate) as (select * from unnest(%(currencies)s::text[], %(rates)s::numeric[])),
priced as (
  select s.meter, s.goods, s.unit_price_micros * w.rate as price
    from pg_temp.offer_staging s join worth w using (currency)
   where s.unit_price_micros > 0
  union all
  select p.meter, coalesce(o.attributes ->> 'accelerator', ''), p.unit_price_micros * w.rate
    from market_offer o
    join (select distinct on (offer_id, meter) offer_id, meter, unit_price_micros, currency
            from market_offerprice where valid_from <= %(now)s
           order by offer_id, meter, valid_from desc) p on p.offer_id = o.id
    join worth w on w.currency = p.currency
   where o.shelf = %(shelf)s and o.state = 'listed'
     and not (o.supplier_id = %(supplier)s and o.source = %(source)s)
),
medians as (
  select meter, goods, percentile_cont(0.5) within group (order by price) as median
    from priced group by meter, goods having count(*) >= %(least)s
)
update pg_temp.offer_staging s
   set doubt = 'median',
       reason = 'It is ' || round((s.unit_price_micros * w.rate / 1e6)::numeric, 6) || ' ' || %(hub)s
                || '; the median of its kind is ' || round((m.median / 1e6)::numeric, 6) || '.'
  from medians m, worth w
 where s.doubt = '' and m.meter = s.meter and m.goods = s.goods and w.currency = s.currency
   and (s.unit_price_micros * w.rate >= m.median * %(ratio)s or s.unit_price_micros * w.rate * %(ratio)s <= m.median)
"""
_COMPARED: Final = f"""
insert into market_offerimportrow (
  offer_import_id, line, change, offer_id, external_key, subject_id, terms, meter, unit, unit_price_micros, currency,
  old_price_micros, old_currency, old_terms, old_state, doubt, reason, released)
with worth(currency, rate) as (select * from unnest(%(currencies)s::text[], %(rates)s::numeric[])),
compared as (
  select s.*, o.id as known_id, o.state as old_state, p.unit_price_micros as old_price, p.currency as old_currency,
         p.unit_price_micros is distinct from s.unit_price_micros or p.currency <> s.currency as repriced,
         o.id is not null
           and (to_old.terms <> s.terms or (s.subject_id is not null and s.subject_id <> o.subject_id)) as renamed,
         to_old.terms || jsonb_build_object('subject_id', o.subject_id) as old_terms,
         s.unit_price_micros * w.rate as worth, p.unit_price_micros * ow.rate as old_worth
    from pg_temp.offer_staging s
    left join market_offer o on o.supplier_id = %(supplier)s and o.source = %(source)s
                            and o.external_key = s.external_key
    left join lateral (select {OLD_TERMS} as terms) to_old on o.id is not null
    left join {PRICES} p on p.offer_id = o.id and p.meter = s.meter
    left join worth w on w.currency = s.currency
    left join worth ow on ow.currency = p.currency
)
select %(import)s, line,
       case when known_id is null then 'new' when renamed or old_state <> 'listed' then 'changed' else 'price' end,
       coalesce(known_id, offer_id), external_key, subject_id, terms, meter, unit, unit_price_micros, currency,
       old_price, coalesce(old_currency, ''), coalesce(old_terms, '{{}}'), coalesce(old_state, ''),
       case when doubt <> '' then doubt when leaps then 'last_price' when old_state <> 'listed' then 'delisted'
            when moved then 'buyer' else '' end,
       case when doubt <> '' then reason
            when leaps then 'It was ' || round(old_price / 1e6, 6) || ' ' || old_currency || ' and would be '
                            || round(unit_price_micros / 1e6, 6) || ' ' || currency || '.'
            when old_state <> 'listed' then 'It was taken off the shelf; release it to list it again.'
            when moved then 'Whose alone an offer is never changes: give it another key.' else '' end,
       false
  from compared,
       lateral (select coalesce(worth >= old_worth * %(ratio)s or worth * %(ratio)s <= old_worth, false) as leaps,
                       known_id is not null and old_terms -> 'buyer' is distinct from terms -> 'buyer' as moved) j
 where known_id is null or repriced or renamed or old_state <> 'listed' or doubt <> ''
 order by line
"""  # noqa: S608 - its parts are constants of ours
_GONE: Final = f"""
insert into market_offerimportrow (
  offer_import_id, change, offer_id, external_key, terms, meter, unit, unit_price_micros, currency,
  old_price_micros, old_currency, old_terms, old_state, doubt, reason, released)
with prices as materialized {PRICES}
select distinct on (o.external_key)
       %(import)s, 'gone', o.id, o.external_key, {OLD_TERMS}, coalesce(p.meter, ''), '', null, '',
       p.unit_price_micros, coalesce(p.currency, ''), {OLD_TERMS}, o.state, '', '', false
  from market_offer o
  left join prices p on p.offer_id = o.id
 where o.supplier_id = %(supplier)s and o.source = %(source)s and o.state = 'listed' and o.external_key <> ''
   and not exists (select 1 from pg_temp.offer_staging s where s.external_key = o.external_key)
 order by o.external_key, p.meter
"""  # noqa: S608 - its parts are constants of ours
_COUNTS: Final = """
select change, doubt <> '', count(*) from market_offerimportrow where offer_import_id = %(import)s group by 1, 2
"""


SET_BASED: Final = "set local enable_nestloop = off"
"""For the rest of the transaction: what was just written has no statistics yet, so the planner takes 100,000 rows for
one and joins them row by row. The tables' owner alone may ANALYZE them."""


def compare(
    offer_import: OfferImport, *, rates: Mapping[str, Rate], progress: Progress, now: datetime
) -> dict[str, int]:
    """Write the differences between the staged file and the shelf; how many there are of each kind."""
    worth = {hub_currency(): Decimal(1), **{code: rate.rate for code, rate in rates.items()}}
    given: dict[str, Any] = {
        "import": offer_import.id,
        "supplier": offer_import.supplier_id,
        "source": offer_import.source,
        "shelf": offer_import.shelf,
        "hub": hub_currency(),
        "now": now,
        "currencies": list(worth),
        "rates": list(worth.values()),
        "ratio": RATIO_MAX,
        "least": MEDIAN_OF_MIN,
    }
    with connection.cursor() as cursor:
        cursor.execute(SET_BASED)
        cursor.execute("select count(*) from pg_temp.offer_staging")
        counts = {"rows": cursor.fetchone()[0]}
        cursor.execute(_REPEATED)
        counts["repeated"] = cursor.rowcount
        for done, statement in enumerate((_DUPLICATES, _MEDIAN, _COMPARED)):
            progress.tell(0.7 + done / 20, rows_read=counts["rows"])
            cursor.execute(statement, given)
        noted = cursor.rowcount
        cursor.execute(_GONE, given)
        cursor.execute(_COUNTS, given)
        found = cursor.fetchall()
    for change in ("new", "price", "changed", "gone"):
        counts[change] = sum(count for kind, doubted, count in found if kind == change and not doubted)
    counts["quarantined"] = sum(count for _, doubted, count in found if doubted)
    counts["unchanged"] = counts["rows"] - counts["repeated"] - noted
    return counts
