"""The hub takes a pool whose heartbeats stay away for gone: they wait for no engine and for no disk."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.patience import PATIENCE_S
from tests.site_agent.fake_hub import FakeHub
from tests.site_agent.here import agent_here
from tests.site_agent.lab import make_spec, until

from mosu.kernel.ids import typeid, uuid7
from mosu.sandbox.environments import Environment
from mosu.site_agent import agent
from mosu.site_agent.engines.local import LocalEngine
from mosu.site_agent.errands import Errands
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, VolumeSpec


class Slow:
    """Calls that begin and then wait, as at a server that accepts and says nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.begun: list[str] = []
        self.done: list[str] = []
        self.at_once: list[str] = []
        """Those that began while the same was under way."""
        self._go_on = threading.Event()

    def hold(self, of: type, name: str) -> None:
        original: Callable[..., Any] = getattr(of, name)

        def held(*args: Any, **options: Any) -> Any:
            if self.begun.count(name) > self.done.count(name):
                self.at_once.append(name)
            self.begun.append(name)
            self._go_on.wait(PATIENCE_S)
            try:
                return original(*args, **options)
            finally:
                self.done.append(name)

        self._monkeypatch.setattr(of, name, held)

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    made = Slow(monkeypatch)
    yield made
    made.go_on()


def beats(hub: FakeHub, count: int = 2) -> None:
    seen = len(hub.heartbeats)
    until(lambda: len(hub.heartbeats) >= seen + count, what=f"{count} heartbeats")


def test_heartbeats_go_on_while_engine_and_disk_say_nothing(
    folder: Path, environment: Environment, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_REPROBE_EVERY_S", 0.2)
    (folder / "volumes").mkdir()
    volume = typeid("volume", uuid7())
    seen = VolumeSpec(volume_id=volume, path="/data", size_bytes=1 << 20, writes=True)
    room = {"volumes_dir": folder / "volumes", "volumes_gb": 1}
    with closing(FakeHub()) as hub, agent_here(hub, folder, environment, **room):
        over = hub.lease(make_spec("true", volumes=(seen,)))
        until(lambda: hub.reports[over], what="one is over, and its volume is there")
        attempt = hub.lease(make_spec("sleep 150"))
        until(lambda: hub.phase_of(attempt) is AttemptPhase.RUNNING, what="one runs")
        for of, name in (
            (LocalEngine, "nodes"),
            (LocalEngine, "extend"),
            (LocalEngine, "cancel"),
            (LocalEngine, "forget"),
            (Volumes, "delete"),
        ):
            slow.hold(of, name)
        hub.tell(attempt, "extend", wall_limit_s=500)
        hub.tell(over, "forget")
        hub.volumes_to_delete = (volume,)
        until(lambda: {"nodes", "extend", "forget", "delete"} <= set(slow.begun), what="all wait")
        for _ in range(3):  # as the hub does, until it sees it done
            hub.tell(attempt, "extend", wall_limit_s=500)
            hub.tell(attempt, "cancel")
            beats(hub)
        assert slow.done == [] and "cancel" not in slow.begun
        assert hub.phase_of(attempt) is AttemptPhase.RUNNING
        assert hub.phase_of(over) is None, "named no more, however long its files take"
        assert hub.heartbeats[-1].volumes_deleted == ()
        slow.go_on()
        until(lambda: hub.reports[attempt], what="cancelled")
        until(lambda: hub.heartbeats[-1].volumes_deleted == (volume,), what="deleted")
        until(lambda: not (folder / "state" / "attempts" / over).exists(), what="forgotten")
        assert hub.reports[attempt][0].phase == "cancelled"
        told = [name for name in slow.begun if name in {"extend", "cancel"}]
        assert told == ["extend", "cancel"], "in the hub's order, and what waits twice is done once"
        assert slow.at_once == []


def test_a_node_that_comes_is_told_though_another_look_took_long(
    folder: Path, environment: Environment, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_REPROBE_EVERY_S", 0.2)
    with closing(FakeHub()) as hub, agent_here(hub, folder, environment):
        until(lambda: hub.heartbeats, what="it beats")
        nodes = hub.registrations[-1].nodes
        grown = tuple(node.model_copy(update={"cores": node.cores + 1}) for node in nodes)
        monkeypatch.setattr(LocalEngine, "nodes", lambda _: grown)
        slow.hold(LocalEngine, "nodes")
        until(lambda: "nodes" in slow.begun, what="it looks")
        beats(hub)
        assert len(hub.registrations) == 1
        slow.go_on()
        until(lambda: hub.registrations[-1].nodes == grown, what="told")
        assert slow.at_once == []


def test_what_the_engine_fails_at_is_done_at_the_hubs_next_word(
    folder: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = list[str]()

    def broken(_: LocalEngine, ref: str) -> None:
        failed.append(ref)
        raise RuntimeError("the engine is away in a way of its own")

    with closing(FakeHub()) as hub, agent_here(hub, folder, environment):
        attempt = hub.lease(make_spec("sleep 150"))
        until(lambda: hub.phase_of(attempt) is AttemptPhase.RUNNING, what="it runs")
        with monkeypatch.context() as patched:
            patched.setattr(LocalEngine, "cancel", broken)
            hub.tell(attempt, "cancel")
            until(lambda: failed, what="tried")
        beats(hub)
        hub.tell(attempt, "cancel")
        until(lambda: hub.reports[attempt], what="cancelled")
        assert hub.reports[attempt][0].phase == "cancelled"


def test_errands_are_done_in_order_and_once_for_all_that_wait() -> None:
    done, going, begun = list[str](), threading.Event(), threading.Event()
    errands = Errands("test", log=structlog.get_logger())

    def first() -> None:
        begun.set()
        going.wait(PATIENCE_S)
        done.append("first")
        raise OSError("and the next is done all the same")

    errands.ask("one", first)
    assert begun.wait(PATIENCE_S)
    for what, said in (("two", "two"), ("one", "one"), ("two", "two, as it was asked last")):
        errands.ask(what, partial(done.append, said))
    going.set()
    until(lambda: len(done) == 3)
    assert done == ["first", "two, as it was asked last", "one"]
    errands.ask("one", lambda: done.append("again"))
    until(lambda: done[-1] == "again")
