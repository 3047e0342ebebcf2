"""What a month's receipts add up to, by organisation and by supplier: in SQL, whatever their number."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from django.db import connection

from mosu.kernel.time import Period

_CHUNK: Final = 500

_SOLD: Final = """
with sold as materialized (
  select r.organisation_id, f.supplier_id, r.content ->> 'billed_by' = 'supplier' as by_supplier,
         ((r.content ->> 'total')::numeric * 1000000)::bigint as total,
         ((r.content ->> 'voucher_share')::numeric * 1000000)::bigint as vouchers,
         ((r.content ->> 'paid')::numeric * 1000000)::bigint as paid,
         ((r.content ->> 'credited')::numeric * 1000000)::bigint as credited,
         ((r.content -> 'tax' ->> 'amount')::numeric * 1000000)::bigint as tax,
         r.content -> 'split' as split
    from market_receipt r join market_order o on o.id = r.order_id join market_offer f on f.id = o.offer_id
   where r.issued_at >= %(start)s and r.issued_at < %(end)s),
shares as materialized (
  select s.organisation_id, s.supplier_id, share ->> 'source' as source, share -> 'programme' ->> 'id' as programme,
         share -> 'programme' -> 'title' as title, ((share ->> 'amount')::numeric * 1000000)::bigint as amount
    from sold s, jsonb_array_elements(s.split) as share
   where share ->> 'source' in ('voucher', 'refund')),
noted as (
  select organisation_id, supplier_id, borne_by, number, amount_micros as amount from market_creditnote
   where state = 'issued' and decided_at >= %(start)s and decided_at < %(end)s),
"""

_BILLS: Final = """
bought as (
  select organisation_id, count(*) as receipts, sum(total) as total, sum(vouchers) as vouchers, sum(paid) as paid,
         coalesce(sum(paid) filter (where by_supplier), 0) as billed_by_suppliers, sum(credited) as credited,
         sum(tax) as tax
    from sold group by organisation_id),
suppliers as (
  select organisation_id,
         jsonb_agg(jsonb_build_array(supplier_id, o.name, total) order by total desc, supplier_id) as list
    from (select organisation_id, supplier_id, sum(total) as total from sold group by 1, 2) as each_of
    join platform_organisation o on o.id = supplier_id group by organisation_id),
programmes as (
  select organisation_id, jsonb_agg(jsonb_build_array(programme, title, amount) order by amount desc, programme) as list
    from (select organisation_id, programme, (array_agg(title))[1] as title, sum(amount) as amount
            from shares where source = 'voucher' group by 1, 2) as each_of group by organisation_id),
refunds as (
  select organisation_id, sum(amount) as amount from shares where source = 'refund' group by organisation_id),
credits as (
  select organisation_id, sum(amount) as amount, jsonb_agg(number order by number) as numbers
    from noted group by organisation_id)
select organisation_id, o.name, coalesce(b.receipts, 0), coalesce(b.total, 0), coalesce(b.vouchers, 0),
       coalesce(b.paid, 0), coalesce(b.billed_by_suppliers, 0), coalesce(r.amount, 0), coalesce(b.credited, 0),
       coalesce(b.tax, 0), coalesce(c.amount, 0), coalesce(p.list, '[]'), coalesce(s.list, '[]'),
       coalesce(c.numbers, '[]')
  from bought b full join credits c using (organisation_id) left join refunds r using (organisation_id)
  left join programmes p using (organisation_id) left join suppliers s using (organisation_id)
  join platform_organisation o on o.id = organisation_id order by organisation_id
"""

_STATEMENTS: Final = """
sales as (
  select supplier_id, count(*) as orders, sum(vouchers) as vouchers,
         coalesce(sum(paid) filter (where not by_supplier), 0) as buyers,
         coalesce(sum(paid) filter (where by_supplier), 0) as to_invoice, sum(tax) as tax
    from sold group by supplier_id),
fees as (
  select a.owner_id as supplier_id, -sum(p.amount_micros) as amount
    from ledger_journalentry e join ledger_posting p on p.entry_id = e.id join ledger_account a on a.id = p.account_id
   where e.kind = 'order.fee' and e.posted_at >= %(start)s and e.posted_at < %(end)s and a.kind = 'payable'
   group by a.owner_id),
programmes as (
  select supplier_id, jsonb_agg(jsonb_build_array(programme, title, amount) order by amount desc, programme) as list
    from (select supplier_id, programme, (array_agg(title))[1] as title, sum(amount) as amount
            from shares where source = 'voucher' group by 1, 2) as each_of group by supplier_id),
credits as (
  select supplier_id, sum(amount) as amount, jsonb_agg(number order by number) as numbers
    from noted where borne_by = 'supplier' group by supplier_id)
select supplier_id, o.name, coalesce(s.orders, 0), coalesce(s.vouchers, 0), coalesce(s.buyers, 0),
       coalesce(f.amount, 0), coalesce(s.tax, 0), coalesce(c.amount, 0), coalesce(s.to_invoice, 0),
       coalesce(p.list, '[]'), coalesce(c.numbers, '[]')
  from sales s full join credits c using (supplier_id) left join fees f using (supplier_id)
  left join programmes p using (supplier_id) join platform_organisation o on o.id = supplier_id order by supplier_id
"""

_DISAGREEING: Final = """
with charged as materialized (
  select h.order_line_id as line, l.accepted_month as month, h.quantity
    from market_charge h join market_orderline l on l.id = h.order_line_id join market_order o on o.id = l.order_id
   where o.settled_at >= %(start)s and o.settled_at < %(end)s),
used as (
  select u.order_line_id as line, count(*) as records, sum(u.quantity_accepted) as quantity
    from market_usagerecord u join charged c on c.line = u.order_line_id and c.month = u.accepted_month
   where u.accepted_month in (select month from charged) group by u.order_line_id)
select coalesce(sum(u.records), 0), count(*) filter (where c.quantity <> coalesce(u.quantity, 0))
  from charged c left join used u using (line)
"""


def bills_of(span: Period) -> Iterator[Sequence[Sequence[Any]]]:
    """A row for each organisation with receipts or credit notes in the span, in chunks."""
    return _chunks(_SOLD + _BILLS, span)


def statements_of(span: Period) -> Iterator[Sequence[Sequence[Any]]]:
    """A row for each supplier with sales or credit notes in the span, in chunks."""
    return _chunks(_SOLD + _STATEMENTS, span)


def usage_behind(span: Period) -> tuple[int, int]:
    """How many records of usage the charges of the span rest on, and how many charges come out otherwise."""
    with connection.cursor() as cursor:
        cursor.execute(_DISAGREEING, _bounds(span))
        records, wrong = cursor.fetchone()
    return int(records), int(wrong)


def _chunks(sql: str, span: Period) -> Iterator[Sequence[Sequence[Any]]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, _bounds(span))
        while rows := cursor.fetchmany(_CHUNK):
            yield rows


def _bounds(span: Period) -> Mapping[str, Any]:
    return {"start": span.start, "end": span.end}
