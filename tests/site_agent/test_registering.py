"""What the hub is told anew while the agent runs."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from tests.site_agent.fake_hub import TOKEN, FakeHub
from tests.site_agent.lab import until

from mosu.sandbox.environments import Environment
from mosu.site_agent import agent
from mosu.site_agent.config import AgentConfig
from mosu.site_agent.engines.local import LocalEngine

WORKING = {"_lease_for_ever", "_beat_for_ever", "work"}
"""The threads of an agent."""


def test_that_people_come_to_sessions_after_all(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no node of a cluster was free to find it out on when the agent began."""
    monkeypatch.setattr(agent, "_REPROBE_EVERY_S", 0.1)
    monkeypatch.setattr(LocalEngine, "reaches", False)
    monkeypatch.setattr(LocalEngine, "extends", False)
    stopping = threading.Event()
    with closing(FakeHub()) as hub:
        config = AgentConfig(
            hub.url,
            TOKEN,
            folder / "state",
            (environment.root,),
            cores=1,
            memory_bytes=1 << 30,
            disk_bytes=1 << 30,
        )
        with agent.Agent(config, stopping=stopping, log=structlog.get_logger()) as one:
            working = threading.Thread(target=one.run)
            working.start()
            try:
                until(lambda: len(hub.heartbeats) > 1, what="it beats")
                assert [told.reaches for told in hub.registrations] == [False]
                monkeypatch.setattr(LocalEngine, "reaches", True)
                until(lambda: hub.registrations[-1].reaches, what="it tells so")
                monkeypatch.setattr(LocalEngine, "extends", True)
                until(lambda: hub.registrations[-1].extends, what="and that more time can be given")
            finally:  # else the process of all tests waits for it for ever
                stopping.set()
                working.join()
                # What still asks the hub ends with its answer: closed under it, its socket's number is soon another's.
                hub.down = True
                until(
                    lambda: not WORKING & {thread.name for thread in threading.enumerate()},
                    what="its threads end",
                )
        told = [(said.reaches, said.extends) for said in hub.registrations]
        assert told == [(False, False), (True, False), (True, True)]
