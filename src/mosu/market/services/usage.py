"""Taking usage: a supplier's claim, counted once, within its bounds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from mosu.market import rules
from mosu.market.models import Order, OrderLine, OrderState, UsageRecord, UsageState
from mosu.market.shelves import UsageIn, UsageResult

_ENDED = frozenset({OrderState.SETTLED, OrderState.CANCELLED})
AFTER_THE_END = "the order had ended"


@transaction.atomic
def record_usage(*, records: Sequence[UsageIn], now: datetime) -> UsageResult:
    """Keep each record once (by order, meter and sequence) and say how many counted; for a shelf to call.

    What exceeds a bound stays on the record but does not count: the record is quarantined with the reason.
    A record whose order has no such meter is a bug of the shelf. Four statements, whatever the number.
    Locks the orders by id, and nothing after them.

    Raises:
        ValueError: an unknown order or meter, a negative quantity or sequence, an end before the start.
    """
    _check(records)
    states, lines = _locked({record.order_id for record in records})
    seen, used = _known(lines.values(), {record.sequence for record in records})
    fresh: list[UsageRecord] = []
    repeated = 0
    for record in records:
        line = lines.get((record.order_id, record.meter))
        if line is None:
            raise ValueError(f"order {record.order_id} has no meter {record.meter}")
        if (line.id, record.sequence) in seen:
            repeated += 1
            continue
        seen.add((line.id, record.sequence))
        row = _row(record, line=line, used=used[line.id], ended=states[record.order_id] in _ENDED, now=now)
        used[line.id] += row.quantity_accepted
        fresh.append(row)
    UsageRecord.objects.bulk_create(fresh)
    quarantined = sum(row.state == UsageState.QUARANTINED for row in fresh)
    return UsageResult(accepted=len(fresh) - quarantined, repeated=repeated, quarantined=quarantined)


def _check(records: Sequence[UsageIn]) -> None:
    for record in records:
        if record.quantity < 0 or record.sequence < 0 or record.end < record.start:
            raise ValueError(f"not a usage record: {record}")


def _locked(order_ids: set[UUID]) -> tuple[dict[UUID, OrderState], dict[tuple[UUID, str], OrderLine]]:
    """States and lines of the orders, their rows locked: usage and settlement take turns."""
    orders = Order.objects.select_for_update(no_key=True).filter(id__in=order_ids).order_by("id")
    states = {order_id: OrderState(state) for order_id, state in orders.values_list("id", "state")}
    lines = OrderLine.objects.filter(order_id__in=order_ids)
    return states, {(line.order_id, line.meter): line for line in lines}


def _known(
    lines: Iterable[OrderLine], sequences: set[int]
) -> tuple[set[tuple[UUID, int]], defaultdict[UUID, int]]:
    """Which of `sequences` each line has, and how much of each line counts already."""
    rows = UsageRecord.objects.filter(order_line__in=[line.id for line in lines]).order_by()
    seen = set(rows.filter(sequence__in=sequences).values_list("order_line_id", "sequence"))
    used: defaultdict[UUID, int] = defaultdict(int)
    used.update(rows.values_list("order_line_id").annotate(used=Sum("quantity_accepted")))
    return seen, used


def _row(record: UsageIn, *, line: OrderLine, used: int, ended: bool, now: datetime) -> UsageRecord:
    if ended:
        counted = rules.Counted(0, AFTER_THE_END)
    else:
        counted = rules.counted(
            record.quantity,
            used=used,
            units=line.units,
            quantity_max=line.quantity_max,
            quantity_allowed=record.quantity_allowed,
            timed=rules.is_timed(record.meter),
            start=record.start,
            end=record.end,
        )
    return UsageRecord(
        order_line_id=line.id,
        meter=record.meter,
        sequence=record.sequence,
        quantity=record.quantity,
        quantity_accepted=counted.quantity,
        start=record.start,
        end=record.end,
        received_at=now,
        state=UsageState.QUARANTINED if counted.reason else UsageState.ACCEPTED,
        reason=counted.reason,
    )
