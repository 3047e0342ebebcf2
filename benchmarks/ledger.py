"""Entries per second of the ledger: 8 processes, each entry in its own transaction, all triggers on, durable.

    python -m benchmarks.ledger [--seconds 5] [--json FILE]

It makes a PostgreSQL of its own (fsync on) in a temporary folder and removes it. `sql` is the same database function
called by pgbench with as many clients: the ratio is what Python and Django cost. Where there is no pgbench, processes
of bare psycopg stand in for it, and the note says so.
"""

# ruff: noqa: PLC0415, S311 - Django is set up first, then imported; chance is no secret here
import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
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
START_S_MAX: Final = 600.0
"""For the processes to begin. One that fails keeps the others waiting for it: they end with this one."""
SPREAD: Final = 1_000
HOT: Final = 4
UUIDV7_SINCE: Final = 18
"""The PostgreSQL that makes ids in the order of time itself."""
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
        program = find_pgbench(cluster.binaries.folder)
        found: dict[str, Any] = {
            "cpus": os.cpu_count(),
            "processes": PROCESSES,
            "sql_by": "pgbench" if program else "psycopg in place of pgbench, which is not here",
        }
        for name, count in (("spread", SPREAD), ("hot", HOT)):
            found[f"{name}_per_s"] = round(_rate(_by_service, accounts[:count], seconds))
            found[f"sql_{name}_per_s"] = round(
                by_pgbench(program, folder, count, seconds, ordered=cluster.binaries.major >= UUIDV7_SINCE)
                if program
                else _rate(_by_sql, accounts[:count], seconds)
            )
        return found
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def figures(*, seconds: float) -> list[Figure]:
    """The same, beside their bars; and how much of pgbench's rate is left."""
    found = bench(seconds=seconds)
    return [
        Figure(
            f"ledger entries, {accounts}",
            found[f"{name}_per_s"],
            "/s",
            bar,
            "more",
            note=f"{found['sql_by']} {found[f'sql_{name}_per_s']}/s: ratio "
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
    from mosu.ledger.services import open_account
    from mosu.runtime.migrating import migrate

    migrate()
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        connection.execute(
            "insert into ledger_entryrule (kind, door, source, destination) values ('bench', 'post', 'bank', 'bank')"
        )
    made = [
        open_account(kind="bank", owner_id=UUID(int=number + 1), currency="CNY", floor_micros=None)
        for number in range(SPREAD)
    ]
    connections.close_all()
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
        number_accounts(connection, made)
    return made


def number_accounts(connection: Any, accounts: list[UUID]) -> None:
    """What pgbench draws by number; the hub knows nothing of this table."""
    from mosu.runtime.postgres import APP

    connection.execute("create table bench_account (n integer primary key, id uuid not null)")
    connection.execute(
        "insert into bench_account select n, id from unnest(%s::uuid[]) with ordinality as one(id, n)",
        [accounts],
    )
    connection.execute(f"grant select on bench_account to {APP}")
    connection.execute("analyze bench_account")


def find_pgbench(beside: Path) -> str | None:
    """The one of the PostgreSQL that is measured, else another of this machine."""
    others = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)
    known = next((str(one) for one in (beside / "pgbench", *others) if one.is_file()), None)
    return known or shutil.which("pgbench")


def by_pgbench(program: str, folder: Path, accounts: int, seconds: float, *, ordered: bool) -> float:
    """Entries per second between two of the first `accounts`; `ordered` if the server makes UUIDv7. A refusal fails."""
    new_id = "uuidv7()" if ordered else "gen_random_uuid()"
    script = folder / "pgbench.sql"
    script.write_text(
        f"\\set source random(1, {accounts})\n"
        f"\\set destination 1 + (:source - 1 + random(1, {accounts - 1})) % {accounts}\n"
        "select 1 / (posted.refusal is null)::integer from bench_account s, bench_account d, "
        f"ledger_post({new_id}, 'p' || gen_random_uuid(), 'bench', s.id, array[s.id], array[d.id], "
        f"array[1000000]::bigint[], '{_NOW.isoformat()}', '') posted "
        "where s.n = :source and d.n = :destination;\n"
    )
    command = [program, "-n", "-M", "prepared", "-c", str(PROCESSES), "-j", str(PROCESSES)]
    command += ["-T", str(max(1, round(seconds))), "-f", str(script), os.environ["DATABASE_URL"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode != 0 or rate is None:
        raise RuntimeError(f"pgbench failed:\n{done.stdout}\n{done.stderr}")
    return float(rate[1])


def _rate(worker: Callable[..., int], accounts: list[UUID], seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    counts = context.Queue()
    workers = [
        context.Process(
            target=_work, args=(counts, worker, (number, accounts, seconds, barrier)), daemon=True
        )
        for number in range(PROCESSES)
    ]
    for process in workers:
        process.start()
    total: int = sum(counts.get(timeout=seconds + START_S_MAX) for _ in workers)
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
