"""mosu's own PostgreSQL, real: `PG_BIN=/usr/lib/postgresql/15/bin` runs the same tests on another major."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.runtime.waiting import eventually

from mosu.runtime.binaries import BinariesMissing
from mosu.runtime.children import is_running, process_state
from mosu.runtime.folders import DataFolderRefused, check_reach, make_folder, service_user
from mosu.runtime.postgres import Cluster, WrongMajor

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


@pytest.fixture
def own(folder: Path, cluster: Cluster, laid_cluster: Path) -> Iterator[Cluster]:
    """A cluster of this test's, with the session's copy of the programs."""
    subprocess.run(["cp", "-a", laid_cluster, folder / "hub"], check=True)
    made = Cluster(folder / "hub", testing=True, binaries=cluster.binaries)
    made.start()
    yield made
    made.stop()


def test_the_app_role_writes_rows_and_owns_nothing(own: Cluster) -> None:
    own.prepare_database("hub")  # safe to repeat
    with psycopg.connect(own.owner_dsn("hub")) as owner:
        owner.execute("CREATE TABLE kept (id serial PRIMARY KEY, text text)")
        owner.execute("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with psycopg.connect(own.app_dsn("hub"), autocommit=True) as app:
        app.execute("INSERT INTO kept (text) VALUES ('a'), ('b')")
        app.execute("UPDATE kept SET text = 'c' WHERE id = 1")
        app.execute("DELETE FROM kept WHERE id = 2")
        assert app.execute("SELECT one(), text FROM kept").fetchall() == [(1, "c")]
        for forbidden in (
            "TRUNCATE kept",
            "DROP TABLE kept",
            "ALTER TABLE kept DISABLE TRIGGER ALL",
            "CREATE TABLE mine (id int)",
            "SET session_replication_role = replica",
            "SET ROLE mosu_owner",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(forbidden)
        assert app.execute("SELECT text FROM kept").fetchall() == [("c",)]


def test_the_database_counts_in_utc_and_sorts_by_code_point(own: Cluster) -> None:
    with psycopg.connect(own.app_dsn("hub")) as app:
        row = app.execute(
            "SELECT current_setting('TimeZone'), datcollate, pg_encoding_to_char(encoding), "
            "array_length(show_trgm_free, 1) FROM pg_database, "
            "(SELECT regexp_matches('算力超市', '\\w+') AS show_trgm_free) words WHERE datname = 'hub'"
        ).fetchone()
    assert row == ("UTC", "C.UTF-8", "UTF8", 1)


def test_no_password_no_entry(own: Cluster) -> None:
    for dsn in (
        own.app_dsn("hub").replace("mosu_app:", "mosu_app:x"),
        own.superuser_dsn().replace("postgres:", "postgres:x"),
    ):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(dsn)


def test_passwords_are_scram_and_nobody_is_trusted(own: Cluster) -> None:
    with psycopg.connect(own.superuser_dsn(), autocommit=True) as connection:
        kept = dict(
            connection.execute("select rolname, rolpassword from pg_authid where rolcanlogin").fetchall()
        )
        ways = {way for (way,) in connection.execute("select auth_method from pg_hba_file_rules")}
    assert {"mosu_app", "mosu_owner"} < set(kept)
    assert all(str(password).startswith("SCRAM-SHA-256$") for password in kept.values()), kept.keys()
    assert ways == {"scram-sha-256"}


def test_passwords_are_readable_by_the_owner_alone(own: Cluster) -> None:
    secret = own.data_dir / "secrets" / "postgres.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    command_lines = Path(f"/proc/{own.postmaster_pid()}/cmdline").read_bytes()
    assert own.superuser_dsn().split(":")[2].split("@")[0].encode() not in command_lines


@as_root
def test_root_runs_it_as_an_unprivileged_user(own: Cluster) -> None:
    user = service_user()
    assert user is not None
    assert user.uid != 0
    status = Path(f"/proc/{own.postmaster_pid()}/status").read_text()
    assert f"Uid:\t{user.uid}\t{user.uid}\t{user.uid}\t{user.uid}" in status
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    assert groups.split()[1:] == []


def test_stop_and_start_keep_what_was_written(own: Cluster) -> None:
    with psycopg.connect(own.owner_dsn("hub")) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
    pid = own.postmaster_pid()
    assert pid is not None
    own.stop()
    assert not own.is_alive()
    assert not is_running(pid)
    again = Cluster(own.data_dir, testing=True)
    again.init()  # nothing to do
    again.start()
    try:
        with psycopg.connect(again.owner_dsn("hub")) as owner:
            assert owner.execute("SELECT number FROM kept").fetchall() == [(7,)]
    finally:
        again.stop()


def test_killed_it_starts_again_with_all_that_was_committed(folder: Path) -> None:
    cluster = Cluster(folder / "hub")
    cluster.init()
    cluster.start()
    cluster.prepare_database("hub")
    with psycopg.connect(cluster.owner_dsn("hub"), autocommit=True) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 7 AS number")
        pid = cluster.postmaster_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not cluster.is_alive())
    try:
        cluster.start()
        assert cluster.postmaster_pid() != pid
        with psycopg.connect(cluster.owner_dsn("hub")) as owner:
            assert owner.execute("SELECT number FROM kept").fetchall() == [(7,)]
    finally:
        cluster.stop()


def test_a_zombie_is_dead_and_does_not_bar_the_next_start(own: Cluster) -> None:
    """Its parent does not reap it; PostgreSQL's own check of its lock file would take it for running."""
    pid = own.postmaster_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: process_state(pid) == "Z")
    other = Cluster(own.data_dir, testing=True)  # has no child, so it does not reap
    assert process_state(pid) == "Z"
    assert not other.is_alive()
    other.start()
    try:
        assert other.answers()
        assert process_state(pid) == "Z"
    finally:
        other.stop()


