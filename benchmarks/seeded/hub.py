"""`seed`: a thousand organisations, a hundred thousand orders and offers, in minutes; the ledger verifies it."""

# ruff: noqa: PLC0415, S311 - Django is set up before these are called; made-up business needs no secrecy
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg

from benchmarks.bars import Figure
from benchmarks.offers import SUPPLIERS, fill
from benchmarks.seeded.books import ZONE, Books
from benchmarks.seeded.business import Business, Goods
from benchmarks.seeded.rows import Ids, without_triggers
from benchmarks.seeded.world import People, Population, Resident
from mosu.kernel.time import month_in

DAYS: Final = 290
_GOODS_MAX: Final = 4_000
"""So many of the offers are ever bought."""
_TOTALS: Final = """
insert into market_usagetotal
  (order_line_id, records, last_sequence, quarantined, quantity, quantity_accepted, quantity_observed)
  select order_line_id, count(*), max(sequence), count(*) filter (where state = 'quarantined'), sum(quantity),
         sum(quantity_accepted), sum(quantity_observed) from market_usagerecord group by order_line_id
"""
"""What the trigger of usage would have kept."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """What was made, and for whom pages are looked at."""

    people: People
    resident: Resident
    supplier_id: UUID
    organisations: int
    orders: int
    offers: int
    rows: int
    seconds: float


def seed(
    owner_dsn: str,
    *,
    now: datetime,
    organisations: int = 1_000,
    orders: int = 100_000,
    offers: int = 100_000,
    days: int = DAYS,
    usage_parts: Sequence[int] = (1, 1, 2, 3),
    seed: int = 20261122,
) -> Seeded:
    """The made-up past of a new hub. After `join`; the same for the same arguments.

    Each order has as many records of usage as chance picks from `usage_parts`.
    """
    began = time.monotonic()
    chance = random.Random(seed)
    ids = Ids(chance)
    since = now - timedelta(days=days)
    fill(owner_dsn, offers=offers, now=now, seed=seed)
    with psycopg.connect(owner_dsn) as connection:
        population = Population(connection, chance, ids, since=since)
        book = Books(connection, ids, zone=ZONE)
        goods = _goods(connection)
        supplier_id = goods[0].supplier_id
        people = population.hub_people(supplier_id)
        business = Business(connection, chance, ids, book, people, now=now, usage_parts=usage_parts)
        tables = [*population.tables, *book.tables, *business.t.all()]
        # Which part of a card is taken, the table's own trigger says.
        quiet = [table.name for table in tables if table is not business.t.device_allocation]
        with without_triggers(owner_dsn, quiet), _undone(connection):
            residents = [population.resident(number) for number in range(max(2, organisations - SUPPLIERS))]
            programmes = population.programmes(people)
            _open_months(connection, since=since, until=now)
            business.run(residents, goods, programmes, orders=orders, since=since)
            book.close(now)
            for table in tables:
                table.flush()
            connection.execute(_TOTALS)
            _count_on(connection, business)
            connection.commit()
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    return Seeded(
        people=people, resident=residents[0], supplier_id=supplier_id, organisations=len(residents) + SUPPLIERS,
        orders=orders, offers=offers, rows=sum(table.count for table in tables), seconds=time.monotonic() - began,
    )  # fmt: skip


@contextmanager
def _undone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """What fails lets go of the tables: their triggers come back by another connection, which would wait for ever."""
    try:
        yield
    except BaseException:
        connection.rollback()
        raise


def verified(made: Seeded) -> Figure:
    """What making took, once the ledger's own recomputation found nothing and the last charges come out the same.

    Raises:
        RuntimeError: the made-up books do not add up.
    """
    from mosu.ledger.services import verify
    from mosu.market.models import Order
    from mosu.market.services import recompute_charge

    found = verify(now=datetime.now(UTC))
    settled = Order.objects.filter(state="settled").order_by("-id").values_list("id", flat=True)[:200]
    if not found.ok or not all(recompute_charge(order_id).agrees for order_id in settled):
        raise RuntimeError(f"the seeded books do not add up: {found.problems[:3]}")
    note = (
        f"{made.organisations:,} organisations, {made.orders:,} orders, {made.offers:,} offers, {made.rows:,} rows;"
        f" {found.entries:,} entries verified"
    )
    return Figure("seeded hub made", made.seconds, "s", note=note)


def _goods(connection: psycopg.Connection[Any]) -> Sequence[Goods]:
    rows = connection.execute(
        "select o.id, o.supplier_id, s.name, o.subject_id, o.attributes ->> 'accelerator', o.title_zh, o.title_en,"
        " p.unit_price_micros, o.max_units from market_offer o join platform_organisation s on s.id = o.supplier_id"
        " join market_offerprice p on p.offer_id = o.id join compute_pool c on c.id = o.subject_id"
        " where c.engine = 'bench' order by o.id limit %s",
        [_GOODS_MAX],
    ).fetchall()
    nodes: dict[UUID, list[UUID]] = {}
    for node, pool in connection.execute("select id, pool_id from compute_node order by id"):
        nodes.setdefault(pool, []).append(node)
    devices: dict[UUID, list[UUID]] = {}
    for device, pool in connection.execute(
        "select d.id, n.pool_id from compute_device d join compute_node n on n.id = d.node_id order by d.id"
    ):
        devices.setdefault(pool, []).append(device)
    connection.commit()
    return [
        Goods(
            offer_id=row[0], supplier_id=row[1], supplier_name=row[2], pool_id=row[3], node_ids=nodes[row[3]],
            device_ids=devices.get(row[3], []), accelerator=row[4], title_zh=row[5], title_en=row[6],
            unit_price_micros=row[7], max_units=row[8],
        )
        for row in rows
    ]  # fmt: skip


def _count_on(connection: psycopg.Connection[Any], business: Business) -> None:
    """New numbers follow the made-up ones."""
    connection.execute("select setval('market_order_number', %s)", [business.orders])
    for year, last in business.receipts.items():
        connection.execute(
            "insert into market_receiptcounter (year, last) values (%s, %s)"
            " on conflict (year) do update set last = excluded.last",
            [year, last],
        )


def _open_months(connection: psycopg.Connection[Any], *, since: datetime, until: datetime) -> None:
    """The partitions of usage that the first record of each month would have made."""
    connection.execute(
        "select market_open_usage_month(month::date)"
        " from generate_series(%s::timestamp, %s::timestamp, '1 month') as month",
        [month_in(ZONE, since), month_in(ZONE, until)],
    )
