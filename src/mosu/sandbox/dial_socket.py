"""The socket through which an agent asks a sandbox's dialler, as it lies outside. Standard library only."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DIAL_SOCKET: Final = "dial.sock"
_WAITING_MAX: Final = 128


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """A socket that listens at `folder/dial.sock`, for us alone; the file is gone afterwards.

    Whoever holds a copy serves it: close ours, and callers are refused once the dialler is gone.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with short_path(folder) as path:
            listener.bind(path)
        try:
            (folder / DIAL_SOCKET).chmod(0o600)
            listener.listen(_WAITING_MAX)  # not before: until here nobody can come in
            yield listener
        finally:
            (folder / DIAL_SOCKET).unlink(missing_ok=True)


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """The way to `folder/dial.sock` in few characters: the kernel takes 107 (unix(7), `sun_path`)."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{DIAL_SOCKET}"
    finally:
        os.close(fd)
