"""The first process inside a sandbox: runs the payload, reaps everything, tells what it cost.

`bubblewrap.py` binds this file into the sandbox and starts it as process 1, with the status pipe's number, the
payload's limits (`NPROC=64,...`), the file with its variables (`NAME=VALUE`, each ended by a NUL), what starts the
dialler (`LISTENER,COMMAND,...`, empty: none), what is kept up (`PORT/PATH`, empty: the payload is started once) and the
payload's command. It starts with every attempt, so it imports little. It writes lines to the status pipe:

| line | when |
|---|---|
| `started` | the payload was started; of what is kept up, every time |
| `well` | what is kept up answered, for the first time since it was started |
| `stopped EXIT_CODE` | the payload of what is kept up has ended; it will be started again, unless it is to stop |
| `ended EXIT_CODE CPU_MICROSECONDS` | last |

SIGTERM is passed on to every process; SIGUSR1 kills every process; after either nothing is started again. Signals that
the payload sends here do nothing: the kernel shields process 1 from its own namespace unless it has a handler, and
the handlers only ever signal the payload.
"""

import ctypes
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False  # typing takes 10 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable

_AGAIN_S = (0.2, 10.0)
"""Between an end and the next start: the least, and the most after many quick ends."""
_STEADY_S = 30.0
"""What ran for longer is started again at once."""
_LOOK_S = 0.2
_ASK_EVERY_S = 1.0
_ANSWER_S_MAX = 3
_ANSWER_BYTES = 65536
_DEAF_MAX = 3
"""So many questions without an answer, once it has answered, and it is started again."""
_to_stop: list[int] = []


def main(argv: list[str]) -> int:
    status, limits, variables, dialler, kept, command = int(argv[1]), *argv[2:6], argv[6:]
    _hide()
    signal.signal(signal.SIGTERM, lambda number, _frame: _stop(number))
    signal.signal(signal.SIGUSR1, lambda _number, _frame: _stop(signal.SIGKILL))
    if dialler:
        os.set_inheritable(status, False)

    def started() -> int:
        if dialler:
            _start_dialler(dialler, again=bool(kept))
        payload = os.fork()
        if payload == 0:
            _become(command, limits=limits, variables=variables, status=status)
        return payload

    if kept:
        code = _kept_up(started, kept, status)
    else:
        code = _wait_for(started())
        _end_rest()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_micros = round((spent.ru_utime + spent.ru_stime) * 1_000_000)
    os.write(status, f"ended {code} {cpu_micros}\n".encode())
    return code if 0 <= code < 128 else 128 + (code & 127)


def _stop(number: int) -> None:
    _to_stop.append(number)
    _signal_all(number)


def _hide() -> None:
    """Make /proc/1 unreadable to the payload, which has our uid: else it could write to the status pipe."""

    pr_set_dumpable = 4
    ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


def _start_dialler(words: str, *, again: bool) -> None:
    """Returns once it is closed to the payload, or has failed: then nobody is joined to the payload's ports.

    `again`: another one may follow, and callers wait for it meanwhile.
    """
    listener, *command = words.split(",")
    waiting, ready = os.pipe()
    if os.fork() == 0:
        try:
            for fd in (int(listener), ready):
                os.set_inheritable(fd, True)
            os.execv(command[0], [*command, listener, str(ready)])  # noqa: S606
        finally:
            os._exit(127)
    os.close(ready)
    if not again:
        os.close(int(listener))
    os.read(waiting, 1)
    os.close(waiting)


