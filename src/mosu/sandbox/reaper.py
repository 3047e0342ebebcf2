"""The first process inside a sandbox: runs the payload, reaps everything, tells what it cost.

`bubblewrap.py` binds this file into the sandbox and starts it as process 1, with the status pipe's number, the
payload's limits (`NPROC=64,...`), the file with its variables (`NAME=VALUE`, each ended by a NUL), what starts the
dialler (`FILE,LISTENER`, empty: none) and the payload's command. It starts with every attempt, so it imports little.
It writes lines to the status pipe: `started`, then `ended EXIT_CODE CPU_MICROSECONDS`.

SIGTERM is passed on to every process; SIGUSR1 kills every process. Signals that the payload sends here do
nothing: the kernel shields process 1 from its own namespace unless it has a handler, and the handlers
only ever signal the payload.
"""

import ctypes
import os
import resource
import signal
import sys


def main(argv: list[str]) -> int:
    status, limits, variables, dialler, command = int(argv[1]), argv[2], argv[3], argv[4], argv[5:]
    _hide()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: _signal_all(signal.SIGTERM))
    signal.signal(signal.SIGUSR1, lambda _signal, _frame: _signal_all(signal.SIGKILL))
    if dialler:
        os.set_inheritable(status, False)
        _start_dialler(dialler)
    payload = os.fork()
    if payload == 0:
        _become(command, limits=limits, variables=variables, status=status)
    code = _wait_for(payload)
    _signal_all(signal.SIGKILL)
    _reap_rest()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_micros = round((spent.ru_utime + spent.ru_stime) * 1_000_000)
    os.write(status, f"ended {code} {cpu_micros}\n".encode())
    return code if 0 <= code < 128 else 128 + (code & 127)


def _hide() -> None:
    """Make /proc/1 unreadable to the payload, which has our uid: else it could write to the status pipe."""

    pr_set_dumpable = 4
    ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


def _start_dialler(words: str) -> None:
    """Returns once it is closed to the payload, or has failed: then nobody is joined to the payload's ports."""
    file, _, listener = words.partition(",")
    waiting, ready = os.pipe()
    if os.fork() == 0:
        try:
            for fd in (int(listener), ready):
                os.set_inheritable(fd, True)
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", file, listener, str(ready)])  # noqa: S606
        finally:
            os._exit(127)
    os.close(ready)
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
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.write(status, b"started\n")
        os.closerange(3, 4096)
        os.execve(command[0], command, given)  # noqa: S606
    except OSError as error:
        os.write(2, f"mosu: cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait_for(payload: int) -> int:
    """The payload's exit code (negative: killed by that signal), reaping all others on the way."""
    while True:
        pid, outcome = os.wait()
        if pid == payload:
            return os.waitstatus_to_exitcode(outcome)


def _signal_all(number: int) -> None:
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        return


def _reap_rest() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv))
