"""The ledger's functions and triggers as migration 0001 made them; what stands now is in `ledger/sql.py`.

Much stands in both, on purpose: a migration that took its text from `sql.py` would make today's functions on yesterday's
tables. A hub that is new and one that is upgraded go through the same steps only if this file never changes.
"""

FUNCTIONS = r"""
-- The same text as rules.digest_of.
create function ledger_digest(
  key text, kind text, subject uuid, hold uuid, reverses uuid,
  sources uuid[], destinations uuid[], amounts bigint[], memo text
) returns text language sql immutable as $$
  select encode(sha256(convert_to(concat_ws(E'\n',
    key, kind, subject::text, coalesce(hold::text, ''), coalesce(reverses::text, ''), cardinality(amounts)::text,
    (select string_agg(s || '>' || d || ':' || a, E'\n' order by n)
       from unnest(sources, destinations, amounts) with ordinality as m(s, d, a, n)),
    memo), 'UTF8')), 'hex')
$$;

-- A posting takes its place in its account's chain, whoever inserts it: the same text as rules.hash_of_posting.
create function ledger_chain() returns trigger language plpgsql as $$
declare
  entry record;
begin
  select digest, (extract(epoch from posted_at) * 1000000)::bigint as at_us into strict entry
    from ledger_journalentry where id = new.entry_id;
  select sequence + 1, balance_micros + new.amount_micros, head_hash
    into strict new.sequence, new.balance_after_micros, new.previous_hash
    from ledger_account where id = new.account_id for no key update;
  new.hash := encode(sha256(convert_to(concat_ws('|',
    new.previous_hash, new.account_id, new.sequence, new.entry_id, entry.digest, entry.at_us,
    new.amount_micros, new.balance_after_micros), 'UTF8')), 'hex');
  update ledger_account
     set sequence = new.sequence, balance_micros = new.balance_after_micros, head_hash = new.hash
   where id = new.account_id;
  return new;
end $$;

-- What a hold still reserves is counted in its account, whoever changes it.
create function ledger_count_hold() returns trigger language plpgsql as $$
declare
  change bigint := new.amount_micros - new.captured_micros - new.released_micros;
begin
  if tg_op = 'UPDATE' then
    if (new.id, new.key, new.account_id, new.amount_micros, new.subject_id, new.placed_at)
       is distinct from (old.id, old.key, old.account_id, old.amount_micros, old.subject_id, old.placed_at)
       or new.captured_micros < old.captured_micros or new.released_micros < old.released_micros then
      raise exception 'a hold only goes forward' using errcode = 'integrity_constraint_violation';
    end if;
    change := change - (old.amount_micros - old.captured_micros - old.released_micros);
  end if;
  if change <> 0 then
    update ledger_account set held_micros = held_micros + change where id = new.account_id;
  end if;
  return null;
end $$;

-- Figures of an account change through its postings and holds only; what it is never changes.
create function ledger_guard_account() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    if (new.balance_micros, new.held_micros, new.sequence, new.head_hash) <> (0, 0, 0, repeat('0', 64)) then
      raise exception 'an account starts empty' using errcode = 'integrity_constraint_violation';
    end if;
  elsif pg_trigger_depth() < 2 or (new.id, new.kind, new.owner_id, new.currency, new.floor_micros)
      is distinct from (old.id, old.kind, old.owner_id, old.currency, old.floor_micros) then
    raise exception 'ledger_account changes by postings and holds only'
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;

-- Runs at commit, as whoever commits: the path is pinned so that no temporary table of theirs is read instead.
create function ledger_require_balance() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare
  checked uuid;
  legs bigint;
  worst numeric;
begin
  if tg_table_name = 'ledger_posting' then checked := new.entry_id; else checked := new.id; end if;
  select sum(n), max(abs(total)) into legs, worst from (
    select count(*) as n, sum(p.amount_micros) as total
      from ledger_posting p join ledger_account a on a.id = p.account_id
     where p.entry_id = checked group by a.currency) as by_currency;
  if legs is null or legs < 2 or worst <> 0 then
    raise exception 'entry % does not balance', checked using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

create function ledger_lock(accounts uuid[]) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  locked bigint;
begin
  perform 1 from ledger_account where id = any(accounts) order by id for no key update;
  get diagnostics locked = row_count;
  return locked;
end $$;

create function ledger_open_account(new_id uuid, kind text, owner uuid, currency text, floor bigint)
returns uuid language plpgsql security definer set search_path = public, pg_temp as $$
declare
  known uuid;
begin
  insert into ledger_account
    (id, kind, owner_id, currency, floor_micros, balance_micros, held_micros, sequence, head_hash)
    values (new_id, $2, owner, $4, floor, 0, 0, 0, repeat('0', 64))
    on conflict on constraint account_once do nothing;
  select a.id into strict known from ledger_account a
   where a.kind = $2 and a.owner_id = owner and a.currency = $4;
  return known;
end $$;

-- Writes one entry, or the refusal: key_reused, no_account, currency, funds, hold, reversed, closed.
create function ledger_write(
  new_id uuid, new_key text, new_kind text, subject uuid, sources uuid[], destinations uuid[], amounts bigint[],
  at timestamptz, note text, from_hold uuid, undone uuid,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql as $$
declare
  wanted text := ledger_digest(new_key, new_kind, subject, from_hold, undone, sources, destinations, amounts, note);
  seen text;
  accounts uuid[];
  nets bigint[];
  currencies bigint;
  short uuid[];
begin
  if cardinality(amounts) not between 1 and 200 or cardinality(sources) <> cardinality(amounts)
     or cardinality(destinations) <> cardinality(amounts) or 0 >= any(amounts) then
    raise exception 'these are not moves' using errcode = 'invalid_parameter_value';
  end if;
  perform 1 from ledger_account a where a.id = any(sources || destinations) order by a.id for no key update;

  select e.id, e.digest into entry_id, seen from ledger_journalentry e where e.key = new_key;
  if found then
    if seen <> wanted then
      entry_id := null;
      refusal := 'key_reused';
    end if;
    return;
  end if;

  select array_agg(net.id order by net.id), array_agg(net.amount order by net.id), count(distinct a.currency),
         array_agg(a.id order by a.id) filter (where net.amount < 0 and a.balance_micros + net.amount
           < a.floor_micros + a.held_micros)
    into accounts, nets, currencies, short
    from (select leg.id, sum(leg.amount)::bigint as amount
            from (select s, -a from unnest(sources, amounts) as gone(s, a)
                  union all select d, a from unnest(destinations, amounts) as come(d, a)) as leg(id, amount)
           group by leg.id having sum(leg.amount) <> 0) as net
    left join ledger_account a on a.id = net.id;
  if accounts is null or cardinality(accounts) < 2 then
    raise exception 'these moves come to nothing' using errcode = 'invalid_parameter_value';
  end if;
  if exists (select 1 from unnest(sources || destinations) as named(id)
             where not exists (select 1 from ledger_account a where a.id = named.id)) then
    refusal := 'no_account';
    return;
  end if;
  if currencies <> 1 then
    refusal := 'currency';
    return;
  end if;
  if undone is not null and exists (select 1 from ledger_journalentry e where e.reverses_id = undone) then
    refusal := 'reversed';
    return;
  end if;
  if from_hold is not null then
    select h.amount_micros - h.captured_micros - h.released_micros into strict available
      from ledger_hold h where h.id = from_hold;
    if available < amounts[1] then
      refusal := 'hold';
      return;
    end if;
  elsif short is not null then
    select a.id, a.balance_micros - a.held_micros - a.floor_micros into account, available
      from ledger_account a where a.id = short[1];
    refusal := 'funds';
    return;
  end if;
  -- The lock that the insert below takes anyway, taken before looking: no seal comes between.
  lock table ledger_journalentry in row exclusive mode;
  if exists (select 1 from ledger_dayhead d where d.ends_at > at) then
    refusal := 'closed';
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
    -- Before the posting: the floor counts what is held.
    update ledger_hold h
       set captured_micros = h.captured_micros + amounts[1],
           state = case when available = amounts[1] then 'closed' else 'open' end,
           closed_at = case when available = amounts[1] then at end
     where h.id = from_hold;
  end if;
  insert into ledger_posting
    (account_id, sequence, entry_id, amount_micros, balance_after_micros, previous_hash, hash)
    select id, 0, new_id, amount, 0, '', '' from unnest(accounts, nets) as net(id, amount);
end $$;

create function ledger_post(
  new_id uuid, key text, kind text, subject uuid, sources uuid[], destinations uuid[], amounts bigint[],
  at timestamptz, memo text, out entry_id uuid, out refusal text, out account uuid, out available bigint
) language sql security definer set search_path = public, pg_temp as $$
  select * from ledger_write(new_id, key, kind, subject, sources, destinations, amounts, at, memo, null, null)
$$;

create function ledger_capture(
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
    from ledger_write(new_id, key, kind, subject, array[source], array[destination], array[amount], at, memo, hold,
      null) as w;
end $$;

create function ledger_reverse(
  new_id uuid, key text, undone uuid, at timestamptz, memo text,
  out entry_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
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
    from ledger_write(new_id, key, 'reversal', subject, sources, destinations, amounts, at, memo, null, undone) as w;
end $$;

create function ledger_hold_place(
  new_id uuid, new_key text, of_account uuid, amount bigint, subject uuid, at timestamptz,
  out hold_id uuid, out refusal text, out account uuid, out available bigint
) language plpgsql security definer set search_path = public, pg_temp as $$
declare
  known record;
begin
  select a.balance_micros - a.held_micros - a.floor_micros into available
    from ledger_account a where a.id = of_account for no key update;
  if not found then
    refusal := 'no_account';
    return;
  end if;
  select * into known from ledger_hold h where h.key = new_key;
  if not found then
    if amount > available then
      account := of_account;
      refusal := 'funds';
      return;
    end if;
    insert into ledger_hold
      (id, key, account_id, amount_micros, captured_micros, released_micros, subject_id, state, placed_at)
      values (new_id, new_key, of_account, amount, 0, 0, subject, 'open', at)
      on conflict (key) do nothing returning id into hold_id;
    if hold_id is null then
      refusal := 'key_reused';
    end if;
  elsif (known.account_id, known.amount_micros, known.subject_id) = (of_account, amount, subject) then
    hold_id := known.id;
  else
    refusal := 'key_reused';
  end if;
end $$;

-- Gives back what is left; nothing if nothing is.
create function ledger_hold_release(hold uuid, at timestamptz, out refusal text)
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  source uuid;
begin
  select h.account_id into source from ledger_hold h where h.id = hold;
  if not found then
    refusal := 'no_hold';
    return;
  end if;
  perform 1 from ledger_account a where a.id = source for no key update;
  update ledger_hold h
     set released_micros = h.amount_micros - h.captured_micros, state = 'closed', closed_at = at
   where h.id = hold and h.state = 'open';
end $$;

-- Seals a day that is over: waits for the entries under way, then no more can be posted into it. While it waits
-- nobody posts, so it gives up soon and is tried again.
create function ledger_seal_day(day date, day_ends_at timestamptz, at timestamptz) returns void
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '2s' as $$
begin
  -- Not the caller's word alone: sealing a day to come would stop every entry until then.
  if at < day_ends_at or clock_timestamp() < day_ends_at then
    raise exception 'the day is not over' using errcode = 'invalid_parameter_value';
  end if;
  lock table ledger_journalentry in share row exclusive mode;
  insert into ledger_dayhead (date, ends_at, sha256, accounts, sealed_at)
    select day, day_ends_at, encode(sha256(convert_to(coalesce(string_agg(
             head.account_id || '|' || head.sequence || '|' || head.hash || E'\n', '' order by head.account_id), ''),
             'UTF8')), 'hex'), count(*), at
      from (select distinct on (p.account_id) p.account_id, p.sequence, p.hash
              from ledger_posting p join ledger_journalentry e on e.id = p.entry_id
             where e.posted_at < day_ends_at order by p.account_id, p.sequence desc) as head
    on conflict (date) do nothing;
end $$;

create trigger guard before insert or update on ledger_account for each row execute function ledger_guard_account();
create trigger kept before delete on ledger_account for each row execute function refuse_change();
create trigger kept_whole before truncate on ledger_account for each statement execute function refuse_change();
create trigger kept before delete on ledger_hold for each row execute function refuse_change();
create trigger kept_whole before truncate on ledger_hold for each statement execute function refuse_change();
create trigger counted after insert or update on ledger_hold for each row execute function ledger_count_hold();
create trigger chained before insert on ledger_posting for each row execute function ledger_chain();
create constraint trigger balanced after insert on ledger_posting
  deferrable initially deferred for each row execute function ledger_require_balance();
create constraint trigger balanced after insert on ledger_journalentry
  deferrable initially deferred for each row execute function ledger_require_balance();

-- Accounts are updated in place, without touching their indexes.
alter table ledger_account set (fillfactor = 50);

revoke execute on function ledger_write from public, mosu_app;
"""
