"""A real hub, its small world, and a real Chromium. Run by `make e2e`; elsewhere these tests are not collected."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub import Hub, free_port, running_hub

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOAD_WORLD = """
import json, sys
from mosu.runtime.commands import use_hub
from mosu.runtime.config import load_config
use_hub(load_config())
from mosu.runtime.demo.world import load_world
world = load_world(say=lambda text: print(text, file=sys.stderr))
print(json.dumps({email: password for email, password, _ in world.sign_ins}))
"""

EXPECT_MS_MAX = 120_000
"""The limit is for what never comes, not for what is slow."""
SLOW_MS_MAX = 300_000
"""As long for what takes the hub some time: a run from its order to its receipt, a large file, a JupyterLab."""
FLAGS = [
    "--no-sandbox",  # as root, as in CI; the pages are our own
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = config.getoption("markexpr", "")
    return None if asked in {"e2e", "editor"} else True


@dataclass(frozen=True)
class Town:
    """A hub with a small world in it. `passwords` are by e-mail address; `pictures` is where screenshots go."""

    hub: Hub
    passwords: dict[str, str]
    pictures: Path


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    with running_hub(env={"MOSU_SSH_PORT": str(free_port())}) as hub:
        done = subprocess.run(
            [sys.executable, "-c", LOAD_WORLD],
            env=dict(hub.env),
            capture_output=True,
            text=True,
            timeout=SLOW_MS_MAX / 1000,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pictures = Path(tempfile.mkdtemp(prefix="mosu-journeys-"))
        yield Town(hub, json.loads(done.stdout), pictures)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 -- not installed where it is not run

    expect.set_options(timeout=EXPECT_MS_MAX)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=FLAGS, timeout=SLOW_MS_MAX
        )
        yield browser
        browser.close()
