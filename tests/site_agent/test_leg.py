"""Legs without a Slurm: an `srun` that starts what it is told on this machine, and some that do worse."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S
from tests.site_agent.echo import ECHO, echoed
from tests.site_agent.lab import Lab, processes_that_name, until

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.reaching import NotReached
from mosu.site_agent import leg
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.engines.slurm import legs as agents_side
from mosu.site_agent.engines.slurm.legs import Legs
from mosu.wire.tunnel import FrameKind, Target, packed

JOB = 7
PORT = 8000
NOBODYS = EngineRef(typeid("attempt", uuid7()))
ECHOES = f"python3 - <<'PY'\n{ECHO}\nPY"
GOOD = 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"'


class Site:
    """Legs that stand by whatever `srun` here does."""

    def __init__(self, folder: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self.lab = folder, lab
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        # How quickly a leg stands is a matter of the machine.
        monkeypatch.setattr(agents_side, "PATIENCE_S", PATIENCE_S)
        monkeypatch.setattr(agents_side, "OPEN_S_MAX", PATIENCE_S)
        self.srun_does(GOOD)
        self.legs = Legs(sys.executable)

    def srun_does(self, script: str) -> None:
        file = self._folder / "srun"
        file.write_text(f"#!/bin/sh\necho once >> {self._folder}/begun\n{script}\n")
        file.chmod(0o755)

    @property
    def times_begun(self) -> int:
        file = self._folder / "begun"
        return file.read_text().count("once") if file.exists() else 0

    def session(self) -> EngineRef:
        ref = self.lab.start(ECHOES, session=True)
        until(lambda: "up\n" in self.lab.log(ref), what="up")
        return ref

    def connect(self, ref: EngineRef, port: int = PORT) -> socket.socket:
        joined = self.legs.connect(self.lab.attempt(ref), job_id=JOB, port=port)
        joined.settimeout(PATIENCE_S)
        return joined

    def pids(self, ref: EngineRef) -> list[int]:
        """Of the session's leg."""
        return [pid for pid in processes_that_name(ref) if pid in processes_that_name("leg.py")]

    def over(self, ref: EngineRef) -> None:
        self.legs.end(ref)
        self.lab.engine.cancel(ref)
        self.lab.wait(ref)


@pytest.fixture
def site(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield Site(tmp_path, lab, monkeypatch)


def test_bytes_come_and_go_each_way_ended_on_its_own(site: Site) -> None:
    ref = site.session()
    data = os.urandom(5_000_000)
    assert sha256(echoed(site.connect(ref), data)).digest() == sha256(data + b" end").digest()
    parts = [os.urandom(200_000) for _ in range(20)]
    joined = [site.connect(ref) for _ in parts]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(echoed, joined, parts)) == [part + b" end" for part in parts]
    assert site.times_begun == 1
    with pytest.raises(NotReached, match="Nothing listens on its port 8001"):
        site.connect(ref, 8001)
    site.over(ref)


def test_a_slow_reader_holds_up_its_own_connection_alone(site: Site) -> None:
    ref = site.session()
    with site.connect(ref) as slow:
        sending = threading.Thread(target=_send_until_cut, args=(slow,), daemon=True)
        sending.start()
        time.sleep(0.3)  # so that what may wait unread does
        assert echoed(site.connect(ref), b"quick") == b"quick end"
        slow.shutdown(socket.SHUT_RDWR)
        sending.join(PATIENCE_S)
    site.over(ref)


def _send_until_cut(slow: socket.socket) -> None:
    try:
        for _ in range(1000):
            slow.sendall(bytes(1 << 16))
    except OSError:
        return


def test_a_killed_leg_breaks_its_connections_and_the_next_one_stands(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents_side, "AGAIN_S", 0.5)
    ref = site.session()
    with site.connect(ref) as joined:
        [pid] = site.pids(ref)
        os.kill(pid, signal.SIGKILL)
        assert joined.recv(10) == b""
    assert echoed(site.connect(ref), b"again") == b"again end"
    assert site.times_begun == 2
    site.over(ref)
    until(lambda: not site.pids(ref), what="no leg")


def test_a_leg_whose_agent_is_gone_or_that_hangs_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_side, "AGAIN_S", 0.0)
    monkeypatch.setattr(agents_side, "BEAT_S", 0.1)
    monkeypatch.setattr(agents_side, "_END_S_MAX", 0.2)
    ref = site.session()
    with site.connect(ref) as joined:
        [pid] = site.pids(ref)
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(leg, "SILENT_S_MAX", 0.5)
        assert joined.recv(10) == b""
    until(lambda: pid not in site.pids(ref), what="the one that hung is killed")
    monkeypatch.setattr(leg, "SILENT_S_MAX", 30.0)
    assert echoed(site.connect(ref), b"again") == b"again end"
    site.over(ref)
    until(lambda: not site.pids(ref), what="no leg")


