"""The agent's tunnel: opened outwards to the hub's relay, opened again when it is lost.

What the relay asks for is joined by the engine, and by nothing else: the agent itself connects to no address.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from structlog.stdlib import BoundLogger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from mosu.site_agent.engines.protocol import NotReached
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import CHUNK_BYTES, Garbled, Target

Connect = Callable[[str, int], socket.socket]
"""A connected socket to a port of an attempt; raises `NotReached`."""

STREAMS_MAX: Final = 4_000
DIALS_MAX: Final = 4
"""Of one attempt at once. What answers is the task's own and may let each wait for seconds: others do not wait."""
_THREADS_MAX: Final = 64
_BACKOFF_S: Final = (0.2, 15.0)
_LOOK_S: Final = 0.2
_OPEN_S_MAX: Final = 10.0
_PING_S: Final = 15.0
_QUEUE_MESSAGES: Final = 64
_FRAME_BYTES_MAX: Final = CHUNK_BYTES + 64
_LIBRARY: Final = logging.getLogger(__name__)
_LIBRARY.propagate = False  # at DEBUG it writes down the headers, and so the token


class _Straight(connect):
    """Follows no redirect: the token goes where the hub said, and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def is_as_safe(url: str, *, hub_url: str) -> bool:
    """Whether the token may go to `url`: it is encrypted on its way there if it is on its way to the hub."""
    parts = urlsplit(url)
    safe = {"wss"} if urlsplit(hub_url).scheme == "https" else {"ws", "wss"}
    return parts.scheme in safe and bool(parts.hostname) and "@" not in parts.netloc


class Tunnel:
    """One thread with an event loop of its own, while it is `wanted`."""

    def __init__(
        self, url: str, token: str, *, join: Connect, wanted: Callable[[], bool], log: BoundLogger
    ) -> None:
        self._url, self._token, self._join = url, token, join
        self._wanted, self._log = wanted, log
        self._tasks: set[asyncio.Task[None]] = set()
        self._rooms: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def work(self) -> None:
        """Hold the tunnel open."""
        asyncio.run(self._while_wanted())

    async def _while_wanted(self) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS_MAX, "dial"))
        holding = asyncio.create_task(self._hold_for_ever())
        while self._wanted() and not holding.done():  # a thread's event cannot be awaited
            await asyncio.wait({holding}, timeout=_LOOK_S)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    async def _hold_for_ever(self) -> None:
        tries = 0
        while True:
            try:
                async with _Straight(
                    self._url,
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    user_agent_header="mosu-site-agent",
                    compression=None,
                    max_size=_FRAME_BYTES_MAX,
                    max_queue=_QUEUE_MESSAGES,
                    ping_interval=_PING_S,
                    ping_timeout=_PING_S,
                    open_timeout=_OPEN_S_MAX,
                    logger=_LIBRARY,
                ) as websocket:
                    self._log.info("tunnel open")
                    tries = 0
                    await self._serve(websocket)
            except (OSError, TimeoutError, WebSocketException) as error:
                said = f"{error.response.status_code}" if isinstance(error, InvalidStatus) else str(error)
                self._log.warning("no tunnel", error=said or type(error).__name__)
            except Exception:  # noqa: BLE001 (a thread may not die unheard, nor the agent of it)
                self._log.exception("the tunnel failed")
            tries += 1
            least, most = _BACKOFF_S
            await asyncio.sleep(min(most, least * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)

    async def _serve(self, websocket: ClientConnection) -> None:
        """Until the tunnel is lost, or the relay breaks the protocol."""

        async def send(message: bytes) -> None:
            with suppress(ConnectionClosed):
                await websocket.send(message)

        streams = Streams(send, asked=lambda stream, target: self._begin(streams, stream, target))
        why = "the tunnel is lost"
        try:
            async for message in websocket:
                if not isinstance(message, bytes):
                    raise Garbled("a text message")
                streams.take(message)
        except Garbled as garbled:
            self._log.exception("the relay broke the protocol")
            why = str(garbled)
        finally:
            streams.close(why)

    def _begin(self, streams: Streams, stream: Stream, target: Target) -> None:
        task = asyncio.create_task(self._joined(streams, stream, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _joined(self, streams: Streams, stream: Stream, target: Target) -> None:
        """Join the stream and carry its bytes until both sides have ended."""
        if len(streams) > STREAMS_MAX:
            await streams.refuse(stream, "the agent carries as many connections as it can")
            return
        try:
            door = await self._door(stream, target)
        except NotReached as why:
            await streams.refuse(stream, str(why))
            return
        except Exception:  # noqa: BLE001 (whatever an engine has: told in our log, not to a stranger)
            self._log.exception("not joined", attempt=target.attempt_id)
            await streams.refuse(stream, "the agent could not join it")
            return
        if door is None:
            return
        door.setblocking(False)
        with door:
            await streams.accept(stream)
            await _carried(stream, door)

    async def _door(self, stream: Stream, target: Target) -> socket.socket | None:
        """A connection to the target; None where nobody waits for it any more."""
        room = self._rooms.setdefault(target.attempt_id, asyncio.Semaphore(DIALS_MAX))
        async with room:
            if stream.is_broken:
                return None
            dial = partial(self._join, target.attempt_id, target.port)
            return await asyncio.get_running_loop().run_in_executor(None, dial)


async def _carried(stream: Stream, door: socket.socket) -> None:
    """Both ways, each ended on its own; if either breaks, both do."""
    ways = {asyncio.create_task(_to_run(stream, door)), asyncio.create_task(_from_run(stream, door))}
    try:
        _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        if pending:
            await stream.reset("the run closed the connection")
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await stream.reset("the run closed the connection")


async def _to_run(stream: Stream, door: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while part := await stream.read():
        await loop.sock_sendall(door, part)
    door.shutdown(socket.SHUT_WR)


async def _from_run(stream: Stream, door: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := await loop.sock_recv_into(door, buffer):
        await stream.write(view[:count])
    await stream.end()
