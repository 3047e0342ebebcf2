"""Small state on disk that is either the old or the new, whatever is killed when."""

import fcntl
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_durably(path: Path, value: Any, *, to_disk: bool = True) -> None:
    """Replace `path` with `value` as JSON: written aside, flushed to the disk, renamed.

    Not `to_disk`: whole after a crash of ours, but maybe the old one after a crash of the machine.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:  # all of it or an error: os.write may write a part, as on a full disk
        file.write(json.dumps(value).encode())
        file.flush()
        if to_disk:
            os.fsync(fd)
    draft.rename(path)
    if to_disk:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def held_alone(path: Path) -> int | None:
    """The lock of this file, made if it is not there, until it is closed or this process ends; None: another has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class Garbled(Exception):
    """A file of ours holds something else than we wrote: a failing disk, or a hand."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is garbled")
        self.path = path


def read_json(path: Path) -> Any:
    """What `path` holds; None if there is no such file.

    Raises:
        Garbled: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Garbled(path) from error


def read_json_if_whole(path: Path) -> Any:
    """What `path` holds; None if there is no such file or it is garbled, and then it is set aside for whoever looks."""
    try:
        return read_json(path)
    except Garbled:
        path.replace(path.with_name(f"{path.name}.garbled"))
        return None


def remove_tree(top: Path) -> None:
    """Delete a folder that untrusted code has filled, however deep it is and whatever modes it set.

    Each folder is lifted to the top before it is emptied, so no path grows long and nothing recurses. What the
    disk does not give up stays. No process of the job's may be left.
    """
    with suppress(FileNotFoundError):
        top.chmod(0o700)
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            while sum(_removed(fd, entry) for entry in list(os.scandir(fd))):
                pass
        finally:
            os.close(fd)
        with suppress(OSError):
            top.rmdir()


def _removed(top: int, entry: os.DirEntry[str]) -> bool:
    """Whether the entry is gone from the open folder `top`; folders in it were lifted there, the rest deleted."""
    with suppress(OSError):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=top)
            return True
        os.chmod(entry.name, 0o700, dir_fd=top)
        folder = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            for inner in list(os.scandir(folder)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.name, 0o700, dir_fd=folder)
                    os.rename(inner.name, os.urandom(16).hex(), src_dir_fd=folder, dst_dir_fd=top)
                else:
                    os.unlink(inner.name, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(entry.name, dir_fd=top)
        return True
    return False
