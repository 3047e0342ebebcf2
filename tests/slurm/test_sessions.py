"""Sessions on a real Slurm: reached on their node by a step of their job, which changes nothing else of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.site_agent.engines.protocol import EngineRef
from mosu.site_agent.engines.slurm import legs, trying
from mosu.wire.agent import AttemptPhase, ServiceSpec
from mosu.wire.ssh import SSHD
from tests.site_agent.contract import end_of, let_go, log_of, seconds_of, seen, started
from tests.site_agent.echo import ECHO, echoed
from tests.site_agent.lab import WAITS, processes_that_name, until
from tests.slurm.cluster import CORES
from tests.slurm.fixtures import CARD, SLOW_S, SlurmBench
from tests.slurm.test_engine import accounts

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]
PORT = 8000
ENDS_WITH_3 = ECHO.replace('joined.sendall(b" end")', "os._exit(3)")


def served(bench: SlurmBench, code: str = ECHO, **changes: Any) -> EngineRef:
    """A session on the second node that runs, and listens."""
    spec = bench.spec(f"python3 - <<'PY'\n{code}\nPY", session=True, nodes=("n2",), **changes)
    return started(bench, spec, says="up")


def connected(bench: SlurmBench, ref: EngineRef, port: int = PORT) -> socket.socket:
    joined = bench.engine.connect(ref, port)
    joined.settimeout(SLOW_S)
    return joined


def legs_of(ref: EngineRef) -> list[int]:
    """The processes of its leg on the node, without those of `srun` and Slurm's own."""
    found = []
    for pid in processes_that_name(ref):
        with suppress(OSError):  # it may just end
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"python" in words[0] and any(word.endswith(b"/leg.py") for word in words):
                found.append(pid)
    return found


def over(bench: SlurmBench, ref: EngineRef) -> None:
    bench.engine.cancel(ref)
    assert end_of(bench, ref).seen.phase == AttemptPhase.CANCELLED


def test_bytes_reach_a_session_on_its_node_and_come_back(bench: SlurmBench) -> None:
    ref = served(bench)
    data = os.urandom(5_000_000)
    assert echoed(connected(bench, ref), data) == data + b" end"
    parts = [os.urandom(50_000) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        came = list(threads.map(lambda part: echoed(connected(bench, ref), part), parts))
    assert came == [part + b" end" for part in parts]
    [pid] = legs_of(ref)
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"SLURMD_NODENAME=n2" in environment
    facts = (bench.attempt(ref) / "dial.sock").stat()
    assert (facts.st_uid, facts.st_mode & 0o777) == (os.geteuid(), 0o600)
    with pytest.raises(NotReached, match="Nothing listens on its port 8001"):
        bench.engine.connect(ref, 8001)
    over(bench, ref)


def test_a_leg_changes_nothing_of_its_job_and_goes_with_it(bench: SlurmBench) -> None:
    """Neither its exit code, nor its end, nor what is billed."""
    ref = served(bench, ENDS_WITH_3, cores=2, accelerator=CARD, devices=((0, 1),))
    claim = (bench.attempt(ref) / "claim").read_text()
    with connected(bench, ref) as stays, connected(bench, ref) as asks:
        stays.sendall(b"x")
        assert stays.recv(1) == b"x"
        assert f"{claim}.0" in _steps(bench)
        time.sleep(1.1)  # so that a second more or less would be seen
        asks.shutdown(socket.SHUT_WR)
        ended = end_of(bench, ref)
        assert stays.recv(10) == b""
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 3), ended
    [[_, state, _, elapsed, tres]] = accounts(bench, ref)
    assert state == "FAILED" and seconds_of(ended.seen) == int(elapsed) >= 1
    assert ended.seen.units == {"core_second": 2, "card_second": 2}
    assert "cpu=2," in f"{tres}," and "gres/gpu=2" in tres
    until(lambda: not processes_that_name(ref), what="no process of it")
    until(lambda: f"{claim}.0" not in _steps(bench), what="no step of it")
    assert not (bench.attempt(ref) / "dial.sock").exists()
    with pytest.raises(NotReached, match="not running"):
        bench.engine.connect(ref, PORT)


def _steps(bench: SlurmBench) -> list[str]:
    return bench.cluster.ask("squeue", "-h", "--steps", "-o", "%i").split()


def test_a_killed_leg_costs_the_session_nothing(bench: SlurmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "AGAIN_S", 0.0)
    ref = served(bench)
    with connected(bench, ref) as joined:
        joined.sendall(b"x")
        assert joined.recv(1) == b"x"
        [pid] = legs_of(ref)
        os.kill(pid, signal.SIGKILL)
        assert joined.recv(10) == b""
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    assert echoed(connected(bench, ref), b"again") == b"again end"
    over(bench, ref)


def test_without_slurmctld_who_is_joined_stays_and_who_comes_is_joined_or_told_why(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "AGAIN_S", 0.0)
    ref = served(bench)
    with connected(bench, ref) as joined:
        with bench.without_daemon():
            joined.sendall(b"x")
            assert joined.recv(1) == b"x"
            assert echoed(connected(bench, ref), b"more") == b"more end"
            other = bench.restarted()
            monkeypatch.setattr(legs, "PATIENCE_S", 3.0)
            began = time.monotonic()
            with pytest.raises(NotReached, match=r"no way to its node|not open yet"):
                other.connect(ref, PORT)
            assert time.monotonic() - began < SLOW_S / 2
            monkeypatch.setattr(legs, "OPEN_S_MAX", 15.0)  # a step that Slurm puts off is tried anew
        joined.sendall(b"y")
        assert joined.recv(1) == b"y"
    assert seen(bench, ref).phase == AttemptPhase.RUNNING

    def comes_back() -> bool:
        try:
            return echoed(other.connect(ref, PORT), b"back") == b"back end"
        except NotReached:
            return False

    until(comes_back, what="the way comes back", every_s=0.2)
    over(bench, ref)


