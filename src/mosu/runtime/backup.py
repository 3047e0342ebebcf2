"""One file with everything a hub is: its database, blobs and keys, each with its sha256.

A tar: `manifest.json` first, then what it lists. Database and list of blobs are of one snapshot, so that it is
consistent while the hub runs. Nothing is restored before the whole file was checked.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import psycopg

from mosu.kernel.refusals import DomainError
from mosu.runtime.binaries import find_binaries
from mosu.runtime.config import DATABASE, Config
from mosu.runtime.dumps import dump, running, undump
from mosu.runtime.folders import make_folder
from mosu.runtime.postgres import Cluster
from mosu.runtime.supervisor import only_one

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROOTS: Final = ("secrets", "blobs")
_SINGLE: Final = (DUMP, "hub.json")


class BackupRefused(DomainError):
    """The backup cannot be made, or the file is not one that can be trusted."""

    code = "backup_refused"


class FolderNotEmpty(DomainError):
    """A backup is restored into an empty folder only."""

    code = "folder_not_empty"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a backup."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Made:
    blobs: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What was recomputed after a restore."""

    files: int
    blobs: int
    ledger: str
    ledger_holds: bool

    @property
    def holds(self) -> bool:
        return self.ledger_holds

    def lines(self) -> Iterator[str]:
        yield f"files    {self.files} match their sha256"
        yield f"blobs    {self.blobs} match their names, and none that the database names is missing"
        yield f"ledger   {self.ledger}"
        if not self.holds:
            yield "Nothing was kept."


def make_backup(config: Config, *, file: Path) -> Made:
    """Write `file`, whole or not at all, readable by this user alone.

    Raises:
        BackupRefused: `file` exists or cannot be written, or a blob is missing or damaged.
        AlreadyUp: a start or another backup of a stopped hub is under way.
    """
    if file.exists():
        raise BackupRefused(f"{file} exists.", hint="Choose another name, or remove it.")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise BackupRefused(f"{file.parent} is no folder that can be written.", hint="Name another file.")
    if not (config.secrets_dir / "secret_key").exists():
        raise BackupRefused(f"There is no hub in {config.data_dir}.", hint="Name it with --data-dir.")
    with tempfile.TemporaryDirectory(prefix=".mosu-backup-", dir=file.parent) as name:
        dump_file = Path(name) / DUMP
        blobs = _dump_with_blobs(config, dump_file)
        sources = [(DUMP, dump_file), *_keys(config), *_blob_files(config, blobs)]
        entries = [_entry(path, source) for path, source in sources]
        _check_blobs(entries)
        draft = Path(name) / "draft.tar"
        _write_tar(draft, entries, dict(sources))
        draft.chmod(0o600)
        made = Made(len(blobs), draft.stat().st_size, _sha256_of(draft))
        draft.replace(file)
    return made


def _dump_with_blobs(config: Config, file: Path) -> list[str]:
    """The database into `file`; the sha256 of each blob that it names at that instant."""
    if not config.is_embedded:
        binaries = find_binaries(keep_in=config.data_dir / "postgres-bin", user=None)
        return _dump_snapshot(config.owner_dsn(), file, binaries)
    cluster = config.cluster()
    dsn = cluster.superuser_dsn(DATABASE)
    if cluster.answers():
        return _dump_snapshot(dsn, file, cluster.binaries)
    with only_one(config.data_dir), running(cluster):
        return _dump_snapshot(dsn, file, cluster.binaries)


def _dump_snapshot(dsn: str, file: Path, binaries: Any) -> list[str]:
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        row = connection.execute(
            "SELECT pg_export_snapshot(), to_regclass('store_blob') IS NOT NULL"
        ).fetchone()
        snapshot, has_blobs = row if row else ("", False)
        dump(dsn, file=file, binaries=binaries, snapshot=str(snapshot))
        if not has_blobs:
            return []
        return [
            str(found[0]) for found in connection.execute("SELECT sha256 FROM store_blob ORDER BY sha256")
        ]


