"""The whole agent: from an attempt that names an image to its report, whatever fails on the way."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mosu.sandbox.environments import Environment
from mosu.wire.agent import Report
from tests.images.registry import Registry, plain_image
from tests.site_agent.fake_hub import FakeHub
from tests.site_agent.lab import make_spec, until
from tests.site_agent.test_agent import AgentProcess

pytestmark = pytest.mark.images
NOBODYS = f"/team/plain@sha256:{'0' * 64}"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    made = FakeHub()
    yield made
    made.close()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A registry that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.fixture
def agent(
    folder: Path, environment: Environment, hub: FakeHub, shop: Registry, silent: socket.socket
) -> Iterator[AgentProcess]:
    made = AgentProcess(folder, environment, hub)
    made.runs_images(shop.prefix, address(silent))
    made.start()
    try:
        until(lambda: hub.registrations, what="registered")
        yield made
    finally:
        made.end(signal.SIGTERM)


def address(of: socket.socket) -> str:
    return f"localhost:{of.getsockname()[1]}"


def reported(hub: FakeHub, attempt: str) -> Report:
    until(lambda: hub.reports[attempt], what="reported")
    report: Report = hub.reports[attempt][0]
    return report


def test_it_says_from_where_and_runs_one(agent: AgentProcess, hub: FakeHub, shop: Registry) -> None:
    assert hub.registrations[0].images[0] == shop.prefix
    attempt = hub.lease(make_spec("cat /etc/motd", environment=f"docker:{plain_image()}"))
    assert reported(hub, attempt).phase == "succeeded", agent.said()
    assert hub.text(attempt) == "of the image\n"
    uses = agent.folder / "images" / "uses"
    until(lambda: list(uses.iterdir()) == [], what="let go")


def test_what_cannot_be_had_is_a_failure_in_words(agent: AgentProcess, hub: FakeHub, shop: Registry) -> None:
    image = f"{shop.prefix}{NOBODYS.removeprefix('/team')}"
    attempt = hub.lease(make_spec("true", environment=f"docker:{image}"))
    report = reported(hub, attempt)
    assert (report.phase, report.started_at) == ("failed", None)
    assert report.reason.startswith(f"The image {image} could not be fetched: ")
    assert "manifest unknown" in report.reason


def test_a_registry_that_is_away_loses_the_attempt_which_may_start_elsewhere(
    agent: AgentProcess, hub: FakeHub, silent: socket.socket
) -> None:
    gone = address(silent)
    silent.close()
    attempt = hub.lease(make_spec("true", environment=f"docker:{gone}{NOBODYS}"))
    report = reported(hub, attempt)
    assert report.phase == "lost" and "could not be prepared" in report.reason
    assert "connection refused" in report.reason


def test_who_cancels_while_it_comes_waits_for_nothing(
    agent: AgentProcess, hub: FakeHub, silent: socket.socket
) -> None:
    attempt = hub.lease(make_spec("true", environment=f"docker:{address(silent)}{NOBODYS}"))
    with silent.accept()[0]:  # it has asked, and waits
        hub.tell(attempt, "cancel")
        report = reported(hub, attempt)
    assert (report.phase, report.reason) == ("cancelled", "Cancelled before it started.")


def test_a_killed_agent_begins_again_and_leaves_no_half_image(
    agent: AgentProcess, hub: FakeHub, silent: socket.socket
) -> None:
    attempt = hub.lease(make_spec("true", environment=f"docker:{address(silent)}{NOBODYS}"))
    with silent.accept()[0]:
        images = agent.folder / "images"
        assert any(path.name.startswith(".new-") for path in images.iterdir())
        half = {path for path in images.iterdir() if path.name.startswith(".new-")}
        agent.end(signal.SIGKILL)
    agent.start()
    with silent.accept()[0]:  # it asks anew
        assert not any(path.exists() for path in half)
        hub.tell(attempt, "cancel")
        assert reported(hub, attempt).phase == "cancelled"
