"""What a restored hub says of its ledger: recomputed by the application, over rows that somebody changed."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import typer
from tests.conftest import FreshDatabase
from tests.ledger.conftest import funded

from mosu.runtime import commands, prove
from mosu.runtime.backup import make_backup
from mosu.runtime.config import load_config


def tamper(database: FreshDatabase) -> None:
    """As the owner of the tables can, past the triggers."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("alter table ledger_posting disable trigger user")
        owner.execute("update ledger_posting set amount_micros = amount_micros * 2 where amount_micros > 0")
        owner.execute("alter table ledger_posting enable trigger user")


@pytest.fixture
def file(fresh_db: FreshDatabase, folder: Path) -> Path:
    """Where the backup of `fresh_db` goes: the hub of these tests, with money in its ledger."""
    funded(100)
    return folder / "hub.tar"


def kept(database: FreshDatabase, file: Path) -> None:
    config = replace(
        load_config(data_dir=file.parent / "hub"),
        database_url=database.app_dsn,
        database_owner_url=database.owner_dsn,
    )
    config.ensure()
    config.cluster().app_dsn("mosu")  # the keys that its own PostgreSQL would have
    make_backup(config, file=file)


def test_a_ledger_that_somebody_changed_does_not_hold(fresh_db: FreshDatabase) -> None:
    funded(100)
    honest = prove._proof()
    assert honest["holds"] is True
    assert str(honest["ledger"]).startswith("2 accounts, 1 entries, 2 postings, 0 holds recomputed: ")
    tamper(fresh_db)
    false = prove._proof()
    assert false["holds"] is False
    assert "wrong: " in str(false["ledger"]) and "agree" not in str(false["ledger"])


def test_an_honest_hub_comes_back(
    fresh_db: FreshDatabase, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(fresh_db, file)
    commands.restore(file, data_dir=file.parent / "back")
    said = capsys.readouterr().out
    assert "hash chains agree" in said and "Nothing was kept." not in said
    assert (file.parent / "back" / "postgres" / "data" / "PG_VERSION").is_file()


def test_a_hub_whose_ledger_is_false_is_not_restored(
    fresh_db: FreshDatabase, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(fresh_db)
    kept(fresh_db, file)
    with pytest.raises(typer.Exit) as ended:
        commands.restore(file, data_dir=file.parent / "back")
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "recomputed; wrong: " in said and "Nothing was kept." in said
    assert not (file.parent / "back").exists()
