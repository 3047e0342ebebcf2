"""Which pools' agents hold a tunnel open, and taking what comes of one."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from uuid import UUID

import structlog
from starlette.websockets import WebSocket

from mosu.compute import services
from mosu.compute.relay.renewing import ASK_S_MAX
from mosu.compute.stream_doors import in_thread
from mosu.wire.streams import Streams
from mosu.wire.tunnel import Garbled
from mosu.wire.websocket import Bytes, ServedWay

REPLACED: Final = 4000
GARBLED: Final = 4002
STALLED: Final = 4008
NO_LONGER: Final = 4401
AWAY: Final = "the supplier's agent is away"
STALL_S_MAX: Final = 30.0
"""An agent reads whatever its runs do: one that takes nothing for so long is gone, or wants us to wait for it."""
_THREADS_MAX: Final = 4


class Tunnel:
    """One agent's. Sending to it neither fails nor waits: what becomes of a stream is learned there."""

    def __init__(self, way: ServedWay, token_sha256: str) -> None:
        self.token_sha256 = token_sha256
        self.streams = Streams(self)
        self._way = way
        self._over: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    @property
    def is_full(self) -> bool:
        """Whether the agent must take something before it is sent more."""
        return self._way.is_full

    def put(self, *parts: Bytes) -> None:
        """One message; dropped once it is over."""
        if not self._over.done():
            self._way.put(*parts)

    def end(self, code: int, why: str) -> None:
        """Its streams break off now; `serve` closes it."""
        if not self._over.done():
            self._over.set_result((code, why))
        self.streams.close(AWAY)

    async def serve(self) -> None:
        """Take what comes until it is over, and close it."""
        self._way.begin(self)
        try:
            while not self._over.done():
                await asyncio.wait({self._over}, timeout=self._patience_s())
                if self._patience_s() <= 0:
                    self.end(STALLED, "you take nothing")
        finally:
            self.end(GARBLED, "gone")
            self._way.close(*self._over.result())

    def _patience_s(self) -> float:
        """How long it may go on taking nothing."""
        since, now = self._way.full_since, asyncio.get_running_loop().time()
        return STALL_S_MAX if since is None else since + STALL_S_MAX - now

    def taken(self, message: Bytes) -> None:
        """A frame of the agent's."""
        if self._over.done():
            return
        try:
            self.streams.take(message)
        except Garbled as garbled:
            self.end(GARBLED, str(garbled))

    def text_came(self) -> None:
        """No frame is a text."""
        self.end(GARBLED, "a text message")

    def has_room(self) -> None:
        """The agent took what there was."""
        self.streams.has_room()

    def lost(self) -> None:
        """The agent is gone."""
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
        tunnel, earlier = Tunnel(websocket.state.way, token_sha256), self._of_pool.get(pool_id)
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