def test_a_leg_that_nobody_uses_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_side, "AGAIN_S", 0.0)
    monkeypatch.setattr(agents_side, "BEAT_S", 0.1)
    ref = site.session()
    with site.connect(ref) as joined:
        monkeypatch.setattr(agents_side, "IDLE_S_MAX", 0.5)
        time.sleep(1)
        joined.sendall(b"used")
        assert joined.recv(10) == b"used"
    until(lambda: not site.pids(ref), what="no leg")
    monkeypatch.setattr(agents_side, "IDLE_S_MAX", 600.0)
    assert echoed(site.connect(ref), b"again") == b"again end"
    site.over(ref)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo \"srun: unrecognized option '--overlap'\" >&2; exit 1", "no way to its node: .*'--overlap'"),
        ("echo words of a prolog; exit 0", "no way to its node"),
        ("cat /dev/zero", "no way to its node"),
        (r"printf '\nmosu leg\n\377\377\377\377'; sleep 20", "broke the protocol: a message of 4294967295"),
        (
            r"printf '\nmosu leg\n\000\000\000\001ab'; sleep 20",
            "broke the protocol: a message without its end",
        ),
        (
            r"printf '\nmosu leg\n\000\000\000\005\001\000\000\000\001\n'; sleep 20",
            "broke the protocol: opened",
        ),
        ("echo 'srun: step creation temporarily disabled' >&2; exec sleep 20", "not open yet.*temporarily"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_and_not_asked_for_at_once_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(agents_side, "AGAIN_S", PATIENCE_S)
    monkeypatch.setattr(agents_side, "_END_S_MAX", 0.2)
    site.srun_does(script)
    folder = site.lab.attempt(NOBODYS)

    def refused() -> str:
        with pytest.raises(NotReached) as caught:
            site.legs.connect(folder, job_id=JOB, port=PORT)
        return str(caught.value)

    if "not open yet" in why:
        monkeypatch.setattr(agents_side, "PATIENCE_S", 0.2)
        until(lambda: re.search(why, refused()), what=why)
    else:
        assert re.search(why, said := refused()), said
        monkeypatch.setattr(agents_side, "PATIENCE_S", 0.2)
    for _ in range(2):
        assert re.search(f"{why}|try again", said := refused()), said
    known = site.legs._legs[folder.name]
    assert site.times_begun == 1
    site.legs.end(folder.name)
    until(lambda: bool(known.why_over), what="it is over")


def test_the_program_may_be_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NotReached, match="srun: No such file"):
        site.legs.connect(site.lab.folder / NOBODYS, job_id=JOB, port=PORT)


def test_a_prolog_may_have_printed_before(site: Site) -> None:
    site.srun_does(f"echo module loaded; {GOOD}")
    ref = site.session()
    assert echoed(site.connect(ref), b"asked") == b"asked end"
    site.over(ref)


def test_as_many_connections_as_may_be(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_side, "STREAMS_MAX", 3)
    ref = site.session()
    with ExitStack() as open_here:
        for _ in range(3):
            open_here.enter_context(site.connect(ref))
        with pytest.raises(NotReached, match="as many connections"):
            site.connect(ref)
    until(lambda: echoed_if_room(site, ref) == b"asked end", what="room again")
    site.over(ref)


def echoed_if_room(site: Site, ref: EngineRef) -> bytes:
    try:
        return echoed(site.connect(ref), b"asked")
    except NotReached:
        return b""


def message(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame + b"\n"


class Alone:
    """A leg that this test speaks with itself."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", leg.__file__, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.into, self.out, self.errors = self.process.stdin, self.process.stdout, self.process.stderr
        assert self.out.read(len(leg.SIGN)) == leg.SIGN

    def says(self, data: bytes) -> None:
        self.into.write(data)
        self.into.flush()

    def frame(self) -> bytes:
        """The next that is not empty."""
        while not (length := int.from_bytes(self.out.read(4), "big")):
            assert self.out.read(1) == b"\n"
        return self.out.read(length + 1)[:-1]

    def ended(self) -> tuple[int, str]:
        with self.into, self.out, self.errors:
            self.into.close()
            return self.process.wait(PATIENCE_S), self.errors.read().decode()


def test_a_leg_goes_to_its_own_session_alone(site: Site) -> None:
    mine, others = site.session(), site.session()
    alone = Alone(site.lab.attempt(mine))
    for number, (ref, said) in enumerate(
        [(others, b"This leg goes to another session."), (NOBODYS, b"This leg")]
    ):
        target = Target(attempt_id=ref, port=PORT).model_dump_json().encode()
        alone.says(message(packed(FrameKind.OPEN, number, target)))
        answer = alone.frame()
        assert answer[0] == FrameKind.REFUSED and answer[5:].startswith(said)
    assert alone.ended() == (0, "")
    site.over(mine)
    site.over(others)


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff\xff\xff", b"\0\0\0\1xx", message(b"\1\0\0\0\1{}"), message(b"\x63\0\0\0\1")]
)
def test_a_leg_that_hears_garbage_ends(lab: Lab, garbage: bytes) -> None:
    alone = Alone(lab.folder)
    alone.says(garbage)
    alone.process.wait(PATIENCE_S)  # by itself
    code, said = alone.ended()
    assert code == 1 and "Garbled" in said.splitlines()[-1]


def test_a_leg_that_hears_nothing_ends(lab: Lab) -> None:
    """As one does whose `srun` was killed, when nobody closes its input."""
    code = (
        "import asyncio, sys; from pathlib import Path; from mosu.site_agent import leg\n"
        "leg.SILENT_S_MAX, leg.BEAT_S = 0.5, 0.1\n"
        "asyncio.run(leg._serve(Path(sys.argv[1])))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, lab.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as alone:
        assert alone.wait(PATIENCE_S) == 0
