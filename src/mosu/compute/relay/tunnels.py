"""Which pools' agents hold a tunnel open, and taking what comes of one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Final
from uuid import UUID

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mosu.compute import services
from mosu.compute.stream_doors import in_thread
from mosu.wire.streams import Streams
from mosu.wire.tunnel import Garbled

REPLACED: Final = 4000
GARBLED: Final = 4002
STALLED: Final = 4008
NO_LONGER: Final = 4401
AWAY: Final = "the supplier's agent is away"
STALL_S_MAX: Final = 30.0
"""An agent reads whatever its runs do: one that takes nothing for so long is gone, or wants us to wait for it."""
ASK_S_MAX: Final = 7.0
"""A database that says nothing for so long is away; it may happen once within `UNSURE_S`."""
CLOSE_S_MAX: Final = 5.0
_THREADS_MAX: Final = 4
BREATH_MESSAGES: Final = 32
"""So many of one connection are taken before the others have their turn: what has come already is no wait."""


class Tunnel:
    """One agent's. Sending to it neither fails nor waits for long: what becomes of a stream is learned there."""

    def __init__(self, websocket: WebSocket, token_sha256: str) -> None:
        self.token_sha256 = token_sha256
        self.streams = Streams(self._send)
        self._websocket, self._turn = websocket, asyncio.Lock()
        self._over: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def end(self, code: int, why: str) -> None:
        """Its streams break off now; `serve` closes it."""
        if not self._over.done():
            self._over.set_result((code, why))
        self.streams.close(AWAY)

    async def serve(self) -> None:
        """Take what comes until it is over, and close it."""
        taking = asyncio.create_task(self._take())
        either: set[asyncio.Future[Any]] = {taking, self._over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                taking.result()
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            self.end(GARBLED, "gone")
            await closed(self._websocket, *self._over.result())

    async def _take(self) -> None:
        try:
            for number in count(1):
                self.streams.take(await self._websocket.receive_bytes())
                if number % BREATH_MESSAGES == 0:
                    await asyncio.sleep(0)
        except Garbled as garbled:
            self.end(GARBLED, str(garbled))
        except (WebSocketDisconnect, KeyError, RuntimeError):  # KeyError: a text message is no frame
            self.end(GARBLED, "gone")

    async def _send(self, message: bytes) -> None:
        # One at a time: all who wait for room would else fill it at once, a chunk of each, however little there is.
        async with self._turn:
            if not self._over.done():
                await self._sent(message)

    async def _sent(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(STALL_S_MAX):
                await self._websocket.send_bytes(message)
        except TimeoutError:
            self.end(STALLED, "you take nothing")
        except (WebSocketDisconnect, OSError, RuntimeError):
            self.end(GARBLED, "gone")


class Tunnels:
    """The newest of each pool."""

    def __init__(self) -> None:
        self.asking = ThreadPoolExecutor(_THREADS_MAX, "renew")
        """Whoever comes in, however many, does not keep us from asking who may stay."""
        self._of_pool: dict[UUID, Tunnel] = {}
        self._log = structlog.get_logger("relay")

    def __len__(self) -> int:
        return len(self._of_pool)

    def of(self, pool_id: UUID) -> Streams | None:
        """The pool's tunnel, if its agent has one open."""
        found = self._of_pool.get(pool_id)
        return None if found is None else found.streams

    async def serve(self, pool_id: UUID, websocket: WebSocket, *, token_sha256: str) -> None:
        """Until the agent goes, breaks the protocol, opens another, or its token holds no more."""
        await websocket.accept()
        tunnel, earlier = Tunnel(websocket, token_sha256), self._of_pool.get(pool_id)
        self._of_pool[pool_id] = tunnel
        if earlier is not None:
            earlier.end(REPLACED, "another tunnel of this pool was opened")
        try:
            await tunnel.serve()
        finally:
            if self._of_pool.get(pool_id) is tunnel:
                del self._of_pool[pool_id]

    async def renew(self) -> None:
        """End those whose token was replaced, or whose pool was closed, since they were opened."""
        asked = list(self._of_pool.values())
        if not asked:
            return
        digests = [tunnel.token_sha256 for tunnel in asked]
        try:
            async with asyncio.timeout(ASK_S_MAX):
                holding = await in_thread(services.tokens_that_hold, executor=self.asking, digests=digests)
        except Exception:  # noqa: BLE001 - the database is away: soon nobody is joined through them
            self._log.exception("whether tunnels hold could not be asked for")
            return
        for tunnel in asked:
            if tunnel.token_sha256 not in holding:
                tunnel.end(NO_LONGER, "this token of the pool holds no more")


async def closed(websocket: WebSocket, code: int, why: str) -> None:
    """Closed by us, if it stands; not for long, where the other side reads nothing."""
    both = (websocket.application_state, websocket.client_state)
    if not all(state is WebSocketState.CONNECTED for state in both):
        return
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await websocket.close(code, why)
    except (TimeoutError, OSError, RuntimeError, WebSocketDisconnect):
        return  # it goes with its task
