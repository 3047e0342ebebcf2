"""A real Ray on one machine, for tests: its head is its only node. `make test-ray` installs it."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
from tests.hub import free_port

RAY: Final = Path(os.environ.get("MOSU_TEST_RAY", Path(__file__).parents[2] / ".venv-ray" / "bin" / "ray"))
NODE: Final = "127.0.0.2"
"""Ray takes 127.0.0.1 for the machine's outer address."""
CORES: Final = 4
CARDS: Final = 2
_GOES_ON: Final = frozenset({"PENDING", "RUNNING"})
_JOB_S_MAX: Final = 60.0
"""The next one is tried then."""
_UP_S_MAX: Final = 300.0


class RayHead:
    """Killed and started again it is another cluster at the same address: Ray keeps nothing of the first."""

    def __init__(self, folder: Path, *, cores: int = CORES) -> None:
        self._folder, self._cores = folder, cores
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begun anew where it gave up: some of its parts wait half a minute for others, however busy the machine is."""
        assert RAY.exists(), f"there is no {RAY}: run make test-ray"
        until = time.monotonic() + _UP_S_MAX
        self._begin()
        for ready in (self._answers, self._runs_jobs):  # who answers may have nobody yet to start a job
            while not ready():
                assert time.monotonic() < until, self.said()
                if not self.is_up:
                    self.kill()
                    self._begin()
                time.sleep(0.2)

    def _begin(self) -> None:
        temp = tempfile.mkdtemp(dir=self._folder)  # short: Ray's sockets lie below it
        ports = {
            name: free_port()
            for name in (
                "port",
                "dashboard-agent-listen-port",
                "dashboard-agent-grpc-port",
                "metrics-export-port",
                "ray-client-server-port",
                "node-manager-port",
                "object-manager-port",
                "runtime-env-agent-port",
            )
        }
        with (self._folder / "ray.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(RAY, "start", "--head", "--block", "--disable-usage-stats"),
                    *(f"--node-ip-address={NODE}", f"--temp-dir={temp}"),
                    *("--dashboard-host=127.0.0.1", f"--dashboard-port={self._port}"),
                    *(f"--num-cpus={self._cores}", f"--num-gpus={CARDS}", "--memory=4000000000"),
                    "--object-store-memory=80000000",
                    *(f"--{name}={number}" for name, number in ports.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # What nodes have is Python and the shared folder: nothing of these tests' environment.
                env={
                    "PATH": f"{RAY.parent}:/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "RAY_DISABLE_MEMORY_MONITOR": "1",
                },
            )

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """All of it at once, as a power cut would, and what it was just starting."""
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.wait()
            time.sleep(0.05)

    def clear(self) -> None:
        """End what a test left, which would take cores and cards from others."""
        until = time.monotonic() + _UP_S_MAX
        while left := [job["submission_id"] for job in self._jobs() if job["status"] in _GOES_ON]:
            assert time.monotonic() < until, f"{left} do not end"
            for job in left:
                self._ask("POST", f"/api/jobs/{job}/stop")
            time.sleep(0.2)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """What answers HTTP stands still; jobs go on."""
        pids = [pid for pid in self._pids() if b"dashboard/dashboard.py" in _command(pid)]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def said(self) -> str:
        return (self._folder / "ray.log").read_text()[-2000:]

    def _answers(self) -> bool:
        with suppress(KeyError, TypeError, ValueError):
            found = self._ask("GET", "/api/v0/nodes")
            return found is not None and bool(found.json()["data"]["result"]["result"])
        return False

    def _runs_jobs(self) -> bool:
        if (tried := self._ask("POST", "/api/jobs/", json={"entrypoint": "true"})) is None:
            return False
        until = time.monotonic() + _JOB_S_MAX
        while time.monotonic() < until and self.is_up:
            found = self._ask("GET", f"/api/jobs/{tried.json()['submission_id']}")
            if found is not None and found.json()["status"] not in _GOES_ON:
                return bool(found.json()["status"] == "SUCCEEDED")
            time.sleep(0.2)
        return False

    def _jobs(self) -> list[dict[str, Any]]:
        found = self._ask("GET", "/api/jobs/")
        return [] if found is None else [job for job in found.json() if job["submission_id"]]

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """None: no answer, or a bad one."""
        with suppress(httpx.HTTPError):
            answer = httpx.request(method, f"{self.address}{path}", timeout=30, trust_env=False, **content)
            return answer if answer.is_success else None
        return None

    def _pids(self) -> list[int]:
        """Every process of it, jobs' own too: what descends from it, and what has its folder in its command."""
        parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
        needle = str(self._folder).encode()
        head = self._process.pid if self.is_up and self._process is not None else 0
        found = {pid for pid in parents if pid == head or needle in _command(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {os.getpid()})


def _parent(pid: int) -> int:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _command(pid: int) -> bytes:
    return _read(Path(f"/proc/{pid}/cmdline"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def running_ray(*, cores: int = CORES) -> Iterator[RayHead]:
    """A head that takes jobs, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mosu-ray-", dir="/tmp"))
    folder.chmod(0o755)
    head = RayHead(folder, cores=cores)
    try:
        head.start()
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)
