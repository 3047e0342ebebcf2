"""An environment with JupyterLab, by the lock that mosu brings: built once for all tests."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mosu.sandbox.environments import Environment, build_locked_environment, lock_of
from tests.site_agent.lab import open_folder, shared_folder


@pytest.fixture(scope="session")
def jupyter() -> Environment:
    return build_locked_environment(shared_folder() / "environments", name="jupyter", lock=lock_of("jupyter"))


@pytest.fixture
def data_dir(jupyter: Environment) -> Iterator[Path]:
    """For a hub that finds the environment there when it is to build it."""
    with open_folder() as folder:
        place = folder / "data" / "environments"
        place.mkdir(parents=True)
        subprocess.run(["cp", "-al", str(jupyter.root), str(place)], check=True)
        yield folder
