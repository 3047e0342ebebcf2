"""Folders as an operator would choose them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Reachable for the server's user, unlike pytest's own temporary folders."""
    with tempfile.TemporaryDirectory(prefix="mosu-pg-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
