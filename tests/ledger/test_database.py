"""What the database refuses by raw SQL: from the application's role by grants, from the owner by triggers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection as django_connection
from django.db import transaction
from psycopg import errors
from tests.conftest import NOW, FreshDatabase
from tests.ledger.conftest import funded, open_account

from mosu.kernel.ids import uuid7
from mosu.ledger import services
from mosu.ledger.models import Account, JournalEntry, Posting
from mosu.ledger.rules import Move

ROLES = ("app", "owner")
GUARDS = (errors.InsufficientPrivilege, errors.IntegrityConstraintViolation, errors.IntegrityError)


@contextmanager
def raw(database: FreshDatabase, role: str) -> Iterator[psycopg.Connection[Any]]:
    dsn = database.app_dsn if role == "app" else database.owner_dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def world() -> tuple[UUID, UUID, UUID]:
    """Two accounts of which the first has 100, 40 of it held; and an entry between them."""
    with transaction.atomic():
        a, b = funded(130), open_account()
        entry = services.post_entry(key="first", kind="test", moves=[Move(a, b, 30)], subject_id=a, now=NOW)
        services.place_hold(key="hold", account_id=a, amount_micros=40, subject_id=a, now=NOW)
    return a, b, entry


def snapshot() -> list[Any]:
    return [
        *Account.objects.order_by("id").values_list(),
        *Posting.objects.order_by("account_id", "sequence").values_list("account_id", "sequence", "hash"),
        *JournalEntry.objects.order_by("id").values_list("id", "digest"),
    ]


REFUSED = {
    "edit an entry": "update ledger_journalentry set memo = 'x'",
    "edit a posting": "update ledger_posting set amount_micros = amount_micros + 1",
    "edit a balance": "update ledger_account set balance_micros = balance_micros + 1",
    "edit a head": "update ledger_account set head_hash = repeat('1', 64)",
    "edit what is held": "update ledger_account set held_micros = 0",
    "lift a floor": "update ledger_account set floor_micros = null",
    "grow a hold": "update ledger_hold set amount_micros = amount_micros - 1",
    "take back a release": "update ledger_hold set released_micros = -1",
    "close a hold with money in it": "update ledger_hold set state = 'closed', closed_at = now()",
    "edit a day's head": "update ledger_dayhead set sha256 = repeat('1', 64)",
    "delete an entry": "delete from ledger_journalentry",
    "delete a posting": "delete from ledger_posting",
    "delete an account": "delete from ledger_account",
    "delete a hold": "delete from ledger_hold",
    "delete a day's head": "delete from ledger_dayhead",
    "truncate entries": "truncate ledger_journalentry cascade",
    "truncate postings": "truncate ledger_posting",
    "truncate accounts": "truncate ledger_account cascade",
    "truncate holds": "truncate ledger_hold cascade",
    "truncate day heads": "truncate ledger_dayhead",
    "open an account with money in it": "insert into ledger_account values "
    "(gen_random_uuid(), 'balance', gen_random_uuid(), 'CNY', 0, 5, 0, 0, repeat('0', 64))",
    "open a balance without a floor": "insert into ledger_account values "
    "(gen_random_uuid(), 'balance', gen_random_uuid(), 'CNY', null, 0, 0, 0, repeat('0', 64))",
}


@pytest.mark.parametrize("role", ROLES)
def test_history_cannot_be_changed(fresh_db: FreshDatabase, role: str) -> None:
    world()
    seal_a_day()
    before = snapshot()
    for what, sql in REFUSED.items():
        with raw(fresh_db, role) as connection:
            with pytest.raises(GUARDS):
                connection.execute(sql)
                pytest.fail(f"{role} could {what}")
            if role == "app":
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(sql)
    assert snapshot() == before


def seal_a_day() -> None:
    with django_connection.cursor() as cursor:
        cursor.execute("select ledger_seal_day('2026-01-01', '2026-01-02', %s)", [NOW])


RIGHT_POSTINGS = """
    select a.id as account_id, a.sequence + 1 as sequence, e.id as entry_id, leg.amount as amount_micros,
           a.balance_micros + leg.amount as balance_after_micros, a.head_hash as previous_hash,
           ledger_hash(a.head_hash, a.id, a.sequence + 1, e.id, e.digest, e.posted_at, leg.amount,
             a.balance_micros + leg.amount) as hash
      from unnest(%s::uuid[], %s::bigint[]) as leg(account, amount)
      join ledger_account a on a.id = leg.account join ledger_journalentry e on e.id = %s
