"""The data folder and the unprivileged user that may enter it.

mosu changes the mode of no folder that it did not make: what it cannot enter it refuses, with the mend.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import DomainError

SERVICE_USER: Final = "mosu"


class DataFolderRefused(DomainError):
    """The data folder cannot be used by those who have to."""

    code = "data_folder_refused"


class NoServiceUser(DomainError):
    """Started as root, and the unprivileged user that PostgreSQL needs cannot be made."""

    code = "no_service_user"


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Who runs PostgreSQL when mosu is started as root."""

    name: str
    uid: int
    gid: int


def service_user() -> ServiceUser | None:
    """The unprivileged user for servers, made if missing; None if mosu itself is not root.

    It must be in the user database: initdb refuses a uid without an entry.

    Raises:
        NoServiceUser: it does not exist and useradd failed.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        _add_user()
        entry = pwd.getpwnam(SERVICE_USER)
    if entry.pw_uid == 0:
        raise NoServiceUser(f"The user {SERVICE_USER} is root.", hint=f"Give {SERVICE_USER} another uid.")
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _add_user() -> None:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", SERVICE_USER]
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NoServiceUser(
            f"The system user {SERVICE_USER} does not exist and there is no useradd to make it.",
            hint=f"Make a system user named {SERVICE_USER}, or start mosu as an ordinary user.",
        )
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    # 9: another mosu that starts at the same time made it first.
    if done.returncode not in (0, 9):
        raise NoServiceUser(
            f"The system user {SERVICE_USER} could not be made: {done.stderr.strip()}",
            hint=f"Run: {' '.join(command)}",
        )


def make_folder(path: Path, *, mode: int, owner: ServiceUser | None = None) -> None:
    """`path` with exactly `mode`, its missing parents open to pass through; what exists stays as it is."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode if folder == path else 0o755)
        if folder == path and owner is not None:
            os.chown(folder, owner.uid, owner.gid)


def check_reach(path: Path, user: ServiceUser | None) -> None:
    """Pass if `user` can enter `path`, or as much of it as exists, through each of its parents.

    The kernel is asked, as that user, so that access lists and mount options count too.

    Raises:
        DataFolderRefused: names the first folder in the way and the command that opens it.
    """
    closed = first_closed((folder for folder in (*reversed(path.parents), path) if folder.exists()), user)
    if closed is None:
        return
    if user is None:
        raise DataFolderRefused(f"The folder {closed} cannot be entered.", hint=f"Run: chmod u+x {closed}")
    raise DataFolderRefused(
        f"The data folder {path} cannot be reached by the user {user.name}, who runs PostgreSQL "
        f"because mosu was started as root: {closed} does not let others pass.",
        hint=f"Run: chmod o+x {closed} (mosu does not change folders it did not make), "
        "or choose another with --data-dir, such as /var/lib/mosu.",
        folder=str(closed),
    )


def first_closed(folders: Iterable[Path], user: ServiceUser | None) -> Path | None:
    """The first of `folders` that `user` (None: this process) cannot enter."""
    listed = list(folders)
    if user is None:
        return next((folder for folder in listed if not os.access(folder, os.X_OK)), None)
    script = 'for f in "$@"; do test -x "$f" || { printf %s "$f"; exit 0; }; done'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, listed)],
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout) if done.stdout else None