def _become(command: list[str], *, limits: str, variables: str, status: int) -> None:
    """Turn this child into the payload; never returns."""
    try:
        with open(variables, "rb") as file:  # noqa: PTH123
            given = dict(line.split(b"=", 1) for line in file.read().split(b"\0") if line)
        for item in limits.split(","):
            name, _, value = item.partition("=")
            number = int(value)
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (number, number))
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.write(status, b"started\n")
        os.closerange(3, 4096)
        os.execve(command[0], command, given)  # noqa: S606
    except OSError as error:
        _say(f"cannot start {command[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _wait_for(payload: int) -> int:
    """The payload's exit code (negative: killed by that signal), reaping all others on the way."""
    while True:
        pid, outcome = os.wait()
        if pid == payload:
            return os.waitstatus_to_exitcode(outcome)


def _kept_up(started: "Callable[[], int]", kept: str, status: int) -> int:
    """Start it again and again until it is to stop; its last exit code. What it left behind ends with it."""
    import socket  # noqa: F401, PLC0415 - each child that asks has it then

    least, most = _AGAIN_S
    pause_s = least
    while True:
        began = time.monotonic()
        code = _until_end(started(), kept, status)
        _end_rest()
        os.write(status, f"stopped {code}\n".encode())
        pause_s = least if time.monotonic() - began > _STEADY_S else min(most, 2 * pause_s)
        again_at = time.monotonic() + pause_s
        while not _to_stop and time.monotonic() < again_at:
            time.sleep(_LOOK_S / 4)
        if _to_stop:
            return code


def _until_end(payload: int, kept: str, status: int) -> int:
    """The payload's exit code; it is killed once it is deaf."""
    port, slash, path = kept.partition("/")
    health = _Health(int(port), slash + path, status)
    while True:
        pid, outcome = os.waitpid(-1, os.WNOHANG)
        if pid == payload:
            return os.waitstatus_to_exitcode(outcome)
        if slash and health.is_deaf(pid, outcome, time.monotonic()):
            _say(f"no answer at {slash}{path}, {_DEAF_MAX} times; it is started again")
            _signal_all(signal.SIGKILL)
        if not pid:
            time.sleep(_LOOK_S / 4)


class _Health:
    """What is kept up, asked by a child at a time, so that an answer that never comes keeps nobody from reaping."""

    def __init__(self, port: int, path: str, status: int) -> None:
        self._port, self._path, self._status = port, path, status
        self._asking, self._ask_at, self._kill_at, self._missed, self._was_well = 0, 0.0, 0.0, 0, False

    def is_deaf(self, reaped: int, outcome: int, now: float) -> bool:
        """Whether it was well and no longer is, now that this child (0: none) was reaped with this outcome."""
        if reaped and reaped == self._asking:
            self._asking = 0
            return self._heard(outcome == 0, now)
        if self._asking and now >= self._kill_at:
            os.kill(self._asking, signal.SIGKILL)  # the payload has stopped it, and with it its alarm
        if not self._asking and now >= self._ask_at:
            self._asking = _child_that_asks(self._port, self._path)
            self._kill_at = now + _ANSWER_S_MAX + 1
            return not self._asking and self._heard(False, now)
        return False

    def _heard(self, well: bool, now: float) -> bool:
        if well and not self._was_well:
            self._was_well = True
            os.write(self._status, b"well\n")
        self._missed = 0 if well else self._missed + 1
        self._ask_at = now + (_ASK_EVERY_S if self._was_well else _LOOK_S)
        return self._was_well and self._missed == _DEAF_MAX


def _child_that_asks(port: int, path: str) -> int:
    """Its number; 0 where there is no room for it, since the payload took all that there is."""
    try:
        return os.fork() or _ask(port, path)
    except OSError:
        return 0


def _ask(port: int, path: str) -> int:
    """In a child, which ends with 0 if the answer to a GET is below 400; never returns."""
    import socket  # noqa: PLC0415

    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(_ANSWER_S_MAX)
        with socket.create_connection(("localhost", port), _ANSWER_S_MAX) as there:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
            there.sendall(head.encode())
            words = there.recv(_ANSWER_BYTES).split(maxsplit=2)
            code = 0 if words[0].startswith(b"HTTP/") and 100 <= int(words[1]) < 400 else 1
            there.settimeout(_LOOK_S)
            rest = 0
            # Some servers complain of who leaves before the end; others leave the connection open.
            while rest < _ANSWER_BYTES and (part := there.recv(_ANSWER_BYTES)):
                rest += len(part)
    except (OSError, IndexError, ValueError):
        pass
    finally:
        os._exit(code)


def _say(words: str) -> None:
    """Into the log, or nowhere: the payload shares that pipe, and can fill it so that a write to it fails."""
    try:
        os.write(2, f"mosu: {words}\n".encode())
    except OSError:
        return


def _end_rest() -> None:
    _signal_all(signal.SIGKILL)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _signal_all(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv))
