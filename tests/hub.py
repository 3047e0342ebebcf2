"""A whole hub of `mosu up` on a free port and an empty folder, for tests, benchmarks and tutorials."""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOSU = (sys.executable, "-c", "import sys; from mosu.cli.main import main; sys.exit(main())")
START_S_MAX = 300.0
LOG_CHARACTERS_MAX = 2500
LAID = "MOSU_TEST_LAID"
"""Names the folder of a session of tests where one hub is laid for all: its first start takes longer than the others."""


@dataclass(frozen=True)
class Hub:
    """A running hub."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    env: Mapping[str, str]

    def mosu(
        self, *arguments: str, token: str | None = None, timeout: float = 300, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the `mosu` command against this hub."""
        env = {**self.env, "MOSU_URL": self.url} | ({"MOSU_TOKEN": token} if token else {})
        return subprocess.run(
            [*MOSU, *arguments], env=env, capture_output=True, text=True, timeout=timeout, **options
        )

    def bootstrap(
        self, *, email: str, organisation: str, capabilities: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """What `mosu admin bootstrap --json` printed."""
        flags = [flag for capability in capabilities for flag in ("--capability", capability)]
        done = self.mosu(
            "admin", "bootstrap", "--email", email, "--organisation", organisation, *flags, "--json"
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def last_words(self) -> str:
        """The last that it and each of its parts noted: its folder does not outlive what went wrong."""
        return last_words_of(self.data_dir.parent)


def last_words_of(folder: Path) -> str:
    """Of the hub in that folder."""
    logs = [folder / "up.log", *sorted((folder / "data" / "logs").glob("*.log"))]
    ends = {log: log.read_text(errors="replace")[-LOG_CHARACTERS_MAX:] for log in logs if log.exists()}
    return "\n".join(f"{log.name} ends:\n{end.strip()}" for log, end in ends.items() if end.strip())


def free_port() -> int:
    """A port that nobody holds, below those that the kernel gives away; nor does anybody hold the next, which a hub
    gives to its relay.

    Both stay this process's until it ends, whenever they are bound: suites that run side by side draw from the same
    ports, and a server may take a minute to bind its own.
    """
    folder = Path(tempfile.gettempdir()) / "mosu-test-ports"
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # another user's already
        folder.chmod(0o777)
    for port in random.sample(range(20_000, 32_000, 2), 200):
        if _is_ours(folder / str(port)) and _is_free(port) and _is_free(port + 1):
            return port
    raise RuntimeError("200 ports between 20000 and 32000 are taken")


def _is_ours(place: Path) -> bool:
    """Whether this process has it from now on; the kernel lets go when it ends, and so the file is never closed."""
    try:
        held = os.open(place, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def running_hub(*, data_dir: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[Hub]:
    """A hub that answers. Without `data_dir`, in a new folder that is removed afterwards.

    There it was started before, where a session of tests says so (`LAID`): nobody has used it yet.
    """
    folder = data_dir or Path(tempfile.mkdtemp(prefix="mosu-hub-"))
    folder.chmod(0o755)
    if data_dir is None and LAID in os.environ:
        subprocess.run(["cp", "-a", _laid(Path(os.environ[LAID])), folder / "data"], check=True)
    port = free_port()
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    source = str(Path(__file__).parents[1] / "src")
    full = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "PYTHONPATH": source,
        "MOSU_DATA_DIR": str(folder / "data"),
        "MOSU_PORT": str(port),
        **(env or {}),
    }
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen([*MOSU, "up", "--port", str(port)], env=full, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process)
            yield Hub(url=url, data_dir=folder / "data", process=process, env=full)
        except BaseException as failure:
            failure.add_note(last_words_of(folder))
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if data_dir is None:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(home, ignore_errors=True)


def _laid(folder: Path) -> Path:
    """The data of a hub that was started and stopped, once for all processes of the tests."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made := folder / "made").exists():
            first = Path(tempfile.mkdtemp(dir=folder))
            with running_hub(data_dir=first):
                pass
            (first / "data").rename(made)
        return made


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("the hub did not become ready")
