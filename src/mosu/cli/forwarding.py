"""Local ports that lead to ports of a run, until the run ends or the person leaves."""

import asyncio
import errno
import re
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from mosu.cli.output import client, say
from mosu.cli.stop import USAGE, Stop
from mosu.cli.text import told
from mosu.client.errors import ClientError, ProblemError
from mosu.client.relay import NOT_ALLOWED, Relay, Traffic, break_off_when_closed
from mosu.kernel.memory import keep_freed_memory

if TYPE_CHECKING:
    from mosu.client.models import Run

FORWARDS_MAX: Final = 16
CONNECTIONS_MAX: Final = 100
"""At one time; further ones wait until one ends."""
LOCALHOST: Final = "127.0.0.1"
_LOOK_S: Final = 10.0
"""How often the hub is asked whether the run goes on; at once when a connection broke off."""
_LOOK_AGAIN_S: Final = 1.0
_LEAVE_S: Final = 5.0
"""After the run's end, so long for what still has to be written."""
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a refusal says that holds for every further connection too."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A local port (0: any free one) and the run's."""

    local: int
    port: int


def forwards_of(words: Sequence[str]) -> tuple[Forward, ...]:
    """What `[LOCAL:]PORT...` means.

    Raises:
        Stop: one is none, or they are too many, or two share a local port.
    """
    forwards = tuple(_forward_of(word) for word in words)
    if len(forwards) > FORWARDS_MAX:
        raise Stop(f"At most {FORWARDS_MAX} ports at one time.", hint="Start a second one.", code=USAGE)
    seen = set[int]()
    for one in forwards:
        if one.local and one.local in seen:
            raise Stop(
                f"The local port {one.local} is named twice.",
                hint=f"Choose another one: LOCAL:{one.port}, or 0:{one.port} for any that is free.",
                code=USAGE,
            )
        seen.add(one.local)
    return forwards


def _forward_of(word: str) -> Forward:
    found = re.fullmatch(r"(?:([0-9]{1,5}):)?([0-9]{1,5})", word)
    if found is not None:
        port = int(found[2])
        local = port if found[1] is None else int(found[1])
        if 1 <= port <= 65_535 and local <= 65_535:
            return Forward(local, port)
    raise Stop(
        f"{word[:40]!r} is no port.",
        hint="Such as 8888, or 9000:8888 for the local port 9000; ports go from 1 to 65535.",
        code=USAGE,
    )


def listening(forwards: Sequence[Forward]) -> list[socket.socket]:
    """A listening socket for each, on this machine's own address alone; all of them or none.

    Raises:
        Stop: one cannot be had.
    """
    sockets: list[socket.socket] = []
    try:
        for one in forwards:
            sockets.append(_listening(one))
    except Stop:
        for taken in sockets:
            taken.close()
        raise
    return sockets


def listening_at(wanted: int | None, port: int, *, rather: int) -> socket.socket:
    """A listening socket for the run's `port`: at the local port that is wanted, else at `rather`, else at any.

    Raises:
        Stop: the one that is wanted cannot be had.
    """
    if wanted is None:
        with suppress(Stop):
            return _listening(Forward(rather, port))
    return _listening(Forward(wanted or 0, port))


def _listening(forward: Forward) -> socket.socket:
    # With its protocol: asyncio sends small messages at once only where it sees that a socket is TCP.
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.setblocking(False)
    try:
        door.bind((LOCALHOST, forward.local))
        door.listen(CONNECTIONS_MAX)
    except OSError as error:
        door.close()
        raise Stop(
            f"The local port {forward.local} cannot be used: {error.strerror}.",
            hint=f"Choose another one: LOCAL:{forward.port}, or 0:{forward.port} for any that is free.",
            code=USAGE,
        ) from error
    return door


def port_of(door: socket.socket) -> int:
    """Where it listens."""
    port: int = door.getsockname()[1]
    return port


class Forwarding:
    """Accepts at `doors`, joins each connection to the port of the run that belongs to its door."""

    def __init__(self, run_id: str, relay: Relay, doors: Sequence[tuple[socket.socket, int]]) -> None:
        self.traffic = Traffic()
        self.connections = 0
        self._run_id, self._relay, self._doors = run_id, relay, doors
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._joined = set[asyncio.Task[None]]()
        self._doubt = threading.Event()
        self._left = threading.Event()
        self._said = ""

    async def until_end(self) -> "Run | None":
        """The run once it is over; None where the person left before.

        Raises:
            ProblemError: the hub no longer lets them in.
        """
        loop = asyncio.get_running_loop()
        keep_freed_memory()
        self._end: asyncio.Future[Run | None] = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end_with, None)
        threading.Thread(target=self._look, args=(loop,), daemon=True).start()
        accepting = [asyncio.ensure_future(self._accept(door, port)) for door, port in self._doors]
        try:
            run = await self._end
            if run is not None and self._joined:
                await asyncio.wait(self._joined, timeout=_LEAVE_S)
            return run
        finally:
            self._left.set()
            self._doubt.set()
            tasks = [*accepting, *self._joined]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _end_with(self, ended: "Run | ProblemError | None") -> None:
        if self._end.done():
            return
        if isinstance(ended, ProblemError):
            self._end.set_exception(ended)
        else:
            self._end.set_result(ended)

    async def _accept(self, door: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            self._room.release()
            try:
                taken, _ = await loop.sock_accept(door)
            except OSError as error:
                if error.errno in _FULL:
                    self._tell(told(f"No further connection can be taken: {error.strerror}."), "")
                    await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            break_off_when_closed(taken)  # who is dropped before they are joined must not read an end either
            await self._room.acquire()
            task = asyncio.ensure_future(self._join(taken, port))
            self._joined.add(task)
            task.add_done_callback(partial(self._parted, taken))

    def _parted(self, taken: socket.socket, task: asyncio.Task[None]) -> None:
        taken.close()  # it is still open where the task ended before it began
        self._joined.discard(task)
        self._room.release()

    async def _join(self, taken: socket.socket, port: int) -> None:
        self.connections += 1
        try:
            await self._relay.join(port, taken, self.traffic)
        except ProblemError as refused:
            if refused.status in NOT_ALLOWED:
                self._end_with(refused)
                return
            self._broke_off(port, refused)
        except ClientError as error:
            self._broke_off(port, error)
        else:
            self._said = ""

    def _broke_off(self, port: int, error: ClientError) -> None:
        self._doubt.set()
        self._tell(told(f"A connection to port {port} failed: {told(error.message)}"), error.hint)

    def _tell(self, text: str, hint: str) -> None:
        """Once, until a connection went well: a browser tries again and again."""
        if text != self._said and not self._end.done():
            self._said = text
            say(text)
            if hint:
                say(hint)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """A thread of its own, so that a hub that does not answer keeps nobody from leaving."""
        with client() as hub, suppress(RuntimeError):  # the loop may be closed by now
            while not self._left.is_set():
                self._doubt.wait(_LOOK_S)
                self._doubt.clear()
                if self._left.is_set():
                    return
                try:
                    run = hub.run(self._run_id)
                except ProblemError as refused:
                    if refused.status in NOT_ALLOWED:
                        loop.call_soon_threadsafe(self._end_with, refused)
                except ClientError:
                    pass  # it may come back
                else:
                    if run.is_over:
                        loop.call_soon_threadsafe(self._end_with, run)
                self._left.wait(_LOOK_AGAIN_S)
