"""That the counts of `make chaos` can fail: on a small hub where all holds, each law is broken by SQL."""

import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import psycopg.types.range
import pytest
from benchmarks.chaos.__main__ import all_killed, all_placed
from benchmarks.chaos.buyers import Acknowledged
from benchmarks.chaos.counts import Count, laws_at_the_end
from benchmarks.chaos.killer import PARTS, targets_of
from benchmarks.chaos.witness import install_witness
from psycopg import sql
from psycopg.types.json import Jsonb

from mosu.kernel.ids import typeid, uuid7
from mosu.runtime.postgres import Cluster

AT = datetime(2026, 3, 2, tzinfo=UTC)
MS = int(AT.timestamp() * 1000)
ORDER, CANCELLED, HOLD, VOUCHER_HOLD = (UUID(int=number) for number in (1, 2, 3, 4))
BALANCE, BANK, PAYABLE, POOL, VOUCHER_ACCOUNT = (UUID(int=number) for number in range(11, 16))
VOUCHER, VERSION, CAP, LINE, NODE = (UUID(int=number) for number in range(21, 26))
FIRST, SECOND = UUID(int=31), UUID(int=32)


def made_at(second: int) -> UUID:
    """An id that says when it was made."""
    return UUID(int=(MS + 1000 * second) << 80)


def minutes(start: int, end: int) -> Mapping[str, datetime]:
    return {"started_at": AT + timedelta(minutes=start), "ended_at": AT + timedelta(minutes=end)}


