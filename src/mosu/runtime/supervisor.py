"""Keeps the parts of a hub running: starts them in order, restarts what dies, stops them in reverse.

One thread, one loop: it reads what the parts print, steps each part's state and shows what changed.
"""

import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mosu.kernel.refusals import DomainError
from mosu.runtime.children import die_with_parent
from mosu.runtime.folders import ServiceUser
from mosu.runtime.logs import PartLog
from mosu.runtime.postgres import write_secret
from mosu.runtime.status import PartStatus, Screen

BACKOFF_S_MIN: Final = 0.2
BACKOFF_S_MAX: Final = 10.0
STABLE_S: Final = 10.0
"""A part that ran this long is forgiven its earlier deaths."""
QUIET_S: Final = 1.0
READY_S_MAX: Final = 60.0
"""After this long without being ready, the parts behind it start anyway."""


class AlreadyUp(DomainError):
    """Another mosu runs on this data folder."""

    code = "already_up"


class PartFailed(DomainError):
    """A part that has to end well before the others start did not."""

    code = "part_failed"


class PartState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    DONE = "done"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Part:
    """One process to keep running.

    `before_start` clears what an earlier one left. `ready` is asked until it says yes, at each start; without
    it a part counts as ready when it has not ended within a second. A
    part with `once` is ready when it ended with 0, and `after` is called; the hub does not come up if it
    ends otherwise.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s_max: float = 20.0
    user: ServiceUser | None = None
    once: bool = False
    before_start: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    note: str = ""


@dataclass(slots=True)
class _Running:
    part: Part
    log: PartLog
    state: PartState = PartState.WAITING
    process: subprocess.Popen[bytes] | None = None
    first_started_at: float = 0.0
    started_at: float = 0.0
    start_again_at: float = 0.0
    backoff_s: float = BACKOFF_S_MIN
    restarts: int = 0
    was_ready: bool = False
    last_exit: int | None = None


class Supervisor:
    """Runs `parts` until told to stop.

    `facts` stand in the status file beside the parts' states. `on_ready` is called once, when every part has
    been ready. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        logs_dir: Path,
        screen: Screen,
        status_file: Path | None = None,
        facts: Mapping[str, str | int] = MappingProxyType({}),
        on_ready: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running = [
            _Running(part, PartLog(logs_dir / f"{part.name}.log", part=part.name)) for part in parts
        ]
        self._screen = screen
        self._status_file = status_file
        self._facts = dict(facts)
        self._on_ready = on_ready
        self._clock = clock
        self._all_ready = False
        self._stops_asked = 0
        self._selector = selectors.DefaultSelector()

    def stop(self) -> None:
        """Ask the loop to end; asked again, it stops waiting for the parts."""
        self._stops_asked += 1

    def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP; then everything is stopped, last started first.

        Raises:
            PartFailed: a part with `once` ended badly; everything else was stopped.
        """
        with self._signals():
            try:
                while not self._stops_asked:
                    self._step()
                    self._read_output(timeout_s=0.05 if not self._all_ready else 0.5)
            finally:
                self._stop_all()

    def _step(self) -> None:
        for running in self._running:
            self._step_part(running)
            if not running.was_ready and (
                running.part.once or self._clock() < running.first_started_at + READY_S_MAX
            ):
                break  # those behind it wait
        self._show()
        if not self._all_ready and all(running.was_ready for running in self._running):
            self._all_ready = True
            self._on_ready()

    def _step_part(self, running: _Running) -> None:
        if running.state in (PartState.WAITING, PartState.RESTARTING):
            if self._clock() >= running.start_again_at:
                self._start_or_wait(running)
        elif running.process is not None and running.process.poll() is not None:
            self._ended(running, running.process.returncode)
        elif running.state is PartState.STARTING and not running.part.once and self._is_ready(running):
            running.state = PartState.READY
            running.was_ready = True
        elif running.state is PartState.READY and self._clock() > running.started_at + STABLE_S:
            running.backoff_s = BACKOFF_S_MIN

    def _is_ready(self, running: _Running) -> bool:
        if running.part.ready is None:
            return self._clock() >= running.started_at + QUIET_S
        return running.part.ready()

    def _start_or_wait(self, running: _Running) -> None:
        """What ran before and cannot be started now, as on a full disk, is tried again; the rest goes on."""
        try:
            self._start(running)
        except OSError as error:
            if not running.was_ready:
                raise
            self._try_again(running, f"cannot be started: {error.strerror or error}")

    def _start(self, running: _Running) -> None:
        part = running.part
        running.started_at = self._clock()
        running.first_started_at = running.first_started_at or running.started_at
        part.before_start()
        running.process = subprocess.Popen(
            part.argv,
            env=part.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=part.user.uid if part.user else None,
            group=part.user.gid if part.user else None,
            extra_groups=[] if part.user else None,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which stops in order
            preexec_fn=die_with_parent(part.stop_signal),  # noqa: PLW1509 - this process has one thread
        )
        if running.process.stdout is not None:
            os.set_blocking(running.process.stdout.fileno(), False)
            self._selector.register(running.process.stdout, selectors.EVENT_READ, running)
        running.state = PartState.STARTING

    def _ended(self, running: _Running, code: int) -> None:
        self._forget(running)
        running.last_exit = code
        if running.part.once:
            if code != 0:
                running.state = PartState.STOPPED
                raise PartFailed(
                    f"{running.part.name} failed (exit code {code}). {running.log.last_words()}",
                    hint=f"Read {running.log.path}, then run: mosu doctor",
                )
            running.part.after()
            running.state, running.was_ready = PartState.DONE, True
            return
        self._try_again(running, f"ended with {code}")

    def _try_again(self, running: _Running, why: str) -> None:
        running.log.write_event(f"{why}, starts again in {running.backoff_s:.1f} s")
        running.state = PartState.RESTARTING
        running.restarts += 1
        running.start_again_at = self._clock() + running.backoff_s
        running.backoff_s = min(running.backoff_s * 2, BACKOFF_S_MAX)

    def _forget(self, running: _Running) -> None:
        """Read the last words, and end what the process left behind in its group."""
        process = running.process
        if process is None:
            return
        running.process = None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            self._drain(process.stdout.fileno(), running)
            with suppress(KeyError):
                self._selector.unregister(process.stdout)
            process.stdout.close()

    def _read_output(self, *, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            if isinstance(key.data, _Running):
                if not self._drain(key.fd, key.data):
                    self._selector.unregister(key.fileobj)
            else:
                with suppress(BlockingIOError):
                    os.read(key.fd, 4096)

    def _drain(self, fd: int, running: _Running) -> bool:
        """Take what is there; False at the end of the stream."""
        for _ in range(64):
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            running.log.write(data)
        return True

    def _stop_all(self) -> None:
        for running in reversed(self._running):
            self._stop_part(running)
            running.log.close()
        self._screen.close()
        if self._status_file is not None:
            self._status_file.unlink(missing_ok=True)
        self._selector.close()

    def _stop_part(self, running: _Running) -> None:
        process = running.process
        if process is not None:
            running.state = PartState.STOPPING
            self._show()
            with suppress(ProcessLookupError):
                process.send_signal(running.part.stop_signal)
            deadline = time.monotonic() + running.part.stop_s_max
            while process.poll() is None and time.monotonic() < deadline and self._stops_asked < 2:
                self._read_output(timeout_s=0.05)
            if process.poll() is None:
                process.kill()
                process.wait()
            self._forget(running)
        running.state = PartState.STOPPED
        self._show()

    def _show(self) -> None:
        parts = {running.part.name: _status(running) for running in self._running}
        notes = {
            running.part.name: running.part.note
            for running in self._running
            if running.state is PartState.READY
        }
        if self._screen.show(parts, notes=notes) and self._status_file is not None:
            self._write_status(self._status_file, parts)

    def _write_status(self, path: Path, parts: Mapping[str, PartStatus]) -> None:
        told = {name: asdict(part) for name, part in parts.items()}
        with suppress(OSError):  # a full disk: what was written last stays
            write_secret(path, json.dumps({"pid": os.getpid(), **self._facts, "parts": told}))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals wake the loop at once: a stop asked for, or a child that ended."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ)
        wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: self.stop()) for number in _STOP_SIGNALS}
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup_before)
            reader.close()
            writer.close()


_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _status(running: _Running) -> PartStatus:
    return PartStatus(
        state=running.state.value,
        pid=running.process.pid if running.process else None,
        restarts=running.restarts,
        last_exit=running.last_exit,
    )


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for this process; the kernel lets go of it however the process ends.

    Raises:
        AlreadyUp: another process holds it; named by its process id.
    """
    with (data_dir / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyUp(
                f"mosu already runs on {data_dir} (process {pid}).",
                hint=f"Stop it first: kill {pid}",
                pid=pid,
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