def _keys(config: Config) -> list[tuple[str, Path]]:
    keys = [(f"secrets/{path.name}", path) for path in sorted(config.secrets_dir.iterdir()) if path.is_file()]
    return [*keys, ("hub.json", config.data_dir / "hub.json")]


def _blob_files(config: Config, blobs: Iterable[str]) -> list[tuple[str, Path]]:
    files = {
        _sha256_in(path.relative_to(config.blobs_dir)): path
        for path in config.blobs_dir.rglob("*")
        if path.is_file()
    }
    missing = [sha256 for sha256 in blobs if sha256 not in files]
    if missing:
        raise BackupRefused(
            f"{len(missing)} blobs that the database names are not in {config.blobs_dir}, such as {missing[0]}.",
            hint="Restore them from an earlier backup first.",
        )
    return [(f"blobs/{files[sha256].relative_to(config.blobs_dir)}", files[sha256]) for sha256 in blobs]


def _sha256_in(path: Path | PurePosixPath) -> str:
    """The sha256 that a blob's place spells, by its name or by its folders and name together."""
    return path.name if _SHA256.fullmatch(path.name) else "".join(path.parts)


def _check_blobs(entries: Iterable[Entry]) -> int:
    """How many blobs there are; their bytes are what their names say.

    Raises:
        BackupRefused: one is damaged.
    """
    count = 0
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.parts[0] == "blobs":
            count += 1
            if _sha256_in(path.relative_to("blobs")) != entry.sha256:
                raise BackupRefused(f"{entry.path} is damaged.", hint="Take it from an earlier backup.")
    return count


def _entry(path: str, source: Path) -> Entry:
    return Entry(path, _sha256_of(source), source.stat().st_size)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_tar(draft: Path, entries: list[Entry], sources: dict[str, Path]) -> None:
    listed = [{"path": e.path, "sha256": e.sha256, "size_bytes": e.size_bytes} for e in entries]
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = json.dumps({"format": FORMAT, "made_at": made_at, "files": listed}).encode()
    with draft.open("xb") as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, MANIFEST, io.BytesIO(manifest), len(manifest))
            for entry in entries:
                with sources[entry.path].open("rb") as source:
                    _add(tar, entry.path, source, entry.size_bytes)
        out.flush()
        os.fsync(out.fileno())


def _add(tar: tarfile.TarFile, path: str, source: Any, size_bytes: int) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = size_bytes, 0o600
    tar.addfile(member, source)


def restore_backup(config: Config, *, file: Path) -> Proof:
    """The hub of `file` in `config.data_dir`, which is empty or not there; then its proof.

    The file is checked whole before anything is made; what fails later, its proof too, leaves the folder as it was.

    Raises:
        BackupRefused: the file is not a whole, undamaged backup.
        FolderNotEmpty: something is in the folder.
    """
    entries = check_backup(file)
    existed = config.data_dir.exists()
    if existed and any(config.data_dir.iterdir()):
        raise FolderNotEmpty(
            f"{config.data_dir} is not empty.",
            hint="Restore into a new folder: mosu restore FILE --data-dir NEW",
        )
    own = replace(config, database_url=None, database_owner_url=None)
    holds = False
    try:
        proof = _restore(own, file, entries)
        holds = proof.holds
        return proof
    finally:
        if not holds:
            _empty(config.data_dir, remove=not existed)


def check_backup(file: Path) -> list[Entry]:
    """What is in `file`, each byte of it checked.

    Raises:
        BackupRefused: names the first thing that is wrong.
    """
    if not file.is_file():
        raise BackupRefused(f"There is no file {file}.", hint="Name the file that mosu backup wrote.")
    try:
        with tarfile.open(file, mode="r:") as tar:
            entries = _manifest_of(tar, file)
            for entry in entries:
                _check_member(tar, entry, file)
            extra = set(tar.getnames()) - {entry.path for entry in entries} - {MANIFEST}
    except (OSError, tarfile.TarError) as error:
        raise _refused(file, str(error)) from error
    if extra:
        raise _refused(file, f"{min(extra)} is not in its manifest")
    _check_blobs(entries)
    return entries


