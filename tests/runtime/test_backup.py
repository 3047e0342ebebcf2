"""A hub in one file and back: with a real database, the application's own proof apart (tests/journeys)."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.runtime.places import open_folder

from mosu.runtime import backup
from mosu.runtime.backup import BackupRefused, FolderNotEmpty, check_backup, make_backup, restore_backup
from mosu.runtime.config import DATABASE, Config, load_config
from mosu.runtime.dumps import running
from mosu.runtime.folders import DataFolderRefused, make_folder


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WEIGHTS, CURVE = b"weights" * 1000, b"<svg/>"


@pytest.fixture(scope="session")
def laid() -> Iterator[Path]:
    """A stopped hub's folder with two blobs that its database names and one that it does not; each test has a copy."""
    with open_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.delenv("DATABASE_URL", raising=False)
        _lay(load_config(data_dir=folder / "hub"))
        yield folder / "hub"


@pytest.fixture
def hub(laid: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """The folder of `laid`, running."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(backup, "_prove", lambda config: {"ledger": "recounted", "holds": True})
    subprocess.run(["cp", "-a", laid, folder / "hub"], check=True)
    config = load_config(data_dir=folder / "hub")
    with running(config.cluster()):
        yield config


def _lay(config: Config) -> None:
    config.ensure()
    cluster = config.cluster()
    cluster.init()
    with running(cluster):
        cluster.prepare_database(DATABASE)
        with psycopg.connect(cluster.owner_dsn(DATABASE)) as owner:
            owner.execute("CREATE TABLE store_blob (sha256 text PRIMARY KEY)")
            owner.execute(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''kept''; END'"
            )
            owner.execute(
                "CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON store_blob FOR EACH ROW EXECUTE FUNCTION no()"
            )
            for data in (WEIGHTS, CURVE):
                owner.execute("INSERT INTO store_blob VALUES (%s)", [sha256_of(data)])
        for data in (WEIGHTS, CURVE, b"not named by the database"):
            place = config.blobs_dir / sha256_of(data)[:2] / sha256_of(data)
            make_folder(place.parent, mode=0o700)
            place.write_bytes(data)


def test_what_comes_back_is_what_was(hub: Config, folder: Path) -> None:
    file = folder / "backup.tar"
    made = make_backup(hub, file=file)
    assert made.blobs == 2
    assert made.sha256 == sha256_of(file.read_bytes())
    assert file.stat().st_mode & 0o077 == 0
    assert not list(folder.glob(".mosu-backup-*"))

    back = load_config(data_dir=folder / "back")
    proof = restore_backup(back, file=file)
    assert (proof.blobs, proof.holds) == (2, True)
    for name in ("secret_key", "encryption_key", "postgres.json"):
        assert (back.secrets_dir / name).read_bytes() == (hub.secrets_dir / name).read_bytes()
        assert (back.secrets_dir / name).stat().st_mode & 0o077 == 0
    named = {path.name: path.read_bytes() for path in back.blobs_dir.rglob("*") if path.is_file()}
    assert named == {sha256_of(WEIGHTS): WEIGHTS, sha256_of(CURVE): CURVE}
    assert not (back.data_dir / "database.dump").exists()
    cluster = back.cluster()
    with running(cluster), psycopg.connect(cluster.app_dsn(DATABASE), autocommit=True) as app:
        assert {row[0] for row in app.execute("SELECT sha256 FROM store_blob")} == set(named)
        with pytest.raises(psycopg.errors.RaiseException, match="kept"):
            app.execute("DELETE FROM store_blob")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("DROP TRIGGER kept ON store_blob")


def test_a_stopped_hub_can_be_kept_too(hub: Config, folder: Path) -> None:
    hub.cluster().stop()
    assert make_backup(hub, file=folder / "backup.tar").blobs == 2
    assert not hub.cluster().is_alive()


def test_a_missing_or_damaged_blob_is_no_backup(hub: Config, folder: Path) -> None:
    file = folder / "backup.tar"
    place = hub.blobs_dir / sha256_of(CURVE)[:2] / sha256_of(CURVE)
    place.write_bytes(b"<svg>")
    with pytest.raises(BackupRefused, match="damaged"):
        make_backup(hub, file=file)
    place.unlink()
    with pytest.raises(BackupRefused, match=sha256_of(CURVE)):
        make_backup(hub, file=file)
    assert not file.exists()
    assert not list(folder.glob(".mosu-backup-*"))


def test_an_existing_file_is_not_overwritten(hub: Config, folder: Path) -> None:
    (folder / "backup.tar").write_text("mine")
    with pytest.raises(BackupRefused):
        make_backup(hub, file=folder / "backup.tar")
    assert (folder / "backup.tar").read_text() == "mine"


@pytest.mark.parametrize("name", ["nowhere.tar", "."])
def test_what_is_no_file_is_said_to_be_none(folder: Path, name: str) -> None:
    with pytest.raises(BackupRefused, match="There is no file") as refused:
        restore_backup(load_config(data_dir=folder / "new"), file=folder / name)
    assert "mosu backup" in refused.value.hint
    assert not (folder / "new").exists()


def test_nothing_is_restored_over_something(hub: Config, folder: Path) -> None:
    make_backup(hub, file=folder / "backup.tar")
    target = folder / "used"
    target.mkdir()
    (target / "note").write_text("mine")
    with pytest.raises(FolderNotEmpty):
        restore_backup(load_config(data_dir=target), file=folder / "backup.tar")
    assert [path.name for path in target.iterdir()] == ["note"]


def test_a_restore_that_fails_leaves_no_trace(
    hub: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_backup(hub, file=folder / "backup.tar")

    def unproved(config: Config) -> dict[str, object]:
        raise BackupRefused("does not add up", hint="")

    monkeypatch.setattr(backup, "_prove", unproved)
    target = folder / "target"
    target.mkdir()
    with pytest.raises(BackupRefused, match="does not add up"):
        restore_backup(load_config(data_dir=target), file=folder / "backup.tar")
    assert list(target.iterdir()) == []
    with pytest.raises(BackupRefused, match="does not add up"):
        restore_backup(load_config(data_dir=folder / "new"), file=folder / "backup.tar")
    assert not (folder / "new").exists()


def tampered(file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with tarfile.open(file) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(members)
    return written(file.with_name("tampered.tar"), members)


def written(out: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(out, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out


def relisted(path: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    """The file with one more member that its manifest lists rightly."""

    def change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["files"].append({"path": path, "sha256": sha256_of(data), "size_bytes": len(data)})
        members["manifest.json"] = json.dumps(manifest).encode()
        members[path] = data

    return change


def test_a_file_that_is_not_whole_is_refused_before_anything_is_made(hub: Config, folder: Path) -> None:
    file = folder / "backup.tar"
    make_backup(hub, file=file)
    blob = f"blobs/{sha256_of(CURVE)[:2]}/{sha256_of(CURVE)}"
    changes: dict[str, Callable[[dict[str, bytes]], object]] = {
        "database.dump is damaged": lambda members: members.update({"database.dump": b"other"}),
        "is missing": lambda members: members.pop(blob),
        "not in its manifest": lambda members: members.update({"secrets/extra": b""}),
        "no manifest": lambda members: members.pop("manifest.json"),
        "cannot be read": lambda members: members.update({"manifest.json": b"{"}),
        "secrets/../../evil has no place": relisted("secrets/../../evil", b"x"),
        "/etc/evil has no place": relisted("/etc/evil", b"x"),
        "logs/web.log has no place": relisted("logs/web.log", b"x"),
        "is damaged": relisted("blobs/aa/" + "a" * 64, b"not what its name says"),
    }
    for message, change in changes.items():
        with pytest.raises(BackupRefused, match=message):
            restore_backup(load_config(data_dir=folder / "new"), file=tampered(file, change))  # type: ignore[arg-type]
        assert not (folder / "new").exists()
    cut = folder / "cut.tar"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for broken in (cut, folder / "absent.tar"):
        with pytest.raises(BackupRefused):
            check_backup(broken)


def test_a_link_in_the_file_is_refused(hub: Config, folder: Path) -> None:
    file = folder / "backup.tar"
    make_backup(hub, file=file)
    out = folder / "linked.tar"
    with tarfile.open(file) as tar, tarfile.open(out, "w") as copy:
        for member in tar:
            if member.name == "hub.json":
                member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
                copy.addfile(member)
            else:
                copy.addfile(member, tar.extractfile(member))
    with pytest.raises(BackupRefused, match=r"hub\.json is damaged"):
        check_backup(out)


def test_there_has_to_be_a_hub(folder: Path) -> None:
    with pytest.raises((BackupRefused, DataFolderRefused)):
        make_backup(load_config(data_dir=folder / "none"), file=folder / "backup.tar")
    assert not (folder / "backup.tar").exists()
