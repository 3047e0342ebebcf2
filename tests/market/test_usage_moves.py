"""A hub that holds usage already: the move into partitions loses no record, and each line's total is their sum."""

from collections.abc import Iterator
from datetime import date
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from mosu.runtime.databases import connected_to
from mosu.runtime.migrating import migrate
from mosu.runtime.postgres import Cluster

EMPTY = {
    "uuid": "gen_random_uuid()",
    "jsonb": "'{}'",
    "timestamp with time zone": "'2026-01-15T00:00Z'",
    "bigint": "0",
    "integer": "0",
    "smallint": "0",
    "boolean": "false",
    "character varying": "''",
    "text": "''",
    "date": "'2026-01-01'",
}


@pytest.fixture
def before(cluster: Cluster, django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """A database of the time when usage lay in one table."""
    name = f"mosu_{uuid4().hex}"
    cluster.prepare_database(name)
    try:
        with django_db_blocker.unblock(), connected_to(cluster.owner_dsn(name)):
            migrate("market", "0010")
            yield name
    finally:
        cluster.drop_database(name)


def row(raw: psycopg.Connection, table: str, **given: Any) -> Any:
    """A row with what is given, and something in whatever else may not be null; its id."""
    columns = raw.execute(
        "select column_name, data_type from information_schema.columns where table_schema = 'public'"
        " and table_name = %s and is_nullable = 'NO' and column_default is null and is_identity = 'NO'",
        [table],
    ).fetchall()
    names = {name: EMPTY[kind] for name, kind in columns if name not in given}
    statement = sql.SQL("insert into {} ({}) values ({}) returning id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(sql.Identifier(name) for name in (*names, *given)),
        sql.SQL(", ").join((*map(sql.SQL, names.values()), *(sql.Placeholder() for _ in given))),
    )
    return raw.execute(statement, list(given.values())).fetchone()[0]  # type: ignore[index]


def line(raw: psycopg.Connection, placed_at: str) -> Any:
    order = row(raw, "market_order", number=uuid4().hex[:20], state="active", placed_at=placed_at)
    return row(
        raw, "market_orderline", order_id=order, meter="core_second", units=4, per=1, quantity_max=14_400
    )


def used(raw: psycopg.Connection, of: Any, sequence: int, quantity: int, counted: int) -> None:
    said = {"state": "accepted"} if quantity == counted else {"state": "quarantined", "reason": "too much"}
    row(
        raw, "market_usagerecord", order_line_id=of, meter="core_second", sequence=sequence, quantity=quantity,
        quantity_accepted=counted, **said,
    )  # fmt: skip


def test_what_was_used_before_the_partitions_is_kept_and_summed(before: str, cluster: Cluster) -> None:
    with psycopg.connect(cluster.superuser_dsn(before), autocommit=True) as raw:
        raw.execute("set session_replication_role = replica")  # what these rows stand on is not here
        january, february = line(raw, "2026-01-31T15:59Z"), line(raw, "2026-01-31T16:00Z")
        for sequence in range(3):
            used(raw, january, sequence, 1000, 1000)
        used(raw, january, 3, 20_000, 11_400)
        used(raw, february, 7, 0, 0)
        unused = line(raw, "2026-03-01T00:00Z")
        kept = "select id, order_line_id, sequence, quantity, quantity_accepted, state, reason from market_usagerecord"
        rows = raw.execute(f"{kept} order by id").fetchall()

    migrate("market", "0011")

    with psycopg.connect(cluster.owner_dsn(before), autocommit=True) as raw:
        assert raw.execute(f"{kept} order by id").fetchall() == rows
        parts = (
            "select tableoid::regclass::text, accepted_month, count(*) from market_usagerecord group by 1, 2"
        )
        assert sorted(raw.execute(parts).fetchall()) == [
            ("market_usagerecord_2026_01", date(2026, 1, 1), 4),
            ("market_usagerecord_2026_02", date(2026, 2, 1), 1),
        ]
        totals = raw.execute(
            "select order_line_id, records, last_sequence, quarantined, quantity, quantity_accepted"
            " from market_usagetotal"
        ).fetchall()
        assert {key: tuple(map(int, sums)) for key, *sums in totals} == {
            january: (4, 3, 1, 23_000, 14_400),
            february: (1, 7, 0, 0, 0),
        }
        assert unused not in {total[0] for total in totals}
        # The bound stands from the first record on: this line is full.
        with pytest.raises(psycopg.errors.IntegrityError, match="than its hold covers"):
            raw.execute(
                "insert into market_usagerecord select gen_random_uuid(), order_line_id, accepted_month, meter, 99, 1, 1,"
                ' null, start, "end", received_at, state, reason from market_usagerecord where sequence = 0'
            )
        with pytest.raises(psycopg.errors.IntegrityError, match="append-only"):
            raw.execute("delete from market_usagerecord")
