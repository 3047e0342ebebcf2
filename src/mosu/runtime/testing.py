"""A throw-away PostgreSQL for tests: quick, not durable, gone with the process that started it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mosu.runtime.folders import first_closed, service_user
from mosu.runtime.postgres import Cluster

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a new folder in it
"""Copying a database, and dropping it, makes and removes a thousand files: on a disk that costs six times as much."""
_ROOM_BYTES: Final = 4 << 30


@contextmanager
def testing_cluster() -> Iterator[Cluster]:
    """A running cluster in a temporary folder, removed afterwards."""
    folder = _reachable_folder()
    try:
        cluster = Cluster(folder, testing=True)
        cluster.init()
        cluster.start(with_parent=True)
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reachable_folder() -> Path:
    """A new folder that the server's user can enter, also where TMPDIR is private to root."""
    base = _MEMORY if _has_room(_MEMORY) else Path(tempfile.gettempdir())
    if first_closed((*reversed(base.parents), base), service_user()) is not None:
        base = Path("/tmp")  # noqa: S108 - mkdtemp makes a new folder in it
    folder = Path(tempfile.mkdtemp(prefix="mosu-test-", dir=base))
    folder.chmod(0o755)
    return folder


def _has_room(folder: Path) -> bool:
    """Whether a cluster fits in, and its programs may be run there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= _ROOM_BYTES and not found.f_flag & os.ST_NOEXEC
