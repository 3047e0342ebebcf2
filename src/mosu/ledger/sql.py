"""The ledger inside PostgreSQL: the only writers of its tables, and the triggers that bind the owner too.

Functions return their refusals instead of raising them, and refuse before they write: the caller's transaction
stays usable and no savepoint is needed. All of them lock accounts first, sorted, once.
"""

FUNCTIONS = r"""
-- The same text as rules.digest_of.
create or replace function ledger_digest(
  key text, kind text, subject uuid, hold uuid, reverses uuid,
  sources uuid[], destinations uuid[], amounts bigint[], memo text
) returns text language plpgsql immutable as $$
declare
  moves text := '';
begin
  for n in 1 .. cardinality(amounts) loop
    moves := moves || sources[n] || '>' || destinations[n] || ':' || amounts[n] || E'\n';
  end loop;
  return encode(sha256(convert_to(concat_ws(E'\n',
    key, kind, subject, coalesce(hold::text, ''), coalesce(reverses::text, ''), cardinality(amounts),
    moves || memo), 'UTF8')), 'hex');
end $$;

-- The same text as rules.hash_of_posting.
create or replace function ledger_hash(
  previous text, account uuid, sequence bigint, entry uuid, digest text, posted_at timestamptz,
  amount bigint, balance_after bigint
) returns text language sql stable as $$
  select encode(sha256(convert_to(concat_ws('|', previous, account, sequence, entry, digest,
    (extract(epoch from posted_at) * 1000000)::bigint, amount, balance_after), 'UTF8')), 'hex')
$$;

-- Postings that come together, whoever inserts them, are of one entry, balance in one currency, and follow the last
-- ones of their accounts. Row by row: a plan made for an empty table would join the whole of it later.
create or replace function ledger_chain() returns trigger language plpgsql as $$
declare
  entry record;
  posting record;
  held_in text;
  currency text;
  total numeric := 0;
begin
  for posting in select * from added loop
    if entry is null then
      select e.id, e.digest, e.posted_at into strict entry
        from public.ledger_journalentry e where e.id = posting.entry_id;
    end if;
    update public.ledger_account a
       set sequence = posting.sequence, balance_micros = posting.balance_after_micros, head_hash = posting.hash
     where a.id = posting.account_id and a.sequence = posting.sequence - 1 and a.head_hash = posting.previous_hash
       and a.balance_micros = posting.balance_after_micros - posting.amount_micros
       and posting.hash = public.ledger_hash(a.head_hash, a.id, posting.sequence, entry.id, entry.digest,
         entry.posted_at, posting.amount_micros, posting.balance_after_micros)
    returning a.currency into held_in;
    if not found then
      raise exception 'a posting does not follow the last of its account'
        using errcode = 'integrity_constraint_violation';
    end if;
    currency := coalesce(currency, held_in);
    if posting.entry_id <> entry.id or currency <> held_in then
      raise exception 'postings of two entries or currencies' using errcode = 'integrity_constraint_violation';
    end if;
    total := total + posting.amount_micros;
  end loop;
  if total <> 0 then
    raise exception 'entry % does not balance', entry.id using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

-- At commit, as whoever commits, hence the pinned path: an entry has postings, and its day is open.
create or replace function ledger_require_postings() returns trigger
language plpgsql set search_path = public, pg_temp as $$
begin
  if not exists (select from ledger_posting where entry_id = new.id)
     or exists (select from ledger_dayhead where ends_at > new.posted_at) then
    raise exception 'entry % moves nothing, or lies in a sealed day', new.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

-- Writes one entry, or the refusal: key_reused, no_account, currency, kind, reversed, hold, funds, closed.
create or replace function ledger_write(
  by_door text, new_id uuid, new_key text, new_kind text, subject uuid, sources uuid[], destinations uuid[],
  amounts bigint[], at timestamptz, note text, from_hold uuid, undone uuid,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql as $$
declare
  wanted text := ledger_digest(new_key, new_kind, subject, from_hold, undone, sources, destinations, amounts, note);
  named uuid[] := sources || destinations;
  seen text;
  closed boolean;
  forbidden boolean;
  net record;
begin
  if cardinality(amounts) not between 1 and 200 or cardinality(sources) <> cardinality(amounts)
     or cardinality(destinations) <> cardinality(amounts) or 0 >= any(amounts) then
    raise exception 'these are not moves' using errcode = 'invalid_parameter_value';
  end if;
  -- All that is needed of the accounts, read as they are locked.
  with locked as materialized (
    select a.id, a.kind, a.currency, a.sequence, a.balance_micros, a.head_hash,
           a.balance_micros - a.held_micros - a.floor_micros as free
      from ledger_account a where a.id = any(named) order by a.id for no key update),
  gained as (
    select leg.id, sum(leg.amount)::bigint as amount
      from (select s, -a from unnest(sources, amounts) as gone(s, a)
            union all select d, a from unnest(destinations, amounts) as come(d, a)) as leg(id, amount)
     group by leg.id)
  select count(*) filter (where l.id is null) as missing, count(distinct l.currency) as currencies,
         array_agg(l.id) as all_ids, array_agg(l.kind) as all_kinds,
         array_agg(l.id order by l.id) filter (where g.amount <> 0) as ids,
         array_agg(g.amount order by l.id) filter (where g.amount <> 0) as amounts,
         array_agg(l.sequence + 1 order by l.id) filter (where g.amount <> 0) as sequences,
         array_agg(l.balance_micros + g.amount order by l.id) filter (where g.amount <> 0) as balances,
         array_agg(l.head_hash order by l.id) filter (where g.amount <> 0) as heads,
         (array_agg(l.id order by l.id) filter (where g.amount < 0 and l.free + g.amount < 0))[1] as short,
         (array_agg(l.free order by l.id) filter (where g.amount < 0 and l.free + g.amount < 0))[1] as free
    into net from gained g left join locked l on l.id = g.id;

  -- The lock that the insert below takes anyway, taken before looking: no seal comes between.
  lock table ledger_journalentry in row exclusive mode;
  select e.id, e.digest, exists (select from ledger_dayhead d where d.ends_at > at),
         exists (select from unnest(sources, destinations) as m(s, d)
                  where not exists (select from ledger_entryrule r
                    where r.kind = new_kind and r.door = by_door
                      and r.source = net.all_kinds[array_position(net.all_ids, m.s)]
                      and r.destination = net.all_kinds[array_position(net.all_ids, m.d)]))
    into entry_id, seen, closed, forbidden
    from (select) as one left join ledger_journalentry e on e.key = new_key;
  if seen is not null then
    if seen <> wanted then
      entry_id := null;
      refusal := 'key_reused';
    end if;
    return;
  end if;
  if net.missing > 0 then
    refusal := 'no_account';
  elsif net.ids is null then
    raise exception 'these moves come to nothing' using errcode = 'invalid_parameter_value';
  elsif net.currencies <> 1 then
    refusal := 'currency';
  elsif forbidden then
    refusal := 'kind';
  elsif undone is not null and exists (select from ledger_journalentry e where e.reverses_id = undone) then
    refusal := 'reversed';
  elsif from_hold is not null then
    select h.amount_micros - h.captured_micros - h.released_micros into strict available
      from ledger_hold h where h.id = from_hold;
    if available < amounts[1] then
      refusal := 'hold';
    end if;
  elsif net.short is not null then
    account := net.short;
    available := net.free;
    refusal := 'funds';
  end if;
  if refusal is null and closed then
    refusal := 'closed';
  end if;
  if refusal is not null then
    return;
  end if;

  insert into ledger_journalentry (id, key, digest, kind, subject_id, hold_id, reverses_id, moves, memo, posted_at)
    values (new_id, new_key, wanted, new_kind, subject, from_hold, undone,
      (select jsonb_agg(jsonb_build_array(s, d, a) order by n)
         from unnest(sources, destinations, amounts) with ordinality as m(s, d, a, n)), note, at)
    on conflict (key) do nothing returning id into entry_id;
  if entry_id is null then
    -- Someone with other accounts took this key meanwhile: with the same accounts they would have waited.
    refusal := 'key_reused';
    return;
  end if;
  if from_hold is not null then
    -- Before the postings: the floor counts what is held.
    update ledger_hold h
       set captured_micros = h.captured_micros + amounts[1],
           state = case when available = amounts[1] then 'closed' else 'open' end,
           closed_at = case when available = amounts[1] then at end
     where h.id = from_hold;
    available := null;
  end if;
  insert into ledger_posting
    (account_id, sequence, entry_id, amount_micros, balance_after_micros, previous_hash, hash)
    select n.id, n.sequence, new_id, n.amount, n.balance, n.head,
           ledger_hash(n.head, n.id, n.sequence, new_id, wanted, at, n.amount, n.balance)
      from unnest(net.ids, net.sequences, net.amounts, net.balances, net.heads)
           as n(id, sequence, amount, balance, head);
end $$;

create or replace function ledger_post(
  new_id uuid, key text, kind text, subject uuid, sources uuid[], destinations uuid[], amounts bigint[],
  at timestamptz, memo text, out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write('post', new_id, key, kind, subject, sources, destinations, amounts, at, memo, null, null) as w;
end $$;

create or replace function ledger_capture(
  new_id uuid, key text, hold uuid, destination uuid, amount bigint, kind text, at timestamptz, memo text,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  source uuid;
  subject uuid;
begin
  select h.account_id, h.subject_id into source, subject from ledger_hold h where h.id = hold;
  if not found then
    refusal := 'no_hold';
    return;
  end if;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write('capture', new_id, key, kind, subject, array[source], array[destination], array[amount], at,
      memo, hold, null) as w;
end $$;

create or replace function ledger_undo(
  by_door text, new_id uuid, key text, undone uuid, at timestamptz, memo text,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql as $$
declare
  subject uuid;
  sources uuid[];
  destinations uuid[];
  amounts bigint[];
begin
  select e.subject_id into subject from ledger_journalentry e where e.id = undone and e.reverses_id is null;
  if not found then
    refusal := 'no_entry';
    return;
  end if;
  select array_agg((m ->> 1)::uuid order by n desc), array_agg((m ->> 0)::uuid order by n desc),
         array_agg((m ->> 2)::bigint order by n desc)
    into sources, destinations, amounts
    from ledger_journalentry e, jsonb_array_elements(e.moves) with ordinality as moves(m, n) where e.id = undone;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write(by_door, new_id, key, 'reversal', subject, sources, destinations, amounts, at, memo, null,
      undone) as w;
end $$;

create or replace function ledger_reverse(
  new_id uuid, key text, undone uuid, at timestamptz, memo text,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
begin
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_undo('reverse', new_id, key, undone, at, memo) as w;
end $$;

-- The one way in for money: a deposit that one person entered and another confirms now, once.
create or replace function ledger_confirm_deposit(
  new_id uuid, deposit uuid, confirmed_by uuid, at timestamptz,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  seen ledger_deposit;
begin
  select * into seen from ledger_deposit d where d.id = deposit for no key update;
  if seen.state is distinct from 'proposed' or confirmed_by is null or confirmed_by = seen.maker_id then
    raise exception 'deposit % waits for no confirmation by %', deposit, confirmed_by
      using errcode = 'integrity_constraint_violation';
  end if;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write('deposit', new_id, 'deposit:' || seen.id, 'deposit', seen.id,
      array[ledger_open_account(ledger_uuid7(), 'bank', '00000000-0000-0000-0000-000000000000', seen.currency, null)],
      array[ledger_open_account(ledger_uuid7(), 'balance', seen.organisation_id, seen.currency, 0)],
      array[seen.amount_micros], at, seen.bank_reference, null, null) as w;
  update ledger_deposit d
     set state = 'confirmed', checker_id = confirmed_by, decided_at = at, entry_id = ledger_confirm_deposit.entry_id
   where d.id = deposit and refusal is null;
end $$;

-- And the one way out again: a refund that one person asked for and another confirms now, once.
create or replace function ledger_confirm_refund(
  new_id uuid, deposit uuid, confirmed_by uuid, at timestamptz,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  seen ledger_deposit;
begin
  select * into seen from ledger_deposit d where d.id = deposit for no key update;
  if seen.state is distinct from 'refunding' or confirmed_by is null or confirmed_by = seen.refund_maker_id then
    raise exception 'deposit % waits for no refund by %', deposit, confirmed_by
      using errcode = 'integrity_constraint_violation';
  end if;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_undo('refund', new_id, 'deposit.refund:' || seen.id, seen.entry_id, at, seen.refund_why) as w;
  update ledger_deposit d
     set state = 'refunded', refund_checker_id = confirmed_by, refunded_at = at,
         refund_entry_id = ledger_confirm_refund.entry_id
   where d.id = deposit and refusal is null;
end $$;

-- An id that sorts by time, as kernel.ids makes them: PostgreSQL has its own only from 18 on.
create or replace function ledger_uuid7() returns uuid language sql volatile as $$
  select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
           placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
           from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- What new holds reserve is counted in their accounts, and their birth is on record, whoever places them.
create or replace function ledger_holds_placed() returns trigger language plpgsql as $$
begin
  update public.ledger_account a set held_micros = a.held_micros + placed.micros
    from (select account_id, sum(amount_micros - captured_micros - released_micros)::bigint as micros
            from added group by account_id) as placed
   where a.id = placed.account_id;
  insert into public.platform_auditrecord
    (id, at, actor_kind, actor_label, action, organisation_id, subject_id, before, after, why, facts)
    select public.ledger_uuid7(), h.placed_at, 'system', 'mosu', 'hold.' || h.state,
           case when a.kind in ('balance', 'payable') then a.owner_id end, h.id, null, h.state, '',
           jsonb_build_object('key', h.key, 'subject_id', h.subject_id, 'amount_micros', h.amount_micros)
      from added h join public.ledger_account a on a.id = h.account_id;
  return null;
end $$;

-- So is what a hold gives up; and its end, whether captured whole or released.
create or replace function ledger_hold_moved() returns trigger language plpgsql as $$
declare
  change bigint := old.captured_micros + old.released_micros - new.captured_micros - new.released_micros;
begin
  if (new.id, new.key, new.account_id, new.amount_micros, new.subject_id, new.placed_at)
     is distinct from (old.id, old.key, old.account_id, old.amount_micros, old.subject_id, old.placed_at)
     or new.captured_micros < old.captured_micros or new.released_micros < old.released_micros then
    raise exception 'a hold only goes forward' using errcode = 'integrity_constraint_violation';
  end if;
  if change <> 0 then
    update public.ledger_account set held_micros = held_micros + change where id = new.account_id;
  end if;
  if new.state <> old.state then
    insert into public.platform_auditrecord
      (id, at, actor_kind, actor_label, action, organisation_id, subject_id, before, after, why, facts)
      select public.ledger_uuid7(), coalesce(new.closed_at, now()), 'system', 'mosu', 'hold.' || new.state,
             case when a.kind in ('balance', 'payable') then a.owner_id end, new.id, old.state, new.state,
             case when new.released_micros > 0 then 'what was left of it was released' else 'captured whole' end,
             jsonb_build_object('key', new.key, 'subject_id', new.subject_id, 'amount_micros', new.amount_micros,
               'captured_micros', new.captured_micros, 'released_micros', new.released_micros)
        from public.ledger_account a where a.id = new.account_id;
  end if;
  return null;
end $$;

-- Places all of these holds, or none and the refusal of the first that cannot be: key_reused, no_account, funds.
create or replace function ledger_hold_place(
  new_ids uuid[], keys text[], accounts uuid[], amounts bigint[], subjects uuid[], at timestamptz,
  out hold_ids uuid[], out refusal text, out account uuid, out available bigint, out key text
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  locked uuid[];
  frees bigint[];
  wanted bigint;
  placed bigint;
begin
  select array_agg(a.id), array_agg(a.free) into locked, frees
    from (select l.id, l.balance_micros - l.held_micros - l.floor_micros as free
            from ledger_account l where l.id = any(accounts) order by l.id for no key update) as a;

  with asked as (
    select w.n, w.key, w.account, a.free, coalesce(h.id, w.id) as id, h.id is null as fresh,
           (h.account_id, h.amount_micros, h.subject_id) is distinct from (w.account, w.amount, w.subject) as other,
           a.id is null as missing,
           sum(w.amount) filter (where h.id is null) over (partition by w.account order by w.n) as total
      from unnest(new_ids, keys, accounts, amounts, subjects) with ordinality as w(id, key, account, amount, subject, n)
      left join ledger_hold h on h.key = w.key
      left join unnest(locked, frees) as a(id, free) on a.id = w.account)
  select array_agg(w.id order by w.n), count(*) filter (where w.fresh),
         (array_agg(w.key order by w.n) filter (where w.refusal is not null))[1],
         (array_agg(w.refusal order by w.n) filter (where w.refusal is not null))[1],
         (array_agg(w.account order by w.n) filter (where w.refusal is not null))[1],
         (array_agg(w.free order by w.n) filter (where w.refusal is not null))[1]
    into hold_ids, wanted, key, refusal, account, available
    from (select asked.*, case when asked.missing then 'no_account'
                               when not asked.fresh and asked.other then 'key_reused'
                               when asked.fresh and asked.total > asked.free then 'funds' end as refusal
            from asked) as w;
  if refusal is not null then
    hold_ids := null;
    return;
  end if;
  if wanted = 0 then
    return;
  end if;

  insert into ledger_hold
    (id, key, account_id, amount_micros, captured_micros, released_micros, subject_id, state, placed_at)
    select w.id, w.key, w.account, w.amount, 0, 0, w.subject, 'open', at
      from unnest(new_ids, keys, accounts, amounts, subjects) as w(id, key, account, amount, subject)
     where w.id = any(hold_ids)
    on conflict on constraint ledger_hold_key_key do nothing;
  get diagnostics placed = row_count;
  if placed = wanted then
    return;
  end if;
  -- Someone with other accounts took a key meanwhile: with the same accounts they would have waited.
  if placed > 0 then
    raise exception 'a key of these holds was taken meanwhile' using errcode = 'unique_violation';
  end if;
  hold_ids := null;
  key := keys[1];
  refusal := 'key_reused';
end $$;
"""

