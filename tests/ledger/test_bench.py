"""That the benchmark's pgbench posts what it counts."""

from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from benchmarks.ledger import UUIDV7_SINCE, by_pgbench, find_pgbench, number_accounts

from mosu.ledger.services import open_account
from mosu.runtime.postgres import Cluster


def test_pgbench_posts_each_entry_and_ends_at_a_refusal(
    fresh_db: Any, cluster: Cluster, tmp_path: Path
) -> None:
    program = find_pgbench(cluster.binaries.folder)
    assert program is not None  # the embedded PostgreSQL brings it
    accounts = [
        open_account(kind="bank", owner_id=UUID(int=number), currency="CNY", floor_micros=None)
        for number in range(1, 5)
    ]
    with psycopg.connect(fresh_db.owner_dsn, autocommit=True) as owner:
        number_accounts(owner, accounts)
        ordered = cluster.binaries.major >= UUIDV7_SINCE
        with pytest.raises(RuntimeError, match="division by zero"):  # no rule lets such entries join accounts
            by_pgbench(program, tmp_path, 4, 1, ordered=ordered)
        assert owner.execute("select count(*) from ledger_journalentry").fetchone() == (0,)

        owner.execute(
            "insert into ledger_entryrule (kind, door, source, destination) values ('bench', 'post', 'bank', 'bank')"
        )
        assert by_pgbench(program, tmp_path, 4, 1, ordered=ordered) > 0
        posted = owner.execute(
            "select count(distinct account_id), count(distinct entry_id) > 1, sum(amount_micros) from ledger_posting"
        )
        assert posted.fetchone() == (4, True, 0)
