"""The ledger inside PostgreSQL: the only writers of its tables, and the triggers that bind the owner too.

Functions return their refusals instead of raising them, and refuse before they write: the caller's transaction
stays usable and no savepoint is needed. All of them lock accounts first, sorted, once.
"""

HOLDS = r"""
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
