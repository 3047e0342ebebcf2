"""Which browsers are at which apps: one grant for each cookie that is in use, however many requests come with it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from django.utils import timezone

from mosu.compute import services
from mosu.compute.app_hosts import AppHost
from mosu.compute.relay.cutting import Cut
from mosu.compute.relay.joining import Full, dialled
from mosu.compute.relay.kept import Kept, Lent
from mosu.compute.relay.renewing import ASK_S_MAX, over
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import Granted, Traffic
from mosu.compute.stream_doors import in_thread
from mosu.wire.streams import Stream
from mosu.wire.tunnel import Target
from mosu.wire.waited import WaitedStream

GRANTS_MAX: Final = 2_000
REQUESTS_MAX: Final = 64
"""Of one grant at once: a page asks for a few dozen things, and holds some WebSockets open."""
STREAMS_MAX: Final = 2_000
"""Of all grants at once: each may hold a window of bytes each way."""
STREAMS_PER_RUN_MAX: Final = 128
STREAMS_PER_ORGANISATION_MAX: Final = 256
UNFINISHED_BYTES_MAX: Final = 256 << 20
"""Of all messages of WebSockets that apps have begun and not ended."""
IDLE_S_MAX: Final = 300.0
"""A browser that asks for nothing so long has left; with its cookie it may come back."""
_LEAVE_S_MAX: Final = 2.0
_LEFT: Final = "the person left"


class Grant:
    """One browser at one app, while its cookie is in use: a `Connection` row."""

    def __init__(self, granted: Granted, app: AppHost) -> None:
        self.granted, self.app = granted, app
        self.cut = Cut()
        """Set when it ends: whatever it carries ends too."""
        self.unused = asyncio.Event()
        self.unused.set()
        self.used_at = self.checked_at = asyncio.get_running_loop().time()
        self._streams: set[WaitedStream] = set()
        self._bytes_in = self._bytes_out = 0
        self._requests = 0

    @property
    def traffic(self) -> Traffic:
        """Bytes to the run and from it, of all its requests."""
        return Traffic(
            bytes_in=self._bytes_in + sum(stream.bytes_out for stream in self._streams),
            bytes_out=self._bytes_out + sum(stream.bytes_in for stream in self._streams),
        )

    def end(self, why: str) -> None:
        """Now; waits for nobody."""
        self.cut.now(why)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request of it is answered, or a WebSocket is open.

        Raises:
            Full: as many as may be are under way.
        """
        if self._requests >= REQUESTS_MAX:
            raise Full(f"{REQUESTS_MAX} requests to this app are under way.", hint="Close a tab.")
        self._requests += 1
        self.unused.clear()
        try:
            yield
        finally:
            self._requests -= 1
            self.used_at = asyncio.get_running_loop().time()
            if not self._requests:
                self.unused.set()

    @contextmanager
    def counting(self, stream: WaitedStream) -> Iterator[None]:
        """What passes in the stream is this grant's."""
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)
            self._bytes_in += stream.bytes_out
            self._bytes_out += stream.bytes_in


@dataclass(slots=True)
class Unfinished:
    """What of apps' messages waits for its end."""

    bytes: int = 0


