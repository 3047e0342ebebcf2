"""Usage in its partitions: what the database itself holds, and what a line's total says."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from tests.conftest import NOW
from tests.market.conftest import World
from tests.market.test_services import HOUR, accept, record, settle, used

from mosu.market.models import Charge, OrderLine, UsageRecord, UsageTotal
from mosu.market.services import recompute_charge


def execute(statement: str, parameters: Any = ()) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        cursor.execute("set constraints all immediate")


def copied(changes: str) -> str:
    """A statement that writes a record around the service, like the first but for `changes`."""
    columns = [
        "id", "order_line_id", "accepted_month", "meter", "sequence", "quantity", "quantity_accepted",
        "quantity_observed", "start", '"end"', "received_at", "state", "reason",
    ]  # fmt: skip
    given = dict(one.split("=") for one in changes.split(";")) | {"id": "gen_random_uuid()"}
    values = ", ".join(given.get(name, name) for name in columns)
    return f"insert into market_usagerecord ({', '.join(columns)}) select {values} from market_usagerecord limit 1"


def test_usage_lies_in_the_partition_of_its_orders_month(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 60))
    assert OrderLine.objects.get(order=order).accepted_month == date(2026, 3, 1)
    with connection.cursor() as cursor:
        cursor.execute("select tableoid::regclass::text from market_usagerecord")
        assert cursor.fetchall() == [("market_usagerecord_2026_03",)]


def test_a_lines_total_has_both_figures(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 100, quantity_allowed=4 * 200), used(order, 300, sequence=1, quantity_allowed=4 * 200))
    record(used(order, 50, sequence=1))
    total = UsageTotal.objects.get(order_line__order=order)
    assert (total.records, total.quarantined) == (2, 1)
    assert (total.quantity, total.quantity_accepted, total.quantity_observed) == (1600, 800, 800)


def test_what_was_claimed_too_much_is_taken_back(world: World) -> None:
    """A supplier's final books have less than its queue had shown: the bill follows the books."""
    order = accept(world, world.quote())
    record(used(order, 600))
    assert record(used(order, -350, sequence=1, end=NOW + HOUR)).accepted == 1
    total = UsageTotal.objects.get(order_line__order=order)
    assert (total.quantity, total.quantity_accepted, total.quarantined) == (1000, 1000, 0)
    settle(order)
    assert Charge.objects.get(order_line__order=order).quantity == 1000
    assert recompute_charge(order.id).agrees


def test_what_never_counted_is_not_taken_back_from_what_did(world: World) -> None:
    """Of 2400 claimed the hub saw 1200; the final books have 2000, then 800."""
    order = accept(world, world.quote())
    record(used(order, 600, quantity_allowed=1200))
    counts = []
    for sequence, quantity in ((1, -400), (2, -1200), (3, -4000)):
        record(used(order, 0, quantity=quantity, sequence=sequence, end=NOW + HOUR))
        counts.append(UsageTotal.objects.get(order_line__order=order).quantity_accepted)
    assert counts == [1200, 800, 0]
    assert UsageRecord.objects.get(sequence=2).reason == "not all that it takes back had counted"


def test_a_charge_stays_whatever_is_taken_back_later(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 600))
    settle(order)
    assert record(used(order, -100, sequence=1, end=NOW + HOUR)).quarantined == 1
    assert UsageTotal.objects.get(order_line__order=order).quantity_accepted == 2400
    with pytest.raises(IntegrityError, match="is charged"):
        execute(copied("sequence=7;quantity=-4;quantity_accepted=-4;state='accepted';reason=''"))
    assert recompute_charge(order.id).agrees


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("quantity=-4;quantity_accepted=4", "usage_accepted_within_claim"),
        ("quantity=-4;quantity_accepted=-8", "usage_accepted_within_claim"),
        ("quantity=4;quantity_accepted=-4", "usage_accepted_within_claim"),
        ("quantity=-2404;quantity_accepted=-2404", "taken back on line"),
    ],
)
def test_the_database_takes_back_no_more_than_counts(world: World, change: str, constraint: str) -> None:
    record(used(accept(world, world.quote()), 600))
    with pytest.raises(IntegrityError, match=constraint):
        execute(copied(f"sequence=7;{change}"))
    assert UsageTotal.objects.get().quantity_accepted == 2400


def test_the_bound_is_the_same_however_records_are_batched(world: World) -> None:
    """The total stands for the records: in one batch or one by one, as much counts."""
    orders = [accept(world, world.quote(), key=f"k{n}") for n in range(2)]
    claims = [
        [used(order, 700, sequence=n, quantity_allowed=4 * 600 * (n + 1)) for n in range(4)]
        for order in orders
    ]
    record(*claims[0])
    for claim in claims[1]:
        record(claim)
    counted = [
        list(
            UsageRecord.objects.filter(order_line__order=order)
            .order_by("sequence")
            .values_list("quantity_accepted", "reason")
        )
        for order in orders
    ]
    assert counted[0] == counted[1]


def test_the_database_takes_no_more_than_the_hold_covers(world: World) -> None:
    order = accept(world, world.quote())
    record(used(order, 1800))
    before = UsageRecord.objects.count()
    with pytest.raises(IntegrityError, match="than its hold covers"):
        execute(copied("sequence=7;quantity=14400;quantity_accepted=14400"))
    assert UsageRecord.objects.count() == before


def test_a_record_is_of_its_lines_month(world: World) -> None:
    """Else a replay could be kept, and counted, in another month's partition."""
    record(used(accept(world, world.quote()), 60))
    execute("select market_open_usage_month('2026-04-01')")
    with pytest.raises(IntegrityError, match="usage_line_and_month"):
        execute(copied("accepted_month='2026-04-01'::date"))
    with pytest.raises(IntegrityError, match=r"usage_once|sequence"):
        execute(copied("state=state"))
    assert UsageRecord.objects.count() == 1


@pytest.mark.parametrize(
    "statement",
    [
        "update market_usagetotal set quantity_accepted = 0",
        "insert into market_usagetotal select * from market_usagetotal",
        "select * from market_usagerecord_2026_03",
        "delete from market_usagerecord_2026_03",
    ],
)
def test_totals_and_partitions_are_not_the_applications(world: World, statement: str) -> None:
    record(used(accept(world, world.quote()), 60))
    with pytest.raises(Exception, match="permission denied"):
        execute(statement)


def test_an_order_of_the_months_last_second_counts_there(world: World) -> None:
    """By the hub's zone: 16:00 UTC is its midnight."""
    last = NOW.replace(month=3, day=31, hour=15, minute=59)
    quote = world.quotes(world.plan(world.offer()), now=last)[0]
    order = accept(world, quote, now=last + timedelta(seconds=59))
    later = accept(
        world, world.quotes(world.plan(world.offer()), now=last)[0], key="b", now=last + timedelta(seconds=60)
    )
    months = (
        OrderLine.objects.filter(order__in=[order, later])
        .order_by("order__placed_at")
        .values_list("accepted_month", flat=True)
    )
    assert list(months) == [date(2026, 3, 1), date(2026, 4, 1)]
