"""Entries per second of the ledger: 8 processes, each entry in its own transaction, all triggers on, durable.

    python -m benchmarks.ledger [--seconds 5] [--json FILE]

It makes a PostgreSQL of its own (fsync on) in a temporary folder and removes it. `sql` is the same database function
called by bare psycopg from as many processes, as pgbench would: the ratio is what Python and Django cost.
"""

# ruff: noqa: PLC0415, S311 - Django is set up first, then imported; chance is no secret here
import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from benchmarks.bars import Figure

PROCESSES: Final = 8
SPREAD: Final = 1_000
HOT: Final = 4
_NOW: Final = datetime(2026, 3, 2, tzinfo=UTC)


def bench(*, seconds: float) -> dict[str, Any]:
    """Entries per second over 1,000 accounts and over 4, by `post_entry` and by bare SQL."""
    from mosu.runtime.postgres import Cluster

    folder = Path(tempfile.mkdtemp(prefix="mosu-bench-", dir="/var/tmp"))  # a disk, not memory
    folder.chmod(0o755)
    cluster = Cluster(folder)
    try:
        cluster.init()
        cluster.start()
        cluster.prepare_database("mosu")
        os.environ.update(
            DJANGO_SETTINGS_MODULE="mosu.web.settings",
            DATABASE_URL=cluster.app_dsn("mosu"),
            DATABASE_OWNER_URL=cluster.owner_dsn("mosu"),
            MOSU_DB_POOL="0",
        )
        accounts = _in_process(_migrated_accounts)
        return {
            "cpus": os.cpu_count(),
            "processes": PROCESSES,
            **{
                f"{name}_per_s": round(_rate(worker, accounts[:count], seconds))
                for name, worker, count in (
                    ("spread", _by_service, SPREAD),
                    ("hot", _by_service, HOT),
                    ("sql_spread", _by_sql, SPREAD),
                    ("sql_hot", _by_sql, HOT),
                )
            },
        }
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def figures(*, seconds: float) -> list[Figure]:
    """The same, beside their bars; and how much of bare SQL's rate is left."""
    found = bench(seconds=seconds)
    return [
        Figure(
            f"ledger entries, {accounts}",
            found[f"{name}_per_s"],
            "/s",
            bar,
            "more",
            note=f"bare SQL {found[f'sql_{name}_per_s']}/s: ratio "
            f"{found[f'{name}_per_s'] / max(1, found[f'sql_{name}_per_s']):.2f}; {PROCESSES} processes",
        )
        for name, accounts, bar in (("spread", "1,000 accounts", 800.0), ("hot", "4 hot accounts", 400.0))
    ]


def _in_process(work: Callable[[], list[UUID]]) -> list[UUID]:
    """What `work` returns in a process of its own, since Django reads its settings once."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work)


def _migrated_accounts() -> list[UUID]:
    """Accounts without a floor in a migrated database, and a kind of entry that may join them."""
    import django
    import psycopg
    from django.db import connections

    os.environ["MOSU_MIGRATE"] = "1"
    django.setup()
    from django.core.management import call_command

    from mosu.ledger.services import open_account

    call_command("migrate", verbosity=0, interactive=False)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        connection.execute(
            "insert into ledger_entryrule (kind, door, source, destination) values ('bench', 'post', 'bank', 'bank')"
        )
    made = [
        open_account(kind="bank", owner_id=UUID(int=number + 1), currency="CNY", floor_micros=None)
        for number in range(SPREAD)
    ]
    connections.close_all()
    return made


def _rate(worker: Callable[..., int], accounts: list[UUID], seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    counts = context.Queue()
    workers = [
        context.Process(target=_work, args=(counts, worker, (number, accounts, seconds, barrier)))
        for number in range(PROCESSES)
    ]
    for process in workers:
        process.start()
    total = sum(counts.get(timeout=seconds + 120) for _ in workers)
    for process in workers:
        process.join()
    return total / seconds


def _work(counts: Any, worker: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    counts.put(worker(*arguments))


def _by_service(number: int, accounts: list[UUID], seconds: float, barrier: Any) -> int:
    import django

    django.setup()
    from mosu.ledger.rules import Move
    from mosu.ledger.services import open_account, post_entry

    open_account(kind="bank", owner_id=UUID(int=1), currency="CNY", floor_micros=None)  # connects
    choose = random.Random(number)
    barrier.wait()
    start, done = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        source, destination = choose.sample(accounts, 2)
        post_entry(
            key=f"{start}:{number}:{done}",
            kind="bench",
            moves=[Move(source, destination, 1_000_000)],
            subject_id=source,
            now=_NOW,
        )
        done += 1
    return done


def _by_sql(number: int, accounts: list[UUID], seconds: float, barrier: Any) -> int:
    import psycopg

    from mosu.kernel.ids import uuid7

    choose = random.Random(number)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        barrier.wait()
        start, done = time.monotonic(), 0
        while time.monotonic() < start + seconds:
            source, destination = choose.sample(accounts, 2)
            connection.execute(
                "select * from ledger_post(%s, %s, 'bench', %s, %s, %s, %s::bigint[], %s, '')",
                [uuid7(), f"s{start}:{number}:{done}", source, [source], [destination], [1_000_000], _NOW],
            )
            done += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = bench(seconds=arguments.seconds)
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json:
        arguments.json.write_text(text)


if __name__ == "__main__":
    main()