def _manifest_of(tar: tarfile.TarFile, file: Path) -> list[Entry]:
    first = tar.next()
    if first is None or first.name != MANIFEST or (source := tar.extractfile(first)) is None:
        raise _refused(file, "it has no manifest")
    try:
        found = json.loads(source.read())
        if found["format"] != FORMAT:
            raise _refused(file, f"its format is {found['format']}, this mosu reads {FORMAT}")
        entries = [Entry(str(e["path"]), str(e["sha256"]), int(e["size_bytes"])) for e in found["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(file, f"its manifest cannot be read ({error})") from error
    for entry in entries:
        parts = entry.path.split("/")
        if entry.path not in _SINGLE and (
            parts[0] not in _ROOTS or len(parts) < 2 or any(part in ("", ".", "..") for part in parts)
        ):
            raise _refused(file, f"{entry.path} has no place in a hub")
    if {DUMP, "secrets/postgres.json"} - {entry.path for entry in entries}:
        raise _refused(file, "the database or its keys are missing")
    return entries


def _check_member(tar: tarfile.TarFile, entry: Entry, file: Path) -> None:
    try:
        member = tar.getmember(entry.path)
    except KeyError as error:
        raise _refused(file, f"{entry.path} is missing") from error
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or hashlib.file_digest(source, "sha256").hexdigest() != entry.sha256:  # type: ignore[arg-type]
        raise _refused(file, f"{entry.path} is damaged")


def _refused(file: Path, why: str) -> BackupRefused:
    return BackupRefused(
        f"{file} is not a whole backup: {why}.", hint="Take another file; nothing was changed."
    )


def _restore(config: Config, file: Path, entries: list[Entry]) -> Proof:
    cluster = Cluster(config.data_dir)  # refuses a folder that it cannot reach, before anything is made
    for folder in (config.secrets_dir, config.blobs_dir):
        make_folder(folder, mode=0o700)
    with tarfile.open(file, mode="r:") as tar:
        for entry in entries:
            _extract(tar, entry, config.data_dir / entry.path)
    config.ensure()
    dump_file = config.data_dir / DUMP
    with only_one(config.data_dir):
        cluster.init()
        cluster.start(with_parent=True)
        try:
            cluster.prepare_database(DATABASE)
            undump(cluster.superuser_dsn(DATABASE), file=dump_file, binaries=cluster.binaries)
            dump_file.unlink()
            said = _prove(config)
        finally:
            cluster.stop()
    return Proof(len(entries), _check_blobs(entries), str(said["ledger"]), bool(said["holds"]))


def _extract(tar: tarfile.TarFile, entry: Entry, place: Path) -> None:
    """One file, checked again as it is written: the backup may have changed since it was looked at."""
    make_folder(place.parent, mode=0o700)
    source = tar.extractfile(entry.path)
    digest = hashlib.sha256()
    with open(place, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        while source is not None and (block := source.read(1 << 20)):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != entry.sha256:
        raise BackupRefused(f"{entry.path} changed while it was read.", hint="Restore again.")


def _prove(config: Config) -> dict[str, Any]:
    """Migrate, then recompute, in a process that is the application."""
    environment = config.migration_environment(app_dsn=config.app_dsn(), owner_dsn=config.owner_dsn())
    done = subprocess.run(
        [sys.executable, "-m", "mosu.runtime.prove"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BackupRefused(
            f"The restored hub could not be proved: {done.stderr.strip()[-1500:]}", hint="Nothing was kept."
        )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _empty(folder: Path, *, remove: bool) -> None:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if remove:
        folder.rmdir()
