"""What a keystroke through mosu takes longer: `mosu ssh` into a session, and plain `ssh` to the same server beside it.

Both are ssh in a terminal of its own, with OpenSSH's server behind it and `cat`, which gives back what is typed.
"""

import getpass
import os
import pty
import select
import signal
import socket
import subprocess
import tempfile
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.hub import MOSU, Hub, free_port

from benchmarks.bars import Figure
from benchmarks.hubs import Buyer
from mosu.client import Client
from mosu.wire.ssh import SSHD

TASK: Final = "resources: {cpus: 1, memory: 1}\nmosu: {kind: session, apps: [ssh], wall_limit: 30m}\n"
ECHO: Final = "stty raw -echo; printf 'rea''dy'; exec cat"
_WAITS_S: Final = 180.0
_PAUSE_S: Final = 0.02
"""Between two keystrokes: nobody types faster, and nothing queues."""


def echoed(hub: Hub, buyer: Buyer, *, keystrokes: int) -> list[Figure]:
    """Milliseconds from a keystroke to its echo, in turn without mosu and with it."""
    with Client(hub.url, buyer.token) as client:
        run_id = _session(client)
        env = {**hub.env, "MOSU_URL": hub.url, "MOSU_TOKEN": buyer.token, "TERM": "xterm"}
        with (
            _server() as bare,
            _typing(bare, env) as plain,
            _typing([*MOSU, "ssh", run_id, "-t", ECHO], env) as through,
        ):
            took: dict[int, list[float]] = {plain: [], through: []}
            for _ in range(keystrokes):
                for terminal, found in took.items():
                    time.sleep(_PAUSE_S)
                    found.append(_echo_ms(terminal))
        client.cancel_run(run_id)
    figures = []
    for name, share, bar in (("median", 0.5, 10.0), ("p99", 0.99, None)):
        straight, led = (sorted(found)[int((len(found) - 1) * share)] for found in took.values())
        note = f"{keystrokes} keystrokes: {straight:.2f} ms to a server on this machine, {led:.2f} ms into a session"
        figures.append(
            Figure(f"ssh, added to a keystroke's echo, {name}", led - straight, "ms", bar, note=note)
        )
    return figures


def _session(client: Client) -> str:
    until = time.monotonic() + _WAITS_S
    while not (quotes := client.make_quotes(TASK, vouchers="none").quotes):
        if time.monotonic() > until:
            raise RuntimeError("no quote for a session")
        time.sleep(0.5)
    order = client.accept(quotes[0].id)
    assert order.run_id is not None  # noqa: S101 - the compute shelf always makes one
    return order.run_id


def _echo_ms(terminal: int) -> float:
    began = time.perf_counter()
    os.write(terminal, b"x")
    _read(terminal, b"x")
    return (time.perf_counter() - began) * 1000


def _read(terminal: int, wanted: bytes) -> None:
    until, found = time.monotonic() + _WAITS_S, b""
    while not found.endswith(wanted):
        if not select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
            raise RuntimeError(f"no {wanted!r} after {found!r}")
        found += os.read(terminal, 4096)


@contextmanager
def _typing(command: Sequence[str], env: Mapping[str, str]) -> Iterator[int]:
    """A terminal in which `command` runs and gives back what is typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], list(command), dict(env))  # noqa: S606
    tty.setraw(terminal)
    try:
        _read(terminal, b"ready")
        yield terminal
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


@contextmanager
def _server() -> Iterator[list[str]]:
    """OpenSSH's server on this machine for this user alone; how plain `ssh` comes to it."""
    port = free_port()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        for key in ("host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(words, check=True)
        (folder / "settings").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "UsePAM no\nStrictModes no\nPidFile none\nPermitRootLogin prohibit-password\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it wants an empty folder there
        process = subprocess.Popen([SSHD, "-D", "-f", str(folder / "settings")])
        try:
            until = time.monotonic() + _WAITS_S
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("sshd does not listen")
                time.sleep(0.05)
            yield [
                *("ssh", "-F", "none", "-i", str(folder / "user"), "-p", str(port), "-t"),
                *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known_hosts", "-q"),
                *(f"{getpass.getuser()}@127.0.0.1", ECHO),
            ]
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
