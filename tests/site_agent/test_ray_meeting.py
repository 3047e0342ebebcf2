"""Whether people come to sessions on Ray: what a node that is another machine looks like, and one that has no room."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.patience import PATIENCE_S
from tests.site_agent.lab import until

from mosu.sandbox.dial_socket import short_path
from mosu.sandbox.starter import RunAs
from mosu.site_agent.engines.ray import leg, meeting, payload
from mosu.site_agent.engines.ray.api import RayAway, RayNode
from mosu.site_agent.engines.ray.engine import RayEngine
from mosu.site_agent.engines.ray.legs import Legs
from mosu.site_agent.engines.ray.meeting import Meetings, Met
from mosu.site_agent.engines.ray.options import RayOptions

NODE = RayNode("hall-1", "127.0.0.1", {}, {})


class Ray:
    """One that begins a job by calling `begun` with its folder."""

    def __init__(self, begun: Any, *, said: str = "") -> None:
        self._begun, self._said, self._threads = begun, said, list[threading.Thread]()
        self.stopped: list[str] = []

    def submit(self, job: str, entrypoint: str, **_: Any) -> None:
        thread = threading.Thread(target=self._begun, args=(Path(entrypoint),))
        thread.start()
        self._threads.append(thread)

    def output(self, job: str) -> str:
        return self._said

    def stop(self, job: str) -> None:
        self.stopped.append(job)
        for thread in self._threads:
            thread.join()


def met(ray: Ray, folder: Path, *, legs: Legs | None = None) -> Met:
    wanted: Mapping[str, float] = {"node:127.0.0.1": 0.001}
    found = meeting.met(
        ray,  # type: ignore[arg-type]
        NODE,
        folder,
        legs=legs or Legs(None),
        command=lambda *words: str(words[1]),
        resources=dict(wanted),
    )
    assert len(ray.stopped) == 1 and not list(folder.iterdir())
    return found


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a socket's file on a shared file system answers where its listener is in another kernel."""

    def refused(place: Path) -> bytes:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(meeting, "_said_at", refused)
    monkeypatch.setattr(meeting, "MET_S_MAX", PATIENCE_S)


def test_a_job_on_this_machine_is_met_and_nothing_listens_for_legs(tmp_path: Path) -> None:
    legs = Legs(None)
    assert met(Ray(lambda place: payload.meet(place, "/bin/sh")), tmp_path, legs=legs) == Met(
        "", has_sshd=True
    )
    assert met(Ray(lambda place: payload.meet(place, "/nowhere")), tmp_path, legs=legs) == Met(
        "", has_sshd=False
    )
    assert legs._at is None


@pytest.mark.usefixtures("elsewhere")
def test_a_job_on_another_machine_comes_to_the_agent(tmp_path: Path) -> None:
    legs = Legs(None)
    for sshd, has_sshd in (("/bin/sh", True), ("/nowhere", False)):
        found = met(Ray(lambda place, sshd=sshd: payload.meet(place, sshd)), tmp_path, legs=legs)
        assert found == Met("", has_sshd=has_sshd, by_leg=True)
    assert legs._keys == {}


def test_a_node_from_where_nothing_comes_is_told_with_both_reasons_and_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "MET_S_MAX", 0.3)

    def begun(place: Path) -> None:
        with short_path(place) as path, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
        (place / payload.READY_FILE).touch()

    found = met(Ray(begun), tmp_path)
    assert not found.has_sshd and not found.by_leg
    for words in (
        "node hall-1",
        "Connection refused",
        "No leg has come from its node to 127.0.0.1:",
        "[ray] legs_at",
    ):
        assert words in found.why_not
    found = met(Ray(begun, said="words\nmosu leg: 10.0.0.5:7411: No route to host"), tmp_path)
    assert "(mosu leg: 10.0.0.5:7411: No route to host)" in found.why_not


@pytest.mark.usefixtures("elsewhere")
def test_a_port_that_the_agent_cannot_have_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "_WAITS_S_MAX", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = met(
            Ray(lambda place: payload.meet(place, "/bin/sh")), tmp_path, legs=Legs(taken.getsockname())
        )
    assert "may listen" in found.why_not and "in use" in found.why_not


def test_a_node_without_room_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_COMES_S_MAX", 0.2)
    assert "began no job within" in met(Ray(lambda _: None), tmp_path).why_not


