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
from typing import Final, cast
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from structlog.stdlib import BoundLogger
from websockets.exceptions import InvalidStatus, WebSocketException

from mosu.kernel.descriptors import open_as_many_as_may_be
from mosu.kernel.memory import keep_freed_memory
from mosu.kernel.reaching import CROWDED, NotReached
from mosu.wire.opening import ClientWay, opened
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import CHUNK_BYTES, Garbled, Target
from mosu.wire.websocket import Bytes

Connect = Callable[[str, int], socket.socket]
"""A connected socket to a port of an attempt; raises `NotReached`."""

STREAMS_MAX: Final = 4_000
DIALS_MAX: Final = 4
"""Of one attempt at once. What answers is the task's own and may let each wait for seconds: others do not wait."""
_READ_BYTES: Final = 2 * CHUNK_BYTES
"""Of a run at once: several pieces then cost one reading, one writing and one turn of the loop."""
_THREADS_MAX: Final = 64
_BACKOFF_S: Final = (0.2, 15.0)
_LOOK_S: Final = 0.2
_OPEN_S_MAX: Final = 10.0
_PING_S: Final = 15.0
_STALL_S_MAX: Final = 30.0
_LOOKS_S: Final = 15.0
_LAST_S_MAX: Final = 60.0
"""So long a run may take to read the last of what a person sent."""
_LIBRARY: Final = logging.getLogger(__name__)
_LIBRARY.propagate = False  # at DEBUG it writes down the headers, and so the token


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
        keep_freed_memory()
        open_as_many_as_may_be()
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
                way = await opened(
                    self._url,
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    user_agent_header="mosu-site-agent",
                    ping_interval=_PING_S,
                    ping_timeout=_PING_S,
                    open_timeout=_OPEN_S_MAX,
                    logger=_LIBRARY,
                )
                self._log.info("tunnel open")
                tries = 0
                try:
                    await self._serve(way)
                finally:
                    await way.close()
            except (OSError, TimeoutError, WebSocketException) as error:
                said = f"{error.response.status_code}" if isinstance(error, InvalidStatus) else str(error)
                self._log.warning("no tunnel", error=said or type(error).__name__)
            except Exception:  # noqa: BLE001 (a thread may not die unheard, nor the agent of it)
                self._log.exception("the tunnel failed")
            tries += 1
            least, most = _BACKOFF_S
            await asyncio.sleep(min(most, least * 2 ** min(tries, 10)) * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)

    async def _serve(self, way: ClientWay) -> None:
        """Until the tunnel is lost, or the relay breaks the protocol."""
        relay = _Relay(way, self._begin)
        way.begin(relay)
        try:
            why = await self._over(relay, way)
            if not way.is_over():
                self._log.error("the relay broke the protocol", why=why)
            else:
                said = way.protocol.close_rcvd
                self._log.warning("no tunnel", error=f"{said.code} {said.reason}" if said else why)
        finally:
            relay.streams.close("the tunnel is lost")

    async def _over(self, relay: "_Relay", way: ClientWay) -> str:
        """Why it is. A relay that takes nothing for long is gone: it has nothing else to wait for."""
        clock = asyncio.get_running_loop().time
        while not relay.over.done():
            await asyncio.wait({relay.over}, timeout=_LOOKS_S)
            if way.full_since is not None and clock() > way.full_since + _STALL_S_MAX:
                way.transport.abort()
        return relay.over.result()

    def _begin(self, streams: Streams, stream: Stream, target: Target) -> None:
        if len(streams) > STREAMS_MAX:
            streams.refuse(stream, CROWDED)
            return
        task = asyncio.create_task(self._joined(streams, stream, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _joined(self, streams: Streams, stream: Stream, target: Target) -> None:
        """Join the stream; from then on its bytes carry themselves."""
        try:
            door = await self._door(stream, target)
        except NotReached as why:
            streams.refuse(stream, str(why))
            return
        except Exception:  # noqa: BLE001 (whatever an engine has: told in our log, not to a stranger)
            self._log.exception("not joined", attempt=target.attempt_id)
            streams.refuse(stream, "the agent could not join it")
            return
        if door is None:
            return
        door.setblocking(False)
        streams.accept(stream)
        await asyncio.get_running_loop().connect_accepted_socket(partial(_Door, stream), door)

    async def _door(self, stream: Stream, target: Target) -> socket.socket | None:
        """A connection to the target; None where nobody waits for it any more."""
        room = self._rooms.setdefault(target.attempt_id, asyncio.Semaphore(DIALS_MAX))
        async with room:
            if stream.is_broken:
                return None
            dial = partial(self._join, target.attempt_id, target.port)
            return await asyncio.get_running_loop().run_in_executor(None, dial)


class _Relay:
    """The tunnel as its streams and its way have it."""

    def __init__(self, way: ClientWay, begin: Callable[[Streams, Stream, Target], None]) -> None:
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.streams = Streams(way, asked=lambda stream, target: begin(self.streams, stream, target))

    def taken(self, message: Bytes) -> None:
        if self.over.done():
            return
        try:
            self.streams.take(message)
        except Garbled as garbled:
            self._end(str(garbled))

    def text_came(self) -> None:
        self._end("a text message")

    def has_room(self) -> None:
        self.streams.has_room()

    def lost(self) -> None:
        self._end("the tunnel is lost")

    def _end(self, why: str) -> None:
        if not self.over.done():
            self.over.set_result(why)
            self.streams.close(why)


class _Door(asyncio.Protocol):
    """A connection to a port of a run: what the one side sends, the other is given."""

    _transport: asyncio.Transport
    is_full = _is_lost = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    # What comes from the run.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.max_size = _READ_BYTES  # type: ignore[attr-defined]  # of a socket
        self._stream.join(self)

    def data_received(self, data: bytes) -> None:
        self._stream.send(data)

    def eof_received(self) -> bool:
        self._stream.end()
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        # Not from here: asyncio loses its count of a connection that breaks as more is written to it.
        asyncio.get_running_loop().call_soon(self._stream.has_room)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._stream.reset("the run closed the connection")

    # What comes from the person.

    def give(self, data: Bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def give_end(self) -> None:
        with suppress(OSError):  # it broke meanwhile, and says so soon
            self._transport.write_eof()

    def hold(self) -> None:
        self._transport.pause_reading()

    def go_on(self) -> None:
        self._transport.resume_reading()

    def ended(self) -> None:
        """The run has some time left to read the last of it."""
        self._transport.close()
        asyncio.get_running_loop().call_later(_LAST_S_MAX, self._abort)

    def broken(self, why: str) -> None:
        self._abort()

    def _abort(self) -> None:
        if not self._is_lost:
            self._transport.abort()
