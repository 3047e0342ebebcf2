"""The environments of the locks that mosu brings: each built once for all tests."""

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mosu.sandbox.environments import Environment, build_locked_environment
from tests.site_agent.lab import open_folder, shared_folder


@cache
def brought(name: str) -> Environment:
    """Of the lock of this name."""
    return build_locked_environment(shared_folder() / "environments", name=name)


@pytest.fixture(scope="session")
def jupyter() -> Environment:
    return brought("jupyter")


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """For a hub that finds the environment of the module's `ENVIRONMENT` there when it is to build it."""
    with open_folder() as folder:
        place = folder / "data" / "environments"
        place.mkdir(parents=True)
        subprocess.run(["cp", "-al", str(brought(request.module.ENVIRONMENT).root), str(place)], check=True)
        yield folder
