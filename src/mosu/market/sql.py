"""What holds between a closed month and the ledger, inside PostgreSQL."""

CLOSING = r"""
-- A month closes only if its days are sealed, its receipts are all in bills, and bills and statements equal postings.
create function market_require_close() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  wrong uuid;
  counted bigint;
begin
  if not exists (select from ledger_dayhead d where d.ends_at >= new.ends_at) then
    raise exception 'the days of % are not sealed', new.month using errcode = 'integrity_constraint_violation';
  end if;
  select count(*) into counted from market_receipt r where r.issued_at >= new.starts_at and r.issued_at < new.ends_at;
  if counted <> new.receipts
     or counted <> (select coalesce(sum(b.receipts), 0) from market_bill b where b.month = new.month)
     or new.bills <> (select count(*) from market_bill b where b.month = new.month)
     or new.statements <> (select count(*) from market_statement s where s.month = new.month) then
    raise exception 'the bills of % are not those of its receipts', new.month
      using errcode = 'integrity_constraint_violation';
  end if;
  with moved as materialized (
    select a.kind, a.owner_id, sum(p.amount_micros) as amount
      from ledger_journalentry e
      join ledger_posting p on p.entry_id = e.id
      join ledger_account a on a.id = p.account_id
     where e.posted_at >= new.starts_at and e.posted_at < new.ends_at
       and e.kind in ('order.charge', 'voucher.captured', 'order.fee', 'credit_note')
       and (a.kind = 'payable' or (a.kind = 'balance' and e.kind in ('order.charge', 'credit_note')))
     group by a.kind, a.owner_id),
  said as (
    select 'balance' as kind, b.organisation_id as owner_id,
           b.billed_by_suppliers_micros + b.credits_micros - b.paid_micros as amount
      from market_bill b where b.month = new.month
    union all
    select 'payable', s.supplier_id, s.net_micros from market_statement s where s.month = new.month)
  select coalesce(m.owner_id, s.owner_id) into wrong
    from moved m full join said s using (kind, owner_id)
   where coalesce(m.amount, 0) <> coalesce(s.amount, 0) limit 1;
  if found then
    raise exception 'what % says of % is not what was posted', new.month, wrong
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create trigger sound after insert on market_monthclose for each row execute function market_require_close();

-- Nothing more comes into a month that is closed.
create function market_refuse_closed_month() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if exists (select from market_monthclose c where c.ends_at > new.issued_at) then
    raise exception 'the month of % is closed', new.issued_at using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger open_month before insert on market_receipt
  for each row execute function market_refuse_closed_month();

-- Gives money back on a receipt of a closed month: what one person proposed and another issues now, once.
create function market_issue_credit_note(
  new_id uuid, note uuid, issued_by uuid, new_number text, at timestamptz,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  seen market_creditnote;
  source uuid;
  paid bigint;
  closed boolean;
begin
  select * into seen from market_creditnote c where c.id = note for no key update;
  if seen.state is distinct from 'proposed' or issued_by is null or issued_by = seen.maker_id then
    raise exception 'credit note % waits for no issue by %', note, issued_by
      using errcode = 'integrity_constraint_violation';
  end if;
  select case when r.content ->> 'billed_by' = 'hub' then (r.content ->> 'paid')::numeric * 1000000 else 0 end,
         exists (select from market_monthclose c where c.ends_at > r.issued_at)
    into paid, closed from market_receipt r where r.id = seen.receipt_id for no key update of r;
  if not closed or seen.amount_micros + coalesce((select sum(c.amount_micros) from market_creditnote c
       where c.receipt_id = seen.receipt_id and c.state = 'issued'), 0) > paid then
    raise exception 'credit note % gives back more than was paid here, or its month is open', note
      using errcode = 'integrity_constraint_violation';
  end if;
  source := case when seen.borne_by = 'hub'
    then ledger_open_account(ledger_uuid7(), 'credit', '00000000-0000-0000-0000-000000000000', seen.currency, null)
    else ledger_open_account(ledger_uuid7(), 'payable', seen.supplier_id, seen.currency, 0) end;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write('credit', new_id, 'credit_note:' || seen.id, 'credit_note', seen.id, array[source],
      array[ledger_open_account(ledger_uuid7(), 'balance', seen.organisation_id, seen.currency, 0)],
      array[seen.amount_micros], at, new_number, null, null) as w;
  update market_creditnote c
     set state = 'issued', checker_id = issued_by, decided_at = at, number = new_number,
         entry_id = market_issue_credit_note.entry_id
   where c.id = note and refusal is null;
end $$;
create trigger born before insert on market_creditnote for each row when (new.state <> 'proposed')
  execute function refuse_change();
"""
