"""Inside a sandbox with a loopback of its own: connects to its ports and hands the sockets out.

The reaper starts `python -I -S -B dialler.py LISTENER READY` before the payload, with the socket on which the
supervisor listens outside; `READY` is closed once the payload may start. Each caller sends a port (2 bytes,
big-endian) and is answered with one byte: `0`, and the connected socket by SCM_RIGHTS, or `1`: nobody listens there.
Who is late is answered nothing. So no byte of a connection passes here, and whatever is asked for, the socket is of
this sandbox's own network.

The payload has our uid: it can kill or stop us, and then nobody is joined to its ports.
"""

import ctypes
import errno
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Generator

_AT_ONCE_MAX = 64
_PATIENCE_S = 4.0
"""The agent waits a little longer."""
_HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_Steps = Generator[tuple[socket.socket, int], None, None]
"""Each step is a socket, and what must be ready on it before the next."""


def serve(listener: socket.socket) -> None:
    """Answer callers, many at a time, until we are killed."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        calls: list[_Call] = []
        while True:
            calls = [call for call in calls if not call.is_over]
            if len(calls) < _AT_ONCE_MAX and listener not in selector.get_map():
                selector.register(listener, selectors.EVENT_READ)
            late_s = min((call.until for call in calls), default=time.monotonic() + 3600) - time.monotonic()
            for key, _ in selector.select(max(0.0, late_s)):
                if key.fileobj is listener:
                    calls.append(_Call(listener.accept()[0], selector))
                else:
                    key.data.go_on()
            for call in calls:
                if time.monotonic() >= call.until:
                    call.end()
            if len(calls) >= _AT_ONCE_MAX and listener in selector.get_map():
                selector.unregister(listener)  # the others wait in its queue


class _Call:
    """One caller, from its port to its answer."""

    def __init__(self, caller: socket.socket, selector: selectors.BaseSelector) -> None:
        self.until = time.monotonic() + _PATIENCE_S
        self.is_over = False
        self._caller, self._selector = caller, selector
        self._steps = _steps(caller)
        self._awaited: socket.socket | None = None
        caller.setblocking(False)
        self.go_on()

    def go_on(self) -> None:
        """Take the next step."""
        self._await_no_more()
        try:
            self._awaited, what = next(self._steps)
        except (StopIteration, OSError):
            self.end()
        else:
            self._selector.register(self._awaited, what, self)

    def end(self) -> None:
        """Close all but what was handed out."""
        if not self.is_over:
            self.is_over = True
            self._await_no_more()
            self._steps.close()
            self._caller.close()

    def _await_no_more(self) -> None:
        if self._awaited is not None:
            self._selector.unregister(self._awaited)
            self._awaited = None


def _steps(caller: socket.socket) -> _Steps:
    asked = b""
    while len(asked) < 2:
        yield caller, selectors.EVENT_READ
        if not (part := caller.recv(2 - len(asked))):
            return
        asked += part
    for family, host in _HOSTS:
        try:
            target = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # a machine without IPv6, say
            continue
        with target:
            target.setblocking(False)
            outcome = target.connect_ex((host, int.from_bytes(asked, "big")))
            if outcome == errno.EINPROGRESS:
                yield target, selectors.EVENT_WRITE
                outcome = target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if outcome == 0:
                socket.send_fds(caller, [b"0"], [target.fileno()])
                return
    caller.send(b"1")


def _prepare() -> None:
    pr_set_dumpable = 4
    ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)  # /proc/OURS/fd is closed to the payload
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the payload is asked to stop, and its ports serve meanwhile
    # Beyond this many descriptors on their way in any Unix sockets of the user, sandboxes beside us included, the
    # kernel refuses to send one; a payload's own limit is far lower.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    _prepare()
    os.close(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
