"""What the hub is told anew while the agent runs."""

from contextlib import closing
from pathlib import Path

import pytest
from tests.site_agent.fake_hub import FakeHub
from tests.site_agent.here import agent_here
from tests.site_agent.lab import until

from mosu.sandbox.environments import Environment
from mosu.site_agent import agent
from mosu.site_agent.engines.local import LocalEngine


def test_that_people_come_to_sessions_after_all(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no node of a cluster was free to find it out on when the agent began."""
    monkeypatch.setattr(agent, "_REPROBE_EVERY_S", 0.1)
    monkeypatch.setattr(LocalEngine, "reaches", False)
    monkeypatch.setattr(LocalEngine, "extends", False)
    with closing(FakeHub()) as hub:
        with agent_here(hub, folder, environment):
            until(lambda: len(hub.heartbeats) > 1, what="it beats")
            assert [told.reaches for told in hub.registrations] == [False]
            monkeypatch.setattr(LocalEngine, "reaches", True)
            until(lambda: hub.registrations[-1].reaches, what="it tells so")
            monkeypatch.setattr(LocalEngine, "extends", True)
            until(lambda: hub.registrations[-1].extends, what="and that more time can be given")
        told = [(said.reaches, said.extends) for said in hub.registrations]
        assert told == [(False, False), (True, False), (True, True)]