ROWS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("market_order", {"id": ORDER, "state": "settled", "total_micros": 2_000_000, "balance_hold_id": HOLD}),
    ("market_order", {"id": CANCELLED, "state": "cancelled"}),
    ("market_orderline", {"id": LINE, "order_id": ORDER, "quantity_max": 10}),
    ("market_charge", {"id": uuid7(), "order_line_id": LINE, "quantity": 10, "amount_micros": 2_000_000}),
    ("market_receipt", {"id": uuid7(), "order_id": ORDER, "number": "R-2026-000001"}),
    ("platform_idempotencyrecord", {"id": 1, "key": "settled", "result_id": ORDER}),
    ("platform_idempotencyrecord", {"id": 2, "key": "cancelled", "result_id": CANCELLED}),
    *(
        ("ledger_account", {"id": key, "kind": kind, "floor_micros": floor, "balance_micros": balance,
                            "held_micros": 0, "sequence": sequence})
        for key, kind, floor, balance, sequence in (
            (BALANCE, "balance", 0, 8_500_000, 2), (BANK, "bank", None, -10_000_000, 1),
            (PAYABLE, "payable", 0, 2_000_000, 2), (POOL, "pool", None, -5_000_000, 1),
            (VOUCHER_ACCOUNT, "voucher", 0, 4_500_000, 2),
        )
    ),
    *(
        ("ledger_hold", {"id": key, "state": "closed", "account_id": account, "amount_micros": amount,
                         "captured_micros": captured, "released_micros": amount - captured})
        for key, account, amount, captured in (
            (HOLD, BALANCE, 1_800_000, 1_500_000), (VOUCHER_HOLD, VOUCHER_ACCOUNT, 600_000, 500_000)
        )
    ),
    *(
        row
        for number, (hold, source, first, destination, second, amount) in enumerate((
            (None, BANK, 1, BALANCE, 1, 10_000_000), (None, POOL, 1, VOUCHER_ACCOUNT, 1, 5_000_000),
            (HOLD, BALANCE, 2, PAYABLE, 1, 1_500_000), (VOUCHER_HOLD, VOUCHER_ACCOUNT, 2, PAYABLE, 2, 500_000),
        ), 41)
        for row in (
            ("ledger_journalentry", {"id": UUID(int=number), "hold_id": hold}),
            ("ledger_posting", {"entry_id": UUID(int=number), "account_id": source, "sequence": first,
                                "amount_micros": -amount}),
            ("ledger_posting", {"entry_id": UUID(int=number), "account_id": destination, "sequence": second,
                                "amount_micros": amount}),
        )
    ),
    ("subsidies_programmeversion", {"id": VERSION, "terms": Jsonb({})}),
    ("subsidies_voucher", {"id": VOUCHER, "amount_micros": 5_000_000, "version_id": VERSION}),
    ("subsidies_yearcap", {"id": CAP, "amount_micros": 3_000_000}),
    *(
        ("subsidies_redemption", {"id": uuid7(), "order_id": order, "voucher_id": VOUCHER, "cap_id": CAP,
                                  "source": source, "amount_micros": amount, "state": state})
        for order, source, amount, state in (
            (ORDER, "voucher", 500_000, "settled"), (ORDER, "refund", 0, "settled"),
            (CANCELLED, "voucher", 0, "released"),
        )
    ),
    ("compute_node", {"id": NODE, "cores": 2}),
    ("compute_run", {"id": uuid7(), "state": "succeeded", "ended_at": AT}),
    # One after the other on both cores; a third promise stands for tomorrow.
    ("compute_attempt", {"id": FIRST, "state": "succeeded", **minutes(0, 10)}),
    ("compute_attempt", {"id": SECOND, "state": "failed", **minutes(10, 20)}),
    *(
        ("compute_allocation", {
            "id": made_at(number), "attempt_id": attempt, "node_id": NODE, "cores": 2, "live": False,
            "period": psycopg.types.range.TimestamptzRange(
                AT + timedelta(minutes=start), AT + timedelta(minutes=start + 10)
            ),
            "released_at": AT + timedelta(minutes=30),
        })
        for number, attempt, start in ((1, FIRST, 0), (2, SECOND, 10), (3, None, 1440))
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What was noted outside the hub."""

    starts: Mapping[str, int] = field(
        default_factory=lambda: {typeid("attempt", FIRST): 1, typeid("attempt", SECOND): 1}
    )
    acknowledged: tuple[Acknowledged, ...] = (
        Acknowledged("settled", typeid("order", ORDER), "", "voucher"),
        Acknowledged("cancelled", typeid("order", CANCELLED), "", "cancelled"),
    )

    def counts(self, hub: psycopg.Connection[Any]) -> list[Count]:
        return laws_at_the_end(hub, starts=self.starts, acknowledged=self.acknowledged)

    def broken(self, hub: psycopg.Connection[Any]) -> set[str]:
        return {count.what for count in self.counts(hub) if not count.holds}


@pytest.fixture(scope="module")
def settled(cluster: Cluster, django_db_setup: None) -> Iterator[psycopg.Connection[Any]]:
    """Its rows have the columns that the laws read, and nothing in the database minds what they say."""
    name = f"mosu_{uuid4().hex}"
    cluster.clone_database("mosu_template", name)
    try:
        with psycopg.connect(cluster.superuser_dsn(name), autocommit=True) as connection:
            connection.execute("set session_replication_role = replica")
            for table in {table for table, _ in ROWS}:
                _let_go(connection, table)
            for table, row in ROWS:
                connection.execute(
                    sql.SQL("insert into {} ({}) values ({})").format(
                        sql.Identifier(table),
                        sql.SQL(", ").join(map(sql.Identifier, row)),
                        sql.SQL(", ").join(map(sql.Placeholder, row)),
                    ),
                    row,
                )
            yield connection
    finally:
        cluster.drop_database(name)


@pytest.fixture
def hub(settled: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Where all holds; what a test breaks is whole again afterwards."""
    with settled.transaction(force_rollback=True):
        yield settled


def _let_go(connection: psycopg.Connection[Any], table: str) -> None:
    drops = [
        sql.SQL("drop constraint if exists {} cascade").format(sql.Identifier(name))
        for (name,) in connection.execute(
            "select conname from pg_constraint where conrelid = %s::regclass and contype in ('c', 'f', 'u', 'x')",
            [table],
        )
    ] + [
        sql.SQL("alter column {} drop not null").format(sql.Identifier(name))
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = %(table)s::regclass and attnum > 0 and attnotnull "
            "and not attisdropped and attname not in (select a.attname from pg_index join pg_attribute a "
            "on a.attrelid = indrelid and a.attnum = any(indkey) where indrelid = %(table)s::regclass and indisprimary)",
            {"table": table},
        )
    ]
    connection.execute(sql.SQL("alter table {} {}").format(sql.Identifier(table), sql.SQL(", ").join(drops)))


