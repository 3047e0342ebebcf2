"""Fixtures for all tests that start real sandboxes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.site_agent.lab import Lab, environment_in, open_folder, shared_folder

from mosu.sandbox.environments import Environment


@pytest.fixture(scope="session")
def shelf() -> Path:
    return shared_folder()


@pytest.fixture(scope="session")
def environment(shelf: Path) -> Environment:
    return environment_in(shelf)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as found:
        yield found


@pytest.fixture
def lab(folder: Path, environment: Environment) -> Lab:
    return Lab(folder / "state", environment)
