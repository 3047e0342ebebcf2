"""Folders as an operator would choose them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """Reachable for the server's user, unlike pytest's own temporary folders."""
    with tempfile.TemporaryDirectory(prefix="mosu-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