def test_a_killed_agents_leg_ends_and_its_successor_has_its_own(bench: SlurmBench) -> None:
    ref = served(bench)
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from mosu.site_agent.engines.slurm import legs\n"
        "from mosu.site_agent.engines.slurm.engine import SlurmEngine\n"
        "from mosu.site_agent.engines.slurm.options import options_of\n"
        f"legs.PATIENCE_S = {SLOW_S}\n"
        f"engine = SlurmEngine(Path({str(bench.folder / 'state')!r}), options=options_of({{'sessions': True}}),"
        " environments=[], disk_bytes=1)\n"
        f"joined = engine.connect({ref!r}, {PORT})\n"
        "joined.sendall(b'x'); assert joined.recv(1) == b'x'\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, env={**os.environ, "PYTHONPATH": "src:."}
    )
    assert killed.returncode == -signal.SIGKILL
    until(lambda: not legs_of(ref), what="its leg ends")
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    assert echoed(connected(bench, ref), b"next") == b"next end"
    over(bench, ref)


def test_a_leg_that_cannot_stand_says_why(bench: SlurmBench) -> None:
    ref = served(bench)
    bench.options = replace(bench.options, python="/nowhere/python")
    with pytest.raises(NotReached, match="/nowhere/python"):
        bench.restarted().connect(ref, PORT)
    (bench.attempt(ref) / "claim").write_text("999999")
    with pytest.raises(NotReached, match="nvalid job id"):
        connected(bench, ref)
    bench.cluster.ask("scancel", f"--name={ref}")
    until(lambda: not processes_that_name(ref), what="ended")


def test_whether_people_come_to_sessions_is_found_out_once(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench.options = replace(bench.options, sessions=None)
    assert bench.restarted().reaches
    assert bench.engine.has_sshd == os.access(SSHD, os.X_OK)  # also where it is set that they are reached
    assert (bench.folder / "state" / "sessions.json").exists()
    tries = ("squeue", "-h", "--states=PENDING,RUNNING", "-o", "%k")
    until(lambda: trying.COMMENT not in bench.cluster.ask(*tries), what="its job is ended")
    (tmp_path / "srun").write_text("#!/bin/sh\necho \"srun: unrecognized option '--overlap'\" >&2; exit 1\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (
        bench.restarted().reaches and bench.restarted().has_sshd == bench.engine.has_sshd
    )  # not asked again
    (bench.folder / "state" / "sessions.json").unlink()
    bench.engine = bench.restarted()
    assert "unrecognized option '--overlap'" in bench.engine.unreached and not bench.engine.has_sshd
    spec = bench.spec(session=True)
    with pytest.raises(Invalid, match="Nobody can be joined"):
        bench.engine.workdir(spec.attempt_id)
        bench.engine.submit(spec)
    with pytest.raises(NotReached, match="--overlap"):
        bench.engine.connect(EngineRef(spec.attempt_id), PORT)


def test_a_cluster_that_was_busy_is_tried_again(bench: SlurmBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "NODE_S_MAX", 0.5)
    monkeypatch.setattr(trying, "AGAIN_S_MIN", 0.5)
    bench.options = replace(bench.options, sessions=None)
    bench.engine = bench.restarted()
    holders = [started(bench, bench.spec(WAITS, nodes=(node,), cores=CORES)) for node in ("n1", "n2")]
    assert "no node was free" in bench.engine.unreached
    monkeypatch.setattr(trying, "NODE_S_MAX", SLOW_S)
    for holder in holders:
        let_go(bench, holder)
    until(lambda: bench.engine.reaches, what="sessions are sold after all")
    for holder in holders:
        assert end_of(bench, holder).ok


def test_a_cluster_whose_nodes_have_no_sshd_says_so(
    bench: SlurmBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "SSHD", "/nowhere/sshd")
    assert not bench.engine.has_sshd
    monkeypatch.undo()
    assert not bench.restarted().has_sshd  # once found, it is known
    (bench.folder / "state" / "sessions.json").unlink()
    assert bench.restarted().has_sshd


def test_a_supplier_may_sell_none(bench: SlurmBench) -> None:
    bench.options = replace(bench.options, sessions=False)
    engine = bench.restarted()
    assert not engine.reaches and "sessions = false" in engine.unreached and not engine.has_sshd


def test_a_session_has_one_node(bench: SlurmBench) -> None:
    spec = bench.spec(session=True, nodes=("n1", "n2"))
    with pytest.raises(Invalid, match="one node"):
        bench.engine.workdir(spec.attempt_id)
        bench.engine.submit(spec)


def test_a_service_is_kept_up_there_too(bench: SlurmBench) -> None:
    ref = started(
        bench,
        bench.spec(
            f"python3 - <<'PY'\n{ENDS_WITH_3}\nPY",
            session=True,
            nodes=("n2",),
            service=ServiceSpec(port=PORT),
        ),
        says="up",
    )
    with connected(bench, ref) as joined:
        joined.shutdown(socket.SHUT_WR)
        assert joined.recv(10) == b""
    until(lambda: log_of(bench, ref).count("up\n") == 2, what="it is up again")
    assert len(legs_of(ref)) == 1
    over(bench, ref)
