"""Whether people come to sessions on Ray: what a node that is another machine looks like, and one that has no room."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.patience import PATIENCE_S

from mosu.sandbox.dial_socket import short_path
from mosu.sandbox.starter import RunAs
from mosu.site_agent.engines.ray import leg, meeting, payload
from mosu.site_agent.engines.ray.api import RayNode
from mosu.site_agent.engines.ray.engine import RayEngine
from mosu.site_agent.engines.ray.legs import Legs
from mosu.site_agent.engines.ray.meeting import Met
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


@pytest.mark.parametrize("found", ["0.0.0.0:7411", "[::]:7411", "7411", "host:", "host:70000"])
def test_an_address_to_which_no_leg_can_come_is_refused(tmp_path: Path, found: str) -> None:
    with pytest.raises(ValueError, match="legs_at"):
        RayOptions(folder=tmp_path, legs_at=found)
