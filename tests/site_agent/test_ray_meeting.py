"""Whether people come to sessions on Ray: what a node that is another machine looks like, and one that has no room."""

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mosu.sandbox.dial_socket import DIAL_SOCKET
from mosu.site_agent.engines.ray import meeting, payload
from mosu.site_agent.engines.ray.api import RayNode
from mosu.site_agent.engines.ray.meeting import Met

NODE = RayNode("hall-1", "10.0.0.1", {}, {})


class Ray:
    """One that begins a job by calling `begun` with its folder."""

    def __init__(self, begun: Any) -> None:
        self._begun, self._threads = begun, list[threading.Thread]()
        self.stopped: list[str] = []

    def submit(self, job: str, entrypoint: str, **_: Any) -> None:
        thread = threading.Thread(target=self._begun, args=(Path(entrypoint),))
        thread.start()
        self._threads.append(thread)

    def stop(self, job: str) -> None:
        self.stopped.append(job)
        for thread in self._threads:
            thread.join()


def met(ray: Ray, folder: Path) -> Met:
    wanted: Mapping[str, float] = {"node:10.0.0.1": 0.001}
    found = meeting.met(
        ray,  # type: ignore[arg-type]
        NODE,
        folder,
        command=lambda *words: str(words[1]),
        resources=dict(wanted),
    )
    assert len(ray.stopped) == 1 and not list(folder.iterdir())
    return found


def test_a_job_on_this_machine_is_met_and_says_whether_it_has_sshd(tmp_path: Path) -> None:
    assert met(Ray(lambda place: payload.meet(place, "/bin/sh")), tmp_path) == Met("", has_sshd=True)
    assert met(Ray(lambda place: payload.meet(place, "/nowhere")), tmp_path) == Met("", has_sshd=False)


def test_a_job_on_another_machine_is_told_by_its_socket_that_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it looks over a shared file system: the file is there, and its listener in another kernel."""
    monkeypatch.setattr(meeting, "MET_S_MAX", 0.3)

    def elsewhere(place: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place / DIAL_SOCKET))

    found = met(Ray(elsewhere), tmp_path)
    assert "hall-1 is another machine" in found.why_not and "refused" in found.why_not and not found.has_sshd


def test_a_node_without_room_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_COMES_S_MAX", 0.2)
    assert "began no job within" in met(Ray(lambda _: None), tmp_path).why_not
