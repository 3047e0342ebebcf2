"""What must hold afterwards, counted from rows by plain SQL and from the witness's notes, not by mosu's code."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import psycopg

from benchmarks.chaos.buyers import Acknowledged
from mosu.kernel.ids import uuid_of


@dataclass(frozen=True, slots=True)
class Count:
    """One law: how many things it was held to, and those that break it."""

    what: str
    checked: int
    broken: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.broken


# Each: what, how many were looked at, and those that break it (first column names them).
_ALWAYS: Final[Sequence[tuple[str, str, str]]] = (
    (
        "each settled order has its receipt, a cancelled one none",
        "select count(*) from market_order",
        """select o.id, o.state, count(r.id) from market_order o left join market_receipt r on r.order_id = o.id
           group by o.id, o.state having count(r.id) <> case o.state when 'settled' then 1 else 0 end""",
    ),
    (
        "what a hold captured is what its entries moved",
        "select count(*) from ledger_hold",
        """select h.id, h.captured_micros, coalesce(sum(-p.amount_micros), 0) from ledger_hold h
           left join ledger_journalentry e on e.hold_id = h.id
           left join ledger_posting p on p.entry_id = e.id and p.account_id = h.account_id
           group by h.id having h.captured_micros <> coalesce(sum(-p.amount_micros), 0)""",
    ),
    (
        "entries sum to zero",
        "select count(*) from ledger_journalentry",
        """select e.id, coalesce(sum(p.amount_micros), 0) from ledger_journalentry e
           left join ledger_posting p on p.entry_id = e.id
           group by e.id having coalesce(sum(p.amount_micros), 0) <> 0 or count(p.*) < 2""",
    ),
    (
        "balances equal their postings",
        "select count(*) from ledger_account",
        """select a.id, a.kind, a.balance_micros, coalesce(sum(p.amount_micros), 0) from ledger_account a
           left join ledger_posting p on p.account_id = a.id
           group by a.id having a.balance_micros <> coalesce(sum(p.amount_micros), 0)
           or a.sequence <> count(p.*)""",
    ),
    (
        "vouchers within their amount",
        "select count(*) from subsidies_voucher",
        """select v.id, v.amount_micros, sum(r.amount_micros) from subsidies_voucher v
           join subsidies_redemption r on r.voucher_id = v.id
           group by v.id having sum(r.amount_micros) > v.amount_micros""",
    ),
    (
        "vouchers within the yearly caps",
        "select count(*) from subsidies_yearcap",
        """select c.id, c.amount_micros, sum(r.amount_micros) from subsidies_yearcap c
           join subsidies_redemption r on r.cap_id = c.id
           group by c.id having sum(r.amount_micros) > c.amount_micros""",
    ),
    (
        "an order's total is vouchers and paid",
        "select count(*) from market_order where state = 'settled'",
        """select o.id, o.total_micros, coalesce(h.captured_micros, 0),
                  coalesce((select sum(amount_micros) from subsidies_redemption r
                            where r.order_id = o.id and r.source = 'voucher'), 0)
           from market_order o left join ledger_hold h on h.id = o.balance_hold_id where o.state = 'settled'
           and o.total_micros <> coalesce(h.captured_micros, 0)
             + coalesce((select sum(amount_micros) from subsidies_redemption r
                            where r.order_id = o.id and r.source = 'voucher'), 0)""",
    ),
    (
        "an order's total is the charges of its lines, within what was used",
        "select count(*) from market_order where state = 'settled'",
        """select o.id, o.total_micros, sum(c.amount_micros) from market_order o
           join market_orderline l on l.order_id = o.id left join market_charge c on c.order_line_id = l.id
           where o.state = 'settled' group by o.id having o.total_micros <> coalesce(sum(c.amount_micros), -1)
           or bool_or(c.quantity > l.quantity_max)""",
    ),
    (
        "receipts are numbered without a gap",
        "select count(*) from market_receipt",
        """select number, n from (select number, row_number() over (order by number) n from market_receipt) t
           where right(number, 6)::int <> n""",
    ),
    (
        "what is held is what open holds hold, and no floor is passed",
        "select count(*) from ledger_account",
        """select a.id, a.kind, a.held_micros, coalesce(sum(h.amount_micros - h.captured_micros - h.released_micros), 0)
           from ledger_account a left join ledger_hold h on h.account_id = a.id group by a.id
           having a.held_micros <> coalesce(sum(h.amount_micros - h.captured_micros - h.released_micros), 0)
           or a.balance_micros - a.held_micros < a.floor_micros""",
    ),
)
"""At every commit, whatever was cut off."""

_AT_THE_END: Final[Sequence[tuple[str, str, str]]] = (
    (
        "every run ended",
        "select count(*) from compute_run",
        "select id, state from compute_run where ended_at is null or state in ('queued', 'running')",
    ),
    (
        "every attempt ended",
        "select count(*) from compute_attempt",
        "select id, state from compute_attempt where state in ('waiting', 'leased', 'running', 'unreachable')",
    ),
    (
        "every order settled or cancelled",
        "select count(*) from market_order",
        "select id, state from market_order where state not in ('settled', 'cancelled')",
    ),
    (
        "every hold captured or released",
        "select count(*) from ledger_hold",
        """select id, state, amount_micros, captured_micros, released_micros from ledger_hold
           where state <> 'closed' or amount_micros <> captured_micros + released_micros""",
    ),
    (
        "nothing is held any more, and no floor is passed",
        "select count(*) from ledger_account",
        """select id, kind, balance_micros, held_micros from ledger_account
           where held_micros <> 0 or balance_micros < floor_micros""",
    ),
    (
        "every allocation released",
        "select count(*) from compute_allocation",
        "select id, period from compute_allocation where live or released_at is null",
    ),
    (
        "redemptions settled or released",
        "select count(*) from subsidies_redemption",
        "select id, state from subsidies_redemption where state = 'held' or amount_micros is null",
    ),
    (
        "vouchers within the cap of an order and their rate",
        "select count(*) from subsidies_redemption",
        """select r.id, r.amount_micros, o.total_micros, pv.terms from subsidies_redemption r
           join market_order o on o.id = r.order_id join subsidies_voucher v on v.id = r.voucher_id
           join subsidies_programmeversion pv on pv.id = v.version_id
           where r.amount_micros > 500000 or r.amount_micros > coalesce(o.total_micros, 0) * 0.30 + 5000""",
    ),
)
"""When all that was going on has ended."""


def laws_that_always_hold(connection: psycopg.Connection[Any]) -> list[Count]:
    """The laws of money and capacity, on a hub at any moment."""
    return [*(_counted(connection, law) for law in _ALWAYS), _capacity_promised_once(connection)]


def count_all(
    *, owner_dsn: str, starts: Mapping[str, int], acknowledged: Sequence[Acknowledged]
) -> list[Count]:
    """Every law with what was found."""
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("set transaction isolation level repeatable read read only")
        return laws_at_the_end(connection, starts=starts, acknowledged=acknowledged)


def laws_at_the_end(
    connection: psycopg.Connection[Any], *, starts: Mapping[str, int], acknowledged: Sequence[Acknowledged]
) -> list[Count]:
    """All laws, on a hub on which nothing goes on any more."""
    return [
        _started_once(connection, starts),
        *(_counted(connection, law) for law in _AT_THE_END),
        *laws_that_always_hold(connection),
        _capacity_used_once(connection),
        _each_order_once(connection, acknowledged),
    ]


def _counted(connection: psycopg.Connection[Any], law: tuple[str, str, str]) -> Count:
    what, all_, broken = law
    found = connection.execute(broken)
    return Count(what, _number(connection, all_), tuple(_told(row) for row in found))


def _number(connection: psycopg.Connection[Any], query: str) -> int:
    [(number,)] = connection.execute(query).fetchall()
    return int(number)


def _told(row: Iterable[object]) -> str:
    return " ".join(str(value) for value in row)[:200]


def _started_once(connection: psycopg.Connection[Any], starts: Mapping[str, int]) -> Count:
    """No attempt started twice, none that the hub does not know, and none missing that is said to have worked."""
    known = dict(connection.execute("select id, state from compute_attempt").fetchall())
    seen = {uuid_of("attempt", label): times for label, times in starts.items()}
    broken = [f"{key} started {times} times" for key, times in seen.items() if times != 1]
    broken += [f"{key} is unknown to the hub" for key in seen if key not in known]
    broken += [
        f"{key} {state} without a start"
        for key, state in known.items()
        if state in ("succeeded", "timed_out") and key not in seen
    ]
    return Count("each attempt started once, by the witness", sum(seen.values()), tuple(broken))


@dataclass(frozen=True, slots=True)
class _Promise:
    id: UUID
    node: UUID
    cores: int
    start: datetime
    end: datetime
    made_ms: int
    released_ms: float


def _capacity_promised_once(connection: psycopg.Connection[Any]) -> Count:
    """At every instant the promises that stood then fit the node, at every time they promise."""
    cores = dict(connection.execute("select id, cores from compute_node").fetchall())
    rows = connection.execute(
        "select id, node_id, cores, lower(period), upper(period), released_at from compute_allocation"
    ).fetchall()
    # The first 48 bits of a UUIDv7 are the millisecond in which it was made.
    promises = [
        _Promise(key, node, n, start, end, key.int >> 80, gone.timestamp() * 1000 if gone else float("inf"))
        for key, node, n, start, end, gone in rows
    ]
    broken = []
    for made in promises:
        standing = [
            one for one in promises
            if one.node == made.node and one.made_ms <= made.made_ms < one.released_ms
        ]  # fmt: skip
        for at in {one.start for one in standing}:
            taken = sum(one.cores for one in standing if one.start <= at < one.end)
            if taken > cores[made.node]:
                broken.append(f"when {made.id} was made, {taken} of {cores[made.node]} cores at {at}")
    return Count("promised cores fit their node at every time", len(promises), tuple(broken))


def _capacity_used_once(connection: psycopg.Connection[Any]) -> Count:
    """What ran at the same time, by the agent's own times, fits the node."""
    rows = connection.execute(
        """select a.id, al.node_id, al.cores, a.started_at, a.ended_at, n.cores from compute_attempt a
           join lateral (select * from compute_allocation where attempt_id = a.id order by id desc limit 1) al
             on true join compute_node n on n.id = al.node_id
           where a.started_at is not null and a.ended_at is not null and a.state <> 'lost'"""
    ).fetchall()
    broken = [
        f"{taken} of {row[5]} cores when {row[0]} started"
        for row in rows
        if (taken := sum(one[2] for one in rows if one[1] == row[1] and one[3] <= row[3] < one[4])) > row[5]
    ]
    return Count("cores used at once fit their node", len(rows), tuple(broken))


def _each_order_once(connection: psycopg.Connection[Any], acknowledged: Sequence[Acknowledged]) -> Count:
    """Each acknowledged order is there, each key made one, and no order is there that nobody was told of."""
    there = {row[0] for row in connection.execute("select id from market_order")}
    told = [uuid_of("order", one.order_id) for one in acknowledged]
    by_key = dict(connection.execute("select key, result_id from platform_idempotencyrecord").fetchall())
    broken = [f"{key} was acknowledged and is not there" for key in told if key not in there]
    broken += [f"{key} was acknowledged {n} times" for key, n in Counter(told).items() if n > 1]
    broken += [f"{key} is there and nobody was told" for key in there - set(told)]
    broken += [
        f"key {one.key} made another order"
        for one in acknowledged
        if by_key.get(one.key) != uuid_of("order", one.order_id)
    ]
    return Count("each acknowledged order exists once", len(told), tuple(broken))
