"""Taking usage: a supplier's claim, counted once, within its bounds."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.ids import uuid7
from mosu.market import rules
from mosu.market.models import Order, OrderLine, OrderState, UsageState
from mosu.market.shelves import UsageIn, UsageResult

_ENDED = frozenset({OrderState.SETTLED, OrderState.CANCELLED})
AFTER_THE_END = "the order had ended"

_COPY: Final = (
    "copy market_usagerecord (id, order_line_id, accepted_month, meter, sequence, quantity, quantity_accepted,"
    ' quantity_observed, start, "end", received_at, state, reason) from stdin'
)
_KNOWN: Final = """
select wanted.line, wanted.sequence
  from unnest(%s::uuid[], %s::date[], %s::text[], %s::bigint[]) as wanted(line, month, meter, sequence)
  join market_usagerecord u on u.order_line_id = wanted.line and u.accepted_month = wanted.month
   and u.meter = wanted.meter and u.sequence = wanted.sequence
"""


@dataclass(slots=True)
class _Line:
    """An order's line, and how much of it counts already: that grows with each record taken."""

    id: UUID
    month: date
    units: int
    quantity_max: int
    claimed: int
    used: int
    last_sequence: int
    """The highest that is kept: what comes after it is new, and need not be looked up."""
    ended: bool


@transaction.atomic
def record_usage(*, records: Sequence[UsageIn], now: datetime) -> UsageResult:
    """Keep each record once (by order, meter and sequence) and say how many counted; for a shelf to call.

    What exceeds a bound stays on the record but does not count: the record is quarantined with the reason.
    What a line cannot take goes to the orders that follow (`UsageIn.further`): then it is kept in parts, each on its
    own line.
    A record whose order has no such meter is a bug of the shelf. Few statements, whatever the number, and as quick
    on a line with a year of records: its total is kept. Locks the orders by id, and nothing but totals after them;
    under these locks what is not known yet is new, so that COPY meets no repeat.

    Raises:
        ValueError: an unknown order or meter, a negative sequence, an end before the start.
    """
    lines = _locked({order_id for record in records for order_id in _orders_of(record)})
    for record in records:
        _check(record, lines)
    claims = [
        (record, [lines[order_id, record.meter] for order_id in _orders_of(record)]) for record in records
    ]
    seen = _known(
        [
            (record, line)
            for record, chain in claims
            for line in chain
            if record.sequence <= line.last_sequence
        ]
    )
    rows: list[tuple[Any, ...]] = []
    taken = quarantined = 0
    for record, chain in claims:
        if any((line.id, record.sequence) in seen for line in chain):
            continue
        parts = [_row(part, line, now=now) for part, line in _parts(record, chain)]
        seen.update((line.id, record.sequence) for line in chain)
        rows += parts
        taken += 1
        quarantined += any(part[-1] for part in parts)
    _keep(rows, months={line.month for line in lines.values()})
    return UsageResult(accepted=taken - quarantined, repeated=len(records) - taken, quarantined=quarantined)


def _orders_of(record: UsageIn) -> tuple[UUID, ...]:
    return (record.order_id, *record.further)


def _parts(record: UsageIn, chain: Sequence[_Line]) -> Iterator[tuple[UsageIn, _Line]]:
    """The claim's part of each line: one after the other in time as in quantity, together bounded as the whole is."""
    if len(chain) == 1:
        yield record, chain[0]
        return
    rooms = [rules.Room(line.claimed, line.used, line.quantity_max) for line in chain]
    found = [pair for pair in zip(rules.spread(record.quantity, rooms), chain, strict=True) if pair[0]]
    start = record.start
    for number, (quantity, line) in enumerate(found or [(0, chain[-1])]):
        end = record.end
        if quantity > 0 and number < len(found) - 1 and rules.is_timed(record.meter):
            end = min(end, start + timedelta(seconds=quantity / line.units))
        allowed = record.quantity_allowed
        if allowed is not None:
            allowed = max(0, allowed - sum(one.used for one in chain if one is not line))
        yield replace(record, quantity=quantity, start=start, end=end, quantity_allowed=allowed), line
        start = end if quantity > 0 else start


def _check(record: UsageIn, lines: dict[tuple[UUID, str], _Line]) -> None:
    if record.sequence < 0 or record.end < record.start:
        raise ValueError(f"not a usage record: {record}")
    for order_id in _orders_of(record):
        if (order_id, record.meter) not in lines:
            raise ValueError(f"order {order_id} has no meter {record.meter}")


def _locked(order_ids: set[UUID]) -> dict[tuple[UUID, str], _Line]:
    """The lines of the orders, whose rows are locked: usage and settlement take turns."""
    orders = Order.objects.select_for_update(no_key=True).filter(id__in=order_ids).order_by("id")
    states = dict(orders.values_list("id", "state"))
    # A statement of its own: what was waited for has changed the totals.
    lines = OrderLine.objects.filter(order_id__in=order_ids).values_list(
        "order_id",
        "meter",
        "id",
        "accepted_month",
        "units",
        "quantity_max",
        "usage_total__quantity",
        "usage_total__quantity_accepted",
        "usage_total__last_sequence",
    )
    return {
        (order_id, meter): _Line(
            key,
            month,
            units,
            most,
            int(claimed or 0),
            used or 0,
            -1 if last is None else last,
            states[order_id] in _ENDED,
        )
        for order_id, meter, key, month, units, most, claimed, used, last in lines
    }


def _known(claims: Sequence[tuple[UsageIn, _Line]]) -> set[tuple[UUID, int]]:
    """The lines and sequences of those that are kept already."""
    if not claims:
        return set()
    columns: list[list[Any]] = [
        [line.id for _, line in claims],
        [line.month for _, line in claims],
        [record.meter for record, _ in claims],
        [record.sequence for record, _ in claims],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, columns)
        return set(cursor.fetchall())


def _row(record: UsageIn, line: _Line, *, now: datetime) -> tuple[Any, ...]:
    """What is kept of a claim, in the columns of `_COPY`; what counts of it is added to the line."""
    if line.ended:
        counted = rules.Counted(0, AFTER_THE_END)
    else:
        counted = rules.counted(
            record.quantity,
            claimed=line.claimed,
            used=line.used,
            units=line.units,
            quantity_max=line.quantity_max,
            quantity_allowed=record.quantity_allowed,
            timed=rules.is_timed(record.meter),
            start=record.start,
            end=record.end,
        )
    line.claimed += record.quantity
    line.used += counted.quantity
    return (
        uuid7(),
        line.id,
        line.month,
        record.meter,
        record.sequence,
        record.quantity,
        counted.quantity,
        record.quantity_allowed,
        record.start,
        record.end,
        now,
        UsageState.QUARANTINED.value if counted.reason else UsageState.ACCEPTED.value,
        counted.reason,
    )


def _keep(rows: Sequence[tuple[Any, ...]], *, months: Iterable[date]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "select market_open_usage_month(month) from unnest(%s::date[]) as month", [list(months)]
        )
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