"""
COLUMNS = [field.column for field in Posting._meta.concrete_fields]


def write(connection: psycopg.Connection[Any], key: str, *legs: tuple[UUID, int]) -> None:
    """An entry with these postings, by INSERT, each in its right place and with its right hash."""
    with connection.transaction():
        add_postings(connection, insert_entry(connection, key), *legs)


def insert_entry(connection: psycopg.Connection[Any], key: str) -> UUID:
    entry = uuid7()
    connection.execute(
        "insert into ledger_journalentry (id, key, digest, kind, subject_id, moves, memo, posted_at) "
        "values (%s, %s, repeat('0', 64), 'test', %s, '[]', '', %s)",
        [entry, key, entry, NOW],
    )
    return entry


def add_postings(
    connection: psycopg.Connection[Any],
    entry: UUID,
    *legs: tuple[UUID, int],
    forged: str = "",
    value: str = "",
) -> None:
    values = ", ".join(value if column == forged else column for column in COLUMNS)
    connection.execute(
        f"insert into ledger_posting ({', '.join(COLUMNS)}) select {values} from ({RIGHT_POSTINGS}) as r",
        [[leg[0] for leg in legs], [leg[1] for leg in legs], entry],
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("what", "legs"),
    [
        ("unbalanced", (("a", -10), ("b", 9))),
        ("one leg", (("a", -10),)),
        ("no leg", ()),
        ("two currencies", (("a", -10), ("euro", 10))),
        ("overdrawn", (("a", -61), ("b", 61))),
        ("zero", (("a", 0), ("b", 0))),
        ("one account twice", (("a", -10), ("a", 10))),
    ],
)
def test_a_false_entry_cannot_be_written(
    fresh_db: FreshDatabase, role: str, what: str, legs: tuple[tuple[str, int], ...]
) -> None:
    a, b, _ = world()
    accounts = {"a": a, "b": b, "euro": open_account(currency="EUR")}
    before = snapshot()
    with raw(fresh_db, role) as connection, pytest.raises(GUARDS):
        write(connection, "new", *((accounts[name], amount) for name, amount in legs))
    assert snapshot() == before, what


@pytest.mark.parametrize("role", ROLES)
def test_a_key_cannot_be_used_twice(fresh_db: FreshDatabase, role: str) -> None:
    a, b, _ = world()
    before = snapshot()
    with raw(fresh_db, role) as connection, pytest.raises(GUARDS):
        write(connection, "first", (a, -10), (b, 10))
    with raw(fresh_db, role) as connection:
        row = connection.execute(
            "select refusal from ledger_post(%s, 'first', 'test', %s, %s, %s, %s::bigint[], %s, '')",
            [uuid7(), a, [a], [b], [10], NOW],
        ).fetchone()
    assert row == ("key_reused",)
    assert snapshot() == before


def test_a_leg_cannot_be_added_later(fresh_db: FreshDatabase) -> None:
    a, b, _ = world()
    bank = open_account("bank")
    before = snapshot()
    with raw(fresh_db, "owner") as connection, pytest.raises(GUARDS), connection.transaction():
        entry = insert_entry(connection, "new")
        add_postings(connection, entry, (a, -10), (b, 10))
        connection.execute("set constraints all immediate")
        add_postings(connection, entry, (bank, 5))
        pytest.fail("the entry no longer balances")
    assert snapshot() == before


def test_the_owner_cannot_forge_the_chain(fresh_db: FreshDatabase) -> None:
    """A balanced entry that the owner inserts by hand needs its right place and hash."""
    a, b, _ = world()
    before = snapshot()
    with raw(fresh_db, "owner") as connection:
        for forged, value in (
            ("sequence", "sequence + 1"),
            ("sequence", "0"),
            ("amount_micros", "amount_micros * 2"),
            ("balance_after_micros", "balance_after_micros + 1"),
            ("previous_hash", "repeat('1', 64)"),
            ("hash", "repeat('1', 64)"),
        ):
            with pytest.raises(GUARDS, match="does not follow"), connection.transaction():
                entry = insert_entry(connection, "new")
                add_postings(connection, entry, (a, -10), (b, 10), forged=forged, value=value)
        assert snapshot() == before
        write(connection, "by hand", (a, -10), (b, 10))
    assert Account.objects.get(id=a).balance_micros == 90


def test_the_owner_cannot_write_into_a_sealed_day(fresh_db: FreshDatabase) -> None:
    a, b, _ = world()
    services.seal_days(now=NOW + timedelta(days=1))
    before = snapshot()
    with raw(fresh_db, "owner") as connection, pytest.raises(GUARDS, match="sealed"):
        write(connection, "late", (a, -10), (b, 10))
    assert snapshot() == before


def test_the_application_cannot_call_the_inner_function(fresh_db: FreshDatabase) -> None:
    a, b, _ = world()
    with raw(fresh_db, "app") as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(
            "select * from ledger_write('post', %s, 'k', 'test', %s, %s, %s, %s::bigint[], %s, '', null, null)",
            [uuid4(), a, [a], [b], [1], NOW],
        )
    for role in ROLES:
        with raw(fresh_db, role) as connection, pytest.raises(errors.InvalidParameterValue):
            connection.execute(
                "select * from ledger_post(%s, 'k', 'test', %s, %s, %s, %s::bigint[], %s, '')",
                [uuid4(), a, [a], [b], [-1], NOW],
            )


def test_temporary_tables_do_not_deceive(fresh_db: FreshDatabase) -> None:
    """The application may make temporary tables; none of them is taken for the ledger's."""
    a, b, _ = world()
    with raw(fresh_db, "app") as connection:
        for table in ("account", "journalentry", "posting", "hold", "dayhead"):
            connection.execute(f"create temporary table ledger_{table} (like public.ledger_{table})")
        connection.execute("set search_path = pg_temp, public")
        row = connection.execute(
            "select refusal from ledger_post(%s, 'new', 'test', %s, %s, %s, %s::bigint[], %s, '')",
            [uuid7(), a, [a], [b], [61], NOW],
        ).fetchone()
        assert row == ("funds",)
        connection.execute(
            "select refusal from ledger_post(%s, 'new', 'test', %s, %s, %s, %s::bigint[], %s, '')",
            [uuid7(), a, [a], [b], [60], NOW],
        )
    assert Account.objects.get(id=a).balance_micros == 40
    assert services.verify(now=NOW).ok
