"""Ports of pods: each connection is a WebSocket to the API server's `portforward`, as Kubernetes itself carries it.

The server asks the node, whose container runtime connects inside the pod to `localhost:PORT`, and to nothing else. Of
the subprotocol `v4.channel.k8s.io` each message begins with its channel: 0 is the connection, 1 says what went wrong;
each channel's first message is the port, two bytes. Neither side can end its own direction alone.
"""

import asyncio
import logging
import select
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.site_agent.engines.kubernetes.access import Access
from mosu.wire.tunnel import CHUNK_BYTES

PATIENCE_S: Final = 9.0
"""Whoever asks waits no longer; the relay gives an agent ten seconds."""
CONNECTIONS_MAX: Final = 128
"""Of one pod: each is a connection of the server's, and one of the node's."""
PROTOCOL: Final = Subprotocol("v4.channel.k8s.io")
_DATA, _ERROR = b"\0", b"\1"
_PORT_BYTES: Final = 2
_MESSAGE_BYTES_MAX: Final = 1 << 20
_MESSAGES_MAX: Final = 4
"""So many wait for whoever reads slowly; then the server waits."""
_PING_S: Final = 15.0
_LAST_S_MAX: Final = 60.0
"""So long a pod may say nothing after the other side has ended, which it cannot be told."""
_LOOK_S: Final = 0.2
_END_S_MAX: Final = 3.0
_WORDS_MAX: Final = 300
_LIBRARY: Final = logging.getLogger(__name__)
_LIBRARY.propagate = False  # at DEBUG it writes down the headers, and so the token


class Forwarding:
    """All of one engine. They have one event loop, in a thread of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._carrying: dict[str, set[asyncio.Task[None]]] = {}
        """By pod; of the loop's thread alone."""

    def connect(self, pod_path: str, port: int) -> socket.socket:
        """One end of a pair whose other end is carried to the pod's port.

        Where nothing listens there, it ends at once: the server says so only after it has opened.

        Raises:
            NotReached: there is none; it says why within `PATIENCE_S`.
        """
        return asyncio.run_coroutine_threadsafe(
            self._connected(pod_path, port), self._running_loop()
        ).result()

    def end(self, pod_path: str) -> None:
        """Its session is over."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, pod_path)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="forwarding", daemon=True).start()
            return self._loop

    async def _connected(self, pod_path: str, port: int) -> socket.socket:
        carrying = self._carrying.setdefault(pod_path, set())
        if len(carrying) >= CONNECTIONS_MAX:
            raise NotReached(CROWDED)
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Counted from here on, so that no burst passes the bound.
        task = asyncio.create_task(self._carried(pod_path, port, theirs, opened))
        carrying.add(task)
        task.add_done_callback(lambda _: self._is_over(pod_path, task))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await opened
        except TimeoutError:
            task.cancel()
            ours.close()
            raise NotReached("Kubernetes opened no way to its pod in time; try again.") from None
        except NotReached:
            ours.close()
            raise
        return ours

    def _is_over(self, pod_path: str, task: asyncio.Task[None]) -> None:
        carrying = self._carrying.get(pod_path, set())
        carrying.discard(task)
        if not carrying:
            self._carrying.pop(pod_path, None)

    def _end(self, pod_path: str) -> None:
        for task in self._carrying.get(pod_path, ()):
            task.cancel()

    async def _carried(
        self, pod_path: str, port: int, door: socket.socket, opened: asyncio.Future[None]
    ) -> None:
        with door:
            try:
                way = await self._opened(pod_path, port)
            except NotReached as why:
                if not opened.done():
                    opened.set_exception(why)
                return
            try:
                if not opened.done():
                    opened.set_result(None)
                    await _joined(way, door)
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_END_S_MAX):
                        await way.close()  # behind the last of what was sent
                way.transport.abort()  # a server that stalls keeps nobody

    async def _opened(self, pod_path: str, port: int) -> ClientConnection:
        try:
            return await _Straight(
                f"{_as_websocket(self._access.server)}{pod_path}/portforward?ports={port}",
                ssl=self._access.tls,
                additional_headers=self._access.headers(),
                subprotocols=[PROTOCOL],
                user_agent_header="mosu-site-agent",
                compression=None,
                proxy=None,
                max_size=_MESSAGE_BYTES_MAX,
                max_queue=_MESSAGES_MAX,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                open_timeout=PATIENCE_S,
                close_timeout=_END_S_MAX,
                logger=_LIBRARY,
            )
        except InvalidStatus as refusal:
            raise NotReached(_refused(refusal)) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise NotReached(f"Kubernetes opens no way to its pod: {error or type(error).__name__}") from None


class _Straight(connect):
    """Follows no redirect: a token goes to its server, and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _joined(way: ClientConnection, door: socket.socket) -> None:
    """Bytes both ways between them, until either ends."""
    out, into = asyncio.create_task(_out(way, door)), asyncio.create_task(_in(way, door))
    try:
        with suppress(ConnectionClosed, OSError):
            await asyncio.wait({out, into}, return_when=asyncio.FIRST_COMPLETED)
            if out.done():
                return
            into.result()
            await _last(out, door)
    finally:
        for task in (out, into):
            task.cancel()
        await asyncio.gather(out, into, return_exceptions=True)


async def _last(out: asyncio.Task[None], door: socket.socket) -> None:
    """The person has ended, the pod has not: while the person still listens, it has some time to say the last of it."""
    until = monotonic() + _LAST_S_MAX
    while not out.done() and not _is_gone(door) and monotonic() < until:
        await asyncio.wait({out}, timeout=_LOOK_S)


def _is_gone(door: socket.socket) -> bool:
    """Whether nobody has the other end any more, rather than that it sends nothing more."""
    asked = select.poll()
    asked.register(door, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in asked.poll(0))


async def _out(way: ClientConnection, door: socket.socket) -> None:
    """From the pod, until it ends or says what went wrong."""
    loop = asyncio.get_running_loop()
    known = {_DATA: _PORT_BYTES, _ERROR: _PORT_BYTES}
    """Of each channel how much of its first message is still to come."""
    async for message in way:
        if not isinstance(message, bytes) or message[:1] not in known:
            return
        channel, rest = message[:1], memoryview(message)[1:]
        head = min(known[channel], len(rest))
        known[channel] -= head
        if rest := rest[head:]:
            if channel == _ERROR:
                return
            await loop.sock_sendall(door, rest)


async def _in(way: ClientConnection, door: socket.socket) -> None:
    """From the person."""
    loop = asyncio.get_running_loop()
    while part := await loop.sock_recv(door, CHUNK_BYTES):
        await way.send(_DATA + part)


def _as_websocket(server: str) -> str:
    parts = urlsplit(server)
    return parts._replace(scheme="wss" if parts.scheme == "https" else "ws").geturl().rstrip("/")


def _refused(refusal: InvalidStatus) -> str:
    body = bytes(refusal.response.body or b"").decode(errors="replace")
    said = "".join(letter for letter in body if letter.isprintable())[:_WORDS_MAX]
    return f"Kubernetes opens no way to its pod: {refusal.response.status_code} {said}".strip()
