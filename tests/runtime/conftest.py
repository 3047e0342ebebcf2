"""Folders as an operator would choose them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.places import open_folder

from mosu.runtime.postgres import Cluster


@pytest.fixture(scope="session")
def laid_cluster(cluster: Cluster) -> Iterator[Path]:
    """A stopped cluster with a prepared database, `hub`, for tests to copy: making one takes seconds."""
    with open_folder() as folder:
        made = Cluster(folder / "hub", testing=True, binaries=cluster.binaries)
        made.init()
        made.start()
        made.prepare_database("hub")
        made.stop()
        yield folder / "hub"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Reachable for the server's user, unlike pytest's own temporary folders."""
    with open_folder() as found:
        yield found