def test_volumes_are_their_owners_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine numbers its system users anew; nobody ever becomes root by it."""
    here = RunAs(70_000, 70_000)
    monkeypatch.setattr(payload, "run_as", lambda: here)
    data = tmp_path / "data"
    job: Any = {"volumes": [{"folder": str(tmp_path)}]}
    assert payload._who_runs({}) == payload._who_runs(job) == here  # type: ignore[typeddict-item]
    data.mkdir()
    if os.geteuid() == 0:
        assert payload._who_runs(job) == here
        os.chown(data, 4242, 4243)
    facts = data.stat()
    assert payload._who_runs(job) == RunAs(facts.st_uid, facts.st_gid)


def test_what_a_node_runs_needs_python_alone() -> None:
    """A leg is given to nodes as the supervisor is: no package is there."""
    for file in (leg.__file__, payload.__file__):
        code = f"import runpy, sys; sys.path.insert(0, {str(Path(leg.__file__).parents[4])!r}); runpy.run_path({file!r})"
        subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_shared_folder_that_cannot_be_used_ends_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RayEngine(RayOptions(folder=tmp_path), environments=(), disk_bytes=1, log_bytes_max=1)
    monkeypatch.setattr(engine._api, "nodes", lambda: [NODE])
    (tmp_path / "meetings").touch()
    assert "the shared folder cannot be used" in engine.unreached and not engine.has_sshd
    with pytest.raises(OSError, match="meetings"):
        engine._way_to(NODE.name)


class Found:
    """What is found of each node, as a test sets it; and how often each was tried."""

    def __init__(self) -> None:
        self.of: dict[str, Met | Exception] = {}
        self.tried: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def meet(self, node: RayNode) -> Met:
        self.tried.append(node.name)
        assert self.go_on.wait(PATIENCE_S)
        found = self.of.get(node.name, Met("", has_sshd=True))
        if isinstance(found, Exception):
            raise found
        return found


FAR = RayNode("hall-2", "10.0.0.2", {"CPU": 2.0, "memory": 1.0}, {})


def test_a_node_that_was_not_met_is_tried_again_ever_less_often_and_nobody_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(meeting, "time", SimpleNamespace(monotonic=lambda: now[0]))
    found = Found()
    meetings = Meetings(found.meet)
    found.of[FAR.name] = Met("not met")
    assert meetings.found([NODE, FAR]) == {NODE.name: Met("", has_sshd=True), FAR.name: Met("not met")}
    for wait_s in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        tried = len(found.tried)
        now[0] += wait_s - 1
        meetings.found([NODE, FAR])
        assert len(found.tried) == tried
        now[0] += 2
        found.go_on.clear()
        for _ in range(2):  # who asks while it is tried hears what was found last
            assert meetings.found([NODE, FAR])[FAR.name] == Met("not met")
        until(lambda: len(found.tried) == tried + 1)  # noqa: B023
        if wait_s == 120:
            found.of[FAR.name] = RayAway("as while its head is away")
        found.go_on.set()
        until(lambda: not [one for one in threading.enumerate() if one.name == "meet"], what="tried")
    found.of[FAR.name] = Met("", by_leg=True)
    now[0] += 3601
    meetings.found([NODE, FAR])
    until(lambda: meetings.of(FAR.name) == Met("", by_leg=True), what="it is met")
    now[0] += 10_000
    tried = len(found.tried)
    assert not any(one.why_not for one in meetings.found([NODE, FAR]).values())
    assert len(found.tried) == tried and found.tried.count(NODE.name) == 1


def test_a_node_that_is_not_met_stops_the_sessions_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = RayEngine(RayOptions(folder=tmp_path), environments=(), disk_bytes=1, log_bytes_max=1)
    found = Found()
    monkeypatch.setattr(engine, "_meetings", Meetings(found.meet))
    monkeypatch.setattr(engine._api, "nodes", lambda: [NODE, FAR])
    found.of = {FAR.name: Met("no way there"), NODE.name: Met("", has_sshd=True)}
    assert [(node.name, node.reached) for node in engine.nodes()] == [(NODE.name, True), (FAR.name, False)]
    assert engine.reaches and engine.has_sshd and engine.unreached == "no way there"
    assert engine._way_to(FAR.name).why_not == "no way there"
    with pytest.raises(OSError, match="no node gone now"):
        engine._way_to("gone")
    alone = RayEngine(RayOptions(folder=tmp_path), environments=(), disk_bytes=1, log_bytes_max=1)
    monkeypatch.setattr(alone, "_meetings", Meetings(found.meet))
    monkeypatch.setattr(alone._api, "nodes", lambda: [FAR])
    assert (alone.reaches, alone.unreached, alone.has_sshd) == (False, "no way there", False)
    monkeypatch.setattr(alone._api, "nodes", list)
    assert "Ray has no node" in alone.unreached and not alone.has_sshd


@pytest.mark.parametrize("found", ["0.0.0.0:7411", "[::]:7411", "7411", "host:", "host:70000"])
def test_an_address_to_which_no_leg_can_come_is_refused(tmp_path: Path, found: str) -> None:
    with pytest.raises(ValueError, match="legs_at"):
        RayOptions(folder=tmp_path, legs_at=found)