PAYOUTS = r"""
-- The way out to a supplier: a transfer that one person entered and another confirms now, once.
create function ledger_confirm_payout(
  new_id uuid, payout uuid, confirmed_by uuid, at timestamptz,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  seen ledger_payout;
begin
  select * into seen from ledger_payout p where p.id = payout for no key update;
  if seen.state is distinct from 'proposed' or confirmed_by is null or confirmed_by = seen.maker_id then
    raise exception 'payout % waits for no confirmation by %', payout, confirmed_by
      using errcode = 'integrity_constraint_violation';
  end if;
  select w.entry_id, w.refusal, w.account, w.available into entry_id, refusal, account, available
    from ledger_write('payout', new_id, 'payout:' || seen.id, 'payout', seen.subject_id,
      array[ledger_open_account(ledger_uuid7(), 'payable', seen.organisation_id, seen.currency, 0)],
      array[ledger_open_account(ledger_uuid7(), 'bank', '00000000-0000-0000-0000-000000000000', seen.currency, null)],
      array[seen.amount_micros], at, seen.bank_reference, null, null) as w;
  update ledger_payout p
     set state = 'confirmed', checker_id = confirmed_by, decided_at = at,
         entry_id = ledger_confirm_payout.entry_id
   where p.id = payout and refusal is null;
end $$;
create trigger born before insert on ledger_payout for each row when (new.state <> 'proposed')
  execute function refuse_change();
insert into ledger_entryrule (kind, door, source, destination) values
  ('payout', 'payout', 'payable', 'bank'),
  ('credit_note', 'credit', 'payable', 'balance'),
  ('credit_note', 'credit', 'credit', 'balance');
"""