def test_a_process_that_got_the_number_of_the_server_is_left_alone(own: Cluster) -> None:
    own.stop()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        (own.pg_data / "postmaster.pid").write_text(f"{stranger.pid}\n{own.pg_data}\n")
        assert not own.is_alive()
        own.start()
        assert own.answers()
        assert stranger.poll() is None
        stranger.kill()


def test_one_left_over_by_a_killed_parent_is_stopped_first(folder: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom mosu.runtime.postgres import Cluster\n"
        "cluster = Cluster(Path(sys.argv[1]), testing=True)\ncluster.init()\n"
        "print(cluster.start().pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "hub")], stdout=subprocess.PIPE, check=False
    )
    left = int(done.stdout)
    assert is_running(left)
    cluster = Cluster(folder / "hub", testing=True)
    assert cluster.postmaster_pid() == left
    cluster.start()
    try:
        assert not is_running(left)
        assert cluster.answers()
    finally:
        cluster.stop()


def test_an_init_that_was_killed_is_done_again(folder: Path) -> None:
    cluster = Cluster(folder / "hub", testing=True)
    make_folder(cluster.home, mode=0o700, owner=cluster.user)
    make_folder(cluster.home / "data.new", mode=0o700, owner=cluster.user)
    (cluster.home / "data.new" / "PG_VERSION").write_text("half")
    cluster.init()
    cluster.start()
    assert cluster.answers()
    cluster.stop()


def test_another_major_is_refused_and_untouched(own: Cluster) -> None:
    own.stop()
    (own.pg_data / "PG_VERSION").write_text("13\n")
    with pytest.raises(WrongMajor) as refused:
        own.start()
    assert refused.value.hint == "Run: mosu upgrade-db"
    assert not own.is_alive()
    with pytest.raises(WrongMajor):
        own.init()
    assert (own.pg_data / "PG_VERSION").read_text() == "13\n"


def test_a_long_path_gets_a_short_socket(folder: Path) -> None:
    cluster = Cluster(folder / ("x" * 60) / ("模速空间" * 8), testing=True)
    cluster.init()
    cluster.start()
    try:
        assert len(os.fsencode(cluster.socket_dir)) < 90
        assert cluster.answers()
    finally:
        cluster.stop()
        cluster.socket_dir.rmdir()


@as_root
def test_a_folder_that_the_server_cannot_reach_is_refused_and_unchanged(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    for asked in (private, private / "hub"):
        with pytest.raises(DataFolderRefused) as refused:
            Cluster(asked, testing=True)
        assert f"chmod o+x {private}" in refused.value.hint
        assert str(private) in refused.value.message
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert list(private.iterdir()) == []


@as_root
def test_modes_of_folders_that_mosu_did_not_make_stay(folder: Path) -> None:
    parents = [folder / "a", folder / "a" / "b", folder / "a" / "b" / "c"]
    for number, parent in enumerate(parents):
        parent.mkdir()
        parent.chmod((0o711, 0o701, 0o751)[number])
    before = {path: (path.stat().st_mode, path.stat().st_uid) for path in (*parents, *folder.parents)}
    mask = os.umask(0o077)
    try:
        cluster = Cluster(parents[-1] / "hub", testing=True)
        cluster.init()
        cluster.start()
        cluster.stop()
    finally:
        os.umask(mask)
    assert {path: (path.stat().st_mode, path.stat().st_uid) for path in before} == before


def test_reach_is_asked_as_the_user_who_needs_it(folder: Path) -> None:
    check_reach(folder, service_user())


def test_missing_binaries_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bin").mkdir()
    (folder / "bin" / "postgres").touch()
    monkeypatch.setenv("PG_BIN", str(folder / "bin"))
    with pytest.raises(BinariesMissing, match="initdb, pg_ctl, psql, pg_dump, pg_restore"):
        Cluster(folder / "hub", testing=True)


def test_path_is_not_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PG_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent:/usr/lib/postgresql/15/bin")
    cluster = Cluster(folder / "hub", testing=True)
    assert cluster.binaries.folder.is_relative_to(folder / "hub" / "postgres-bin")
    assert cluster.binaries.major >= 18