class Grants:
    """All of this relay."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self._held: dict[tuple[str, AppHost], Grant] = {}
        self._opening: dict[tuple[str, AppHost], asyncio.Task[Grant]] = {}
        self.unfinished = Unfinished()
        self.kept = Kept()
        self._streams = 0
        self._streams_of: Counter[object] = Counter()
        """By attempt and by organisation."""
        self._noting: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("relay")

    def __len__(self) -> int:
        return len(self._held)

    async def of(self, cookie_sha256: str, app: AppHost) -> Grant:
        """The grant of this cookie at this app; all who come with it at once wait for one.

        Raises:
            Full: as many as may be are open.
            what `services.enter_by_cookie` raises.
        """
        key = cookie_sha256, app
        if (held := self._held.get(key)) is not None:
            return held
        if (opening := self._opening.get(key)) is None:
            if len(self._held) + len(self._opening) >= GRANTS_MAX:
                raise Full("The relay is full.", hint="Try again in a while.", retry_after_s=10)
            opening = self._opening[key] = asyncio.create_task(self._opened(cookie_sha256, app))
            opening.add_done_callback(partial(self._forget_opening, key))
        return await asyncio.shield(opening)

    @asynccontextmanager
    async def stream(self, grant: Grant, *, kept_s_max: float = 0) -> AsyncIterator[Lent]:
        """A stream to the app, counted as the grant's: one of its own that has waited for less than that, or a new
        one. At the end it is reset, or waits again.

        Raises:
            Full: as many as may be are open.
            NotJoined: the agent is away, or nothing listens there.
        """
        whose = (grant.granted.attempt_id, grant.granted.organisation_id)
        used = (self._streams, *(self._streams_of[one] for one in whose))
        most = (STREAMS_MAX, STREAMS_PER_RUN_MAX, STREAMS_PER_ORGANISATION_MAX)
        if any(so_many >= limit for so_many, limit in zip(used, most, strict=True)):
            raise Full("The relay is full.", hint="Try again in a while.", retry_after_s=10)
        self._streams += 1
        self._streams_of.update(whose)
        try:
            at = grant.granted.attempt_id, grant.app.port
            lent = await self.kept.lent(grant, at, partial(self._dialled, grant), idle_s_max=kept_s_max)
            try:
                with grant.counting(lent.stream):
                    yield lent
            finally:
                self.kept.take_back(grant, lent)
        finally:
            self._streams -= 1
            self._streams_of.subtract(whose)
            for one in whose:
                if not self._streams_of[one]:
                    del self._streams_of[one]

    async def _dialled(self, grant: Grant) -> Stream:
        target = Target(attempt_id=grant.granted.attempt_id, port=grant.app.port)
        return await dialled(self._tunnels, grant.granted.pool_id, target)

    async def renew(self) -> None:
        """Once: end whose right is over, of whom the database says nothing for too long, and who have left."""
        asked, clock = dict(self._held), asyncio.get_running_loop().time
        if not asked:
            return

        async def ask() -> Mapping[tuple[str, AppHost], str]:
            told = await in_thread(
                services.renew_connections,
                executor=self._tunnels.asking,
                traffic={grant.granted.connection_id: grant.traffic for grant in asked.values()},
                now=timezone.now(),
            )
            whose = {grant.granted.connection_id: key for key, grant in asked.items()}
            return {whose[connection_id]: why for connection_id, why in told.items()}

        ended = await over(asked, ask)
        for key, grant in asked.items():
            if grant.unused.is_set() and clock() - grant.used_at > IDLE_S_MAX:
                ended.setdefault(key, _LEFT)
        for key, why in ended.items():
            del self._held[key]
            asked[key].end(why)
        for key in ended:  # nobody waits for a database that hangs: the next round must come
            noting = asyncio.create_task(self._noted(asked[key]))
            self._noting.add(noting)
            noting.add_done_callback(self._noting.discard)

    def _forget_opening(self, key: tuple[str, AppHost], done: asyncio.Task[Grant]) -> None:
        del self._opening[key]
        if not done.cancelled():
            done.exception()  # heard here too: all who waited for it may have left

    async def _opened(self, cookie_sha256: str, app: AppHost) -> Grant:
        granted = await in_thread(
            services.enter_by_cookie,
            cookie_sha256=cookie_sha256,
            run_id=app.run_id,
            port=app.port,
            now=timezone.now(),
        )
        grant = self._held[cookie_sha256, app] = Grant(granted, app)
        return grant

    async def _noted(self, grant: Grant) -> None:
        """How it ended, once what it carried is over; where that cannot be written `close_forgotten` does it later."""
        try:
            async with asyncio.timeout(_LEAVE_S_MAX):
                await grant.unused.wait()
        except TimeoutError:
            self._log.warning("an ended grant is still in use", connection=str(grant.granted.connection_id))
        try:
            async with asyncio.timeout(ASK_S_MAX):
                await in_thread(
                    services.close_connection,
                    executor=self._tunnels.asking,
                    connection_id=grant.granted.connection_id,
                    traffic=grant.traffic,
                    why=grant.cut.why,
                    now=timezone.now(),
                )
        except Exception:  # noqa: BLE001 - the database is away, and the person need not hear of it
            self._log.exception("the end of a connection could not be noted")
