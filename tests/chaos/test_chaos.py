"""Twenty seconds of orders under kill -9 (`pytest -m chaos`; `make chaos` runs longer), and that its counts can fail."""

import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from benchmarks.chaos.__main__ import main
from benchmarks.chaos.buyers import Acknowledged
from benchmarks.chaos.counts import count_all
from benchmarks.chaos.witness import install_witness

from mosu.kernel.ids import typeid, uuid7


@pytest.mark.chaos
def test_everything_adds_up_after_kills(tmp_path: Path) -> None:
    assert (
        main(["--seconds", "20", "--orders", "12", "--seed", "7", "--json", str(tmp_path / "found.json")])
        == 0
    )


def test_the_counts_see_what_is_wrong(fresh_db: Any) -> None:
    """On an empty hub everything holds, but for a start and an order that nobody knows of."""
    clean = count_all(owner_dsn=fresh_db.owner_dsn, starts={}, acknowledged=[])
    assert [count.what for count in clean if not count.holds] == []

    told = Acknowledged("key", typeid("order", uuid7()), "", "voucher")
    twice = {typeid("attempt", uuid7()): 2}
    wrong = count_all(owner_dsn=fresh_db.owner_dsn, starts=twice, acknowledged=[told])
    assert [count.what for count in wrong if not count.holds] == [
        "each attempt started once, by the witness",
        "each acknowledged order exists once",
    ]


def test_the_witness_notes_jobs_and_not_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSU_BWRAP", "/bin/true")
    witness = install_witness(tmp_path)
    label = typeid("attempt", UUID(int=1))
    for env in ({"MOSU_JOB": label}, {}, {"MOSU_JOB": label}):
        subprocess.run([witness.starter], env={"PATH": "/usr/bin:/bin", **env}, check=True)
    assert witness.starts() == {label: 2}
