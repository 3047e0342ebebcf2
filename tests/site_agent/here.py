"""An agent in the tests' own process, whose engine a test can change."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from tests.site_agent.fake_hub import TOKEN, FakeHub
from tests.site_agent.lab import until

from mosu.sandbox.environments import Environment
from mosu.site_agent.agent import Agent
from mosu.site_agent.config import AgentConfig

_THREADS = {"_lease_for_ever", "_beat_for_ever", "_look_for_ever", "work"}


@contextmanager
def agent_here(hub: FakeHub, folder: Path, environment: Environment, **settings: Any) -> Iterator[None]:
    """One of the local engine."""
    config = AgentConfig(
        hub.url,
        TOKEN,
        folder / "state",
        (environment.root,),
        cores=1,
        memory_bytes=1 << 30,
        disk_bytes=1 << 30,
        **settings,
    )
    with working_agent(config, hub):
        yield


@contextmanager
def working_agent(config: AgentConfig, hub: FakeHub) -> Iterator[Agent]:
    """It works until the end, also until that of a test that fails: else the process of all tests waits for it."""
    stopping = threading.Event()
    with Agent(config, stopping=stopping, log=structlog.get_logger()) as one:
        working = threading.Thread(target=one.run)
        working.start()
        try:
            yield one
        finally:
            stopping.set()
            working.join()
            # What still asks the hub ends with its answer: closed under it, its socket's number is soon another's.
            hub.down = True
            until(
                lambda: not _THREADS & {thread.name for thread in threading.enumerate()},
                what="its threads end",
            )
