"""A database of Debian's PostgreSQL 15 becomes one of the embedded major."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.runtime.places import open_folder

from mosu.runtime import upgrade
from mosu.runtime.binaries import Binaries, BinariesMissing, version_of
from mosu.runtime.config import DATABASE, load_config
from mosu.runtime.dumps import running
from mosu.runtime.postgres import Cluster, WrongMajor
from mosu.runtime.upgrade import NothingToUpgrade, UpgradeFailed, finish_upgrade, upgrade_cluster

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
needs_15 = pytest.mark.skipif(not DEBIAN_15.exists(), reason="needs: apt-get install postgresql-15")


@pytest.fixture(scope="session")
def laid_old_hub() -> Iterator[Path]:
    """A stopped hub's folder, written by PostgreSQL 15, in which the app's role left rows; each test has a copy."""
    with open_folder() as folder:
        _lay(folder / "hub")
        yield folder / "hub"


@pytest.fixture
def old_hub(laid_old_hub: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `laid_old_hub`."""
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    subprocess.run(["cp", "-a", laid_old_hub, folder / "hub"], check=True)
    return folder / "hub"


def _lay(data_dir: Path) -> None:
    cluster = Cluster(data_dir, testing=True, binaries=Binaries(DEBIAN_15, version_of(DEBIAN_15)))
    cluster.init()
    with running(cluster):
        cluster.prepare_database(DATABASE)
        with psycopg.connect(cluster.owner_dsn(DATABASE)) as owner:
            owner.execute("CREATE TABLE run (id serial PRIMARY KEY, text text NOT NULL)")
            owner.execute(
                "CREATE TABLE span (device int, period tstzrange, EXCLUDE USING gist (device WITH =, period WITH &&))"
            )
        with psycopg.connect(cluster.app_dsn(DATABASE)) as app:
            app.execute("INSERT INTO run (text) SELECT '模速空间 ' || n FROM generate_series(1, 500) n")
            app.execute("INSERT INTO span VALUES (1, '[2026-03-02, 2026-03-03)')")


@needs_15
def test_rows_and_rights_come_along(old_hub: Path) -> None:
    config = load_config(data_dir=old_hub)
    with pytest.raises(WrongMajor):
        config.cluster().start()
    done = upgrade_cluster(config)
    assert (done.old.split(".")[0], done.tables, done.rows) == ("15", 2, 501)
    cluster = config.cluster()
    with running(cluster):
        with psycopg.connect(cluster.app_dsn(DATABASE)) as app:
            assert app.execute("SELECT count(*), max(text) FROM run WHERE text LIKE '模速%'").fetchone() == (
                500,
                "模速空间 99",
            )
            assert app.execute("INSERT INTO run (text) VALUES ('new') RETURNING id").fetchone() == (501,)
            with pytest.raises(psycopg.errors.ExclusionViolation):
                app.execute("INSERT INTO span VALUES (1, '[2026-03-02, 2026-03-03)')")
        with (
            psycopg.connect(cluster.app_dsn(DATABASE)) as app,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            app.execute("TRUNCATE run")
        with psycopg.connect(cluster.owner_dsn(DATABASE)) as owner:
            owner.execute("CREATE TABLE later (id int)")
        with psycopg.connect(cluster.app_dsn(DATABASE)) as app:
            app.execute("INSERT INTO later VALUES (1)")
    assert (old_hub / "postgres.old-15" / "data" / "PG_VERSION").exists()
    with pytest.raises(NothingToUpgrade):
        upgrade_cluster(config)


@needs_15
def test_a_difference_keeps_the_old_one(old_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([{"run": 500, "span": 1}, {"run": 499, "span": 1}])
    monkeypatch.setattr(upgrade, "rows_by_table", lambda dsn: next(counts))
    with pytest.raises(UpgradeFailed, match="differs in run"):
        upgrade_cluster(load_config(data_dir=old_hub))
    assert (old_hub / "postgres" / "data" / "PG_VERSION").read_text() == "15\n"
    assert not list(old_hub.glob("postgres.*"))
    assert not (old_hub / "upgrade.dump").exists()


@needs_15
def test_without_the_old_programs_it_says_what_to_install(
    old_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "version_of", lambda folder: "16.1")
    with pytest.raises(BinariesMissing, match="PostgreSQL 15"):
        upgrade_cluster(load_config(data_dir=old_hub))
    assert (old_hub / "postgres" / "data" / "PG_VERSION").read_text() == "15\n"


def test_a_crash_between_the_two_renames_is_finished_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "postgres.old-15").mkdir()
    (tmp_path / "postgres.new").mkdir()
    finish_upgrade(tmp_path)
    assert not (tmp_path / "postgres").exists()  # it was not complete
    (tmp_path / "postgres.new" / "complete").touch()
    finish_upgrade(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgres", "postgres.old-15"]