FLOORS = {
    "nothing is held any more, and no floor is passed",
    "what is held is what open holds hold, and no floor is passed",
}
BREAKS: tuple[tuple[str | set[str], str], ...] = (
    ("every run ended", "update compute_run set ended_at = null"),
    ("every run ended", "update compute_run set state = 'running'"),
    *(
        ("every attempt ended", f"update compute_attempt set state = '{state}' where id = '{SECOND}'")
        for state in ("waiting", "leased", "running", "unreachable")
    ),
    ("every order settled or cancelled", f"update market_order set state = 'active' where id = '{CANCELLED}'"),
    ("every hold captured or released", f"update ledger_hold set state = 'open' where id = '{HOLD}'"),
    (
        {"every hold captured or released", "what is held is what open holds hold, and no floor is passed"},
        f"update ledger_hold set released_micros = released_micros - 1 where id = '{HOLD}'",
    ),
    (FLOORS, f"update ledger_account set held_micros = 1 where id = '{BALANCE}'"),
    (FLOORS, f"update ledger_account set floor_micros = balance_micros + 1 where id = '{BALANCE}'"),
    ("every allocation released", f"update compute_allocation set live = true where id = '{made_at(3)}'"),
    ("every allocation released", f"update compute_allocation set released_at = null where id = '{made_at(3)}'"),
    ("redemptions settled or released", "update subsidies_redemption set state = 'held' where source = 'refund'"),
    ("redemptions settled or released", "update subsidies_redemption set amount_micros = null where source = 'refund'"),
    (
        "vouchers within the cap of an order and their rate",
        "update subsidies_redemption set amount_micros = 500001 where source = 'refund'",
    ),
    (
        "vouchers within the cap of an order and their rate",
        "update subsidies_redemption set amount_micros = 5001 where state = 'released'",
    ),
    ("each settled order has its receipt, a cancelled one none", "delete from market_receipt"),
    (
        "each settled order has its receipt, a cancelled one none",
        "insert into market_receipt (id, order_id, number) "
        f"values (gen_random_uuid(), '{CANCELLED}', 'R-2026-000002')",
    ),
    (
        "what a hold captured is what its entries moved",
        "update ledger_hold set captured_micros = captured_micros + 1, released_micros = released_micros - 1 "
        f"where id = '{VOUCHER_HOLD}'",
    ),
    (
        "entries sum to zero",
        "with one as (update ledger_posting set amount_micros = amount_micros - 1 "
        f"where account_id = '{BANK}') update ledger_account set balance_micros = balance_micros - 1 where id = '{BANK}'",
    ),
    ("entries sum to zero", "insert into ledger_journalentry (id) values (gen_random_uuid())"),
    (
        "balances equal their postings",
        f"update ledger_account set balance_micros = balance_micros + 1 where id = '{BANK}'",
    ),
    ("balances equal their postings", f"update ledger_account set sequence = 2 where id = '{BANK}'"),
    ("vouchers within their amount", "update subsidies_voucher set amount_micros = 499999"),
    ("vouchers within the yearly caps", "update subsidies_yearcap set amount_micros = 499999"),
    (
        "an order's total is vouchers and paid",
        "update subsidies_redemption set amount_micros = 499999 where amount_micros = 500000",
    ),
    (
        "an order's total is the charges of its lines, within what was used",
        "update market_charge set amount_micros = amount_micros - 1",
    ),
    (
        "an order's total is the charges of its lines, within what was used",
        "update market_charge set quantity = 11",
    ),
    ("an order's total is the charges of its lines, within what was used", "delete from market_charge"),
    ("receipts are numbered without a gap", "update market_receipt set number = 'R-2026-000002'"),
    (
        "promised cores fit their node at every time",
        f"update compute_allocation set period = tstzrange('{AT}', '{AT + timedelta(minutes=1)}') "
        f"where id = '{made_at(3)}'",
    ),
    (
        "cores used at once fit their node",
        f"update compute_attempt set started_at = '{AT + timedelta(minutes=5)}' where id = '{SECOND}'",
    ),
)  # fmt: skip


