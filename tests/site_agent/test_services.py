"""Services: started again whenever they end or fall silent, by the real sandbox on this machine."""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from tests.site_agent.lab import Ended, Lab, processes_that_name, until

from mosu.kernel.reaching import NotReached
from mosu.site_agent.engines.protocol import EngineRef
from mosu.wire.agent import AttemptPhase, ServiceSpec

SERVER = """
cat > {name}.py <<'END'
import fcntl, http.server, os, pathlib, signal, time

def fill_the_log():
    fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_NONBLOCK)
    try:
        while True:
            os.write(2, b"x")
    except BlockingIOError:
        os.rename("fill", "ill")

def stop_who_asks():
    first = pathlib.Path("/proc/1/cmdline").read_bytes()
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        if path.parent.name != "1" and path.read_bytes() == first:
            os.kill(int(path.parent.name), signal.SIGSTOP)
            os.rename("stop", "ill")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            open("asked", "a").write(".")
            if os.path.exists("fill"):
                fill_the_log()
            if os.path.exists("stop"):
                stop_who_asks()
            if os.path.exists("deaf"):
                time.sleep(60)
        self.send_response(503 if os.path.exists("ill") else 200)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
END
exec python3 {name}.py
"""
"""In its folder, `ill` makes it say that it is not well, `deaf` say nothing."""
SERVICE = ServiceSpec(port=8000)


@dataclass
class Served:
    """A service on the lab's engine."""

    lab: Lab
    ref: EngineRef
    name: str

    @property
    def folder(self) -> Path:
        return self.lab.attempt(self.ref) / "work"

    def asked(self) -> int:
        """How often it was asked how it is."""
        asked = self.folder / "asked"
        return asked.stat().st_size if asked.exists() else 0

    def answers(self) -> bool:
        with suppress(NotReached, OSError), self.lab.engine.connect(self.ref, 8000) as joined:
            joined.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: joined.recv(1000), b"")).endswith(b"here")
        return False

    def process(self) -> int:
        """Of its server, as the machine numbers it; 0 while there is none."""
        found = [pid for pid in processes_that_name(f"{self.name}.py") if _program(pid).startswith("python")]
        return found[0] if found else 0

    def is_another(self, than: int) -> bool:
        return self.process() not in (0, than) and self.answers()

    def ended(self) -> Ended:
        self.lab.engine.cancel(self.ref)
        return self.lab.wait(self.ref)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def serve(lab: Lab, run: str = SERVER, *, health: str = "/health") -> Served:
    name = f"server-{uuid4().hex}"
    spec = ServiceSpec(port=8000, health=health)
    return Served(lab, lab.start(run.replace("{name}", name), session=True, service=spec), name)


@pytest.fixture
def served(lab: Lab) -> Served:
    served = serve(lab)
    until(lambda: served.asked() > 1, what="asked again, so that it was well before")
    return served


def test_what_is_killed_answers_again_within_five_seconds(served: Served) -> None:
    took_s: list[float] = []
    while sum(took < 5 for took in took_s) < 2:  # the machine may be busy
        assert len(took_s) < 6, took_s
        until(served.process, what="its server")  # 0 would be all of this test's own processes
        killed, at = served.process(), time.monotonic()
        os.kill(killed, signal.SIGKILL)
        until(lambda killed=killed: served.is_another(killed), what="another one")  # type: ignore[misc]
        took_s.append(time.monotonic() - at)
    ended = served.ended()
    assert ended.seen.phase is AttemptPhase.CANCELLED
    assert ended.log.count("mosu: the service ended with exit code") == len(took_s) + 1
    measures = ended.seen.measures
    assert measures is not None and measures.restarts == len(took_s) and measures.uptime_s is not None
    assert 0 < measures.uptime_s < measures.wall_s
    assert not served.process()


@pytest.mark.parametrize("how", ["deaf", "ill"])
def test_what_is_no_longer_well_is_started_again(served: Served, how: str) -> None:
    first = served.process()
    (served.folder / how).touch()
    until(lambda: served.process() not in (0, first), what="another one")
    (served.folder / how).unlink()
    until(served.answers, what="it is well again")
    assert "no answer at /health, 3 times" in served.ended().log


def test_who_asks_cannot_be_stopped_for_ever(served: Served) -> None:
    first = served.process()
    (served.folder / "stop").touch()
    until((served.folder / "ill").exists, what="the one that asks is stopped")
    until(lambda: served.process() not in (0, first), what="another one")
    (served.folder / "ill").unlink()
    until(served.answers, what="it is well again")
    assert "no answer at /health, 3 times" in served.ended().log


def test_a_log_that_takes_no_more_ends_no_service(served: Served) -> None:
    first = served.process()
    supervisor, *_ = json.loads((served.lab.attempt(served.ref) / "claim").read_text())
    os.kill(supervisor, signal.SIGSTOP)  # it reads the log
    try:
        (served.folder / "fill").touch()
        until(lambda: served.process() not in (0, first), what="another one")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    (served.folder / "ill").unlink()
    until(served.answers, what="it is well again")


def test_what_was_never_well_is_let_be(lab: Lab) -> None:
    """It may load a model for an hour."""
    served = serve(lab, "touch ill\n" + SERVER)
    until(served.process, what="its server")
    first = served.process()
    until(lambda: served.asked() > 5, what="it was asked")
    assert served.process() == first
    measures = served.ended().seen.measures
    assert measures is not None and (measures.uptime_s, measures.restarts) == (0, 0)


def test_what_ends_at_once_is_started_less_and_less_often(lab: Lab) -> None:
    began = time.monotonic()
    ref = lab.start("echo tried; exit 3", session=True, service=SERVICE)
    until(lambda: lab.log(ref).count("tried") == 4, what="its fourth start")
    assert time.monotonic() - began >= 0.4 + 0.8 + 1.6
    lab.engine.cancel(ref)
    ended = lab.wait(ref)
    assert "mosu: the service ended with exit code 3" in ended.log
    assert ended.seen.exit_code == 3 and ended.seen.phase is AttemptPhase.CANCELLED


def test_a_service_that_ignores_the_end_is_killed_and_not_started_again(lab: Lab) -> None:
    ref = lab.start(
        "trap '' TERM; echo up; while :; do sleep 0.1; done", session=True, service=SERVICE, grace_s=0
    )
    until(lambda: "up" in lab.log(ref), what="it is up")
    lab.engine.cancel(ref)
    ended = lab.wait(ref)
    assert ended.log.count("up") == 1 and ended.seen.phase is AttemptPhase.CANCELLED
