"""The database brought to a new major version of PostgreSQL: dumped, loaded beside, counted, swapped.

The old cluster stays as `postgres.old-MAJOR` until the next start succeeds. A crash at any point leaves the
old one in use, or the new one complete.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import DomainError
from mosu.runtime.binaries import Binaries, BinariesMissing, kept_binaries, version_of
from mosu.runtime.config import DATABASE, Config
from mosu.runtime.dumps import dump, rows_by_table, running, undump
from mosu.runtime.postgres import Cluster
from mosu.runtime.supervisor import only_one

_NEW: Final = "postgres.new"
_COMPLETE: Final = "complete"


class NothingToUpgrade(DomainError):
    """There is no older database of mosu's own here."""

    code = "nothing_to_upgrade"


class UpgradeFailed(DomainError):
    """The new database does not hold what the old one does; the old one is still in use."""

    code = "upgrade_failed"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What was moved, counted in the old and in the new database."""

    old: str
    new: str
    tables: int
    rows: int


def upgrade_cluster(config: Config, *, old_bin: Path | None = None) -> Upgraded:
    """Bring the hub's database to the PostgreSQL that is installed now. The hub must be down.

    Raises:
        NothingToUpgrade: no database here, or it is of this major version already.
        BinariesMissing: the old version's programs are gone.
        AlreadyUp: the hub runs.
        UpgradeFailed: the counts differ.
    """
    new = Cluster(config.data_dir, folder=_NEW)
    written = config.data_dir / "postgres" / "data" / "PG_VERSION"
    if not config.is_embedded or not written.exists():
        raise NothingToUpgrade(
            f"There is no database of mosu's own in {config.data_dir}.", hint="Run: mosu up"
        )
    major = int(written.read_text().strip())
    if major == new.binaries.major:
        raise NothingToUpgrade(f"The database is of PostgreSQL {major} already.", hint="Run: mosu up")
    with only_one(config.data_dir):
        return _upgrade(config.data_dir, new, _old_binaries(config.data_dir, major, old_bin))


def _upgrade(data_dir: Path, new: Cluster, old_binaries: Binaries) -> Upgraded:
    old = Cluster(data_dir, binaries=old_binaries)
    file = data_dir / "upgrade.dump"
    shutil.rmtree(new.home, ignore_errors=True)
    try:
        with running(old):
            dump(old.superuser_dsn(DATABASE), file=file, binaries=new.binaries)
            before = rows_by_table(old.superuser_dsn(DATABASE))
        new.init()
        with running(new):
            new.prepare_database(DATABASE)
            undump(new.superuser_dsn(DATABASE), file=file, binaries=new.binaries)
            after = rows_by_table(new.superuser_dsn(DATABASE))
        if after != before:
            differing = sorted(name for name in before | after if before.get(name) != after.get(name))
            raise UpgradeFailed(
                f"The new database differs in {', '.join(differing)}; the old one stays in use.",
                hint="Keep a backup (mosu backup) and report this.",
            )
    except BaseException:
        shutil.rmtree(new.home, ignore_errors=True)
        raise
    finally:
        file.unlink(missing_ok=True)
        shutil.rmtree(new.socket_dir, ignore_errors=True)
    (new.home / _COMPLETE).touch()
    (data_dir / "postgres").rename(data_dir / f"postgres.old-{old_binaries.major}")
    finish_upgrade(data_dir)
    return Upgraded(old_binaries.version, new.binaries.version, len(after), sum(after.values()))


def finish_upgrade(data_dir: Path) -> None:
    """Put the new cluster in place if a crash came between moving the old one away and that."""
    new, current = data_dir / _NEW, data_dir / "postgres"
    if not current.exists() and (new / _COMPLETE).exists():
        new.rename(current)
        (current / _COMPLETE).unlink()


def _old_binaries(data_dir: Path, major: int, old_bin: Path | None) -> Binaries:
    """Those asked for, those last used, those kept, or a Debian system's: the first of the right major."""
    last_used = data_dir / "postgres" / "binaries"
    kept = kept_binaries(keep_in=data_dir / "postgres-bin", major=major)
    candidates = [
        old_bin,
        Path(last_used.read_text().strip()) if last_used.exists() else None,
        kept.folder if kept else None,
        Path(f"/usr/lib/postgresql/{major}/bin"),
    ]
    for folder in candidates:
        if folder is not None and (folder / "postgres").is_file():
            found = Binaries(folder, version_of(folder))
            if found.major == major:
                return found
    raise BinariesMissing(
        f"The programs of PostgreSQL {major}, which wrote the database, are gone.",
        hint=f"Install PostgreSQL {major} and run: mosu upgrade-db --old-bin FOLDER_WITH_ITS_postgres",
    )