def test_where_all_holds_every_law_says_so(hub: psycopg.Connection[Any]) -> None:
    assert {
        count.what: count.broken for count in Told().counts(hub) if not (count.holds and count.checked)
    } == {}


@pytest.mark.parametrize(("laws", "statement"), BREAKS)
def test_what_is_wrong_breaks_its_law(
    hub: psycopg.Connection[Any], laws: str | set[str], statement: str
) -> None:
    assert hub.execute(statement).rowcount == 1  # type: ignore[call-overload]
    assert Told().broken(hub) == ({laws} if isinstance(laws, str) else laws)


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        (law, wrong)
        for law, wrongs in {
            "each attempt started once, by the witness": (
                lambda told: replace(told, starts={**told.starts, typeid("attempt", FIRST): 2}),
                lambda told: replace(told, starts={**told.starts, typeid("attempt", uuid7()): 1}),
                lambda told: replace(told, starts={typeid("attempt", SECOND): 1}),
            ),
            "each acknowledged order exists once": (
                lambda told: replace(told, acknowledged=told.acknowledged[:1]),
                lambda told: replace(told, acknowledged=(*told.acknowledged, told.acknowledged[0])),
                lambda told: replace(
                    told, acknowledged=(*told.acknowledged, Acknowledged("k", typeid("order", uuid7()), "", "voucher"))
                ),
                lambda told: replace(
                    told, acknowledged=(told.acknowledged[0], replace(told.acknowledged[1], key="settled"))
                ),
            ),
        }.items()
        for wrong in wrongs
    ],
)  # fmt: skip
def test_what_was_noted_outside_breaks_its_law(
    hub: psycopg.Connection[Any], law: str, wrong: Callable[[Told], Told]
) -> None:
    assert wrong(Told()).broken(hub) == {law}


def test_no_law_is_left_out(hub: psycopg.Connection[Any]) -> None:
    broken = {law for laws, _ in BREAKS for law in ({laws} if isinstance(laws, str) else laws)}
    assert {count.what for count in Told().counts(hub)} == broken | {
        "each attempt started once, by the witness",
        "each acknowledged order exists once",
    }


@pytest.mark.parametrize(
    ("placed", "dropped", "broken"),
    [
        (40, 0, ()),
        (37, 3, ("3 were dropped as late",)),
        (38, 0, ("2 were begun and never acknowledged",)),
        (36, 3, ("3 were dropped as late", "1 were begun and never acknowledged")),
    ],
)
def test_what_was_not_placed_is_told(placed: int, dropped: int, broken: tuple[str, ...]) -> None:
    assert all_placed(40, placed=placed, dropped=dropped).broken == broken


@pytest.mark.parametrize("spared", PARTS)
def test_a_part_that_lived_on_is_told(spared: str) -> None:
    kills = dict.fromkeys(PARTS, 1)
    assert all_killed(kills).holds
    assert all_killed({**kills, spared: 0, f"{spared} worker": 3}).broken == (f"{spared} was never killed",)


@pytest.mark.parametrize("seed", range(5))
def test_each_part_is_killed_before_chance_decides(seed: int) -> None:
    targets = targets_of(random.Random(seed))
    assert {next(targets) for _ in PARTS} == set(PARTS)
    assert {next(targets) for _ in range(100)} > set(PARTS)


def test_the_witness_notes_jobs_and_not_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_BWRAP", "/bin/true")
    witness = install_witness(tmp_path)
    label = typeid("attempt", UUID(int=1))
    for env in ({"MOSU_JOB": label}, {}, {"MOSU_JOB": label}):
        subprocess.run([witness.starter], env={"PATH": "/usr/bin:/bin", **env}, check=True)
    assert witness.starts() == {label: 2}
