"""Replicas of endpoints as the relay reaches them: whether each is well, and how many requests it has."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol
from uuid import UUID

import h11
import structlog

from mosu.compute.app_hosts import EndpointHost
from mosu.compute.relay.cutting import Hold
from mosu.compute.relay.endpoint_entries import Pass
from mosu.compute.relay.joining import Crowded, NotJoined, dialled
from mosu.compute.relay.kept import Kept, Lent
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import ReplicaRoute
from mosu.wire.streams import Broken, Stream
from mosu.wire.tunnel import Target
from mosu.wire.waited import WaitedStream

HEALTH_S_MAX: Final = 3.0
UNKNOWN_S: Final = 2.0
AWAITED_S: Final = 0.3
"""While requests wait for it."""
WELL_S: Final = 10.0
MISSED_MAX: Final = 3
"""One that was well is taken at its word until so many answers in a row are missed: it may be busy."""
CROWDED_S: Final = 0.5
"""So long one that carries as many connections as it can is given no more, unless one of ours ends before."""
_BREATH_S: Final = 0.1
_HEAD_BYTES_MAX: Final = 64 * 1024
_HINTS_MAX: Final = 5
"""Heads before the one that counts: a replica chooses how many it sends, and each is work for the relay's one loop."""
_UNWELL: Final = 400


class Waits(Protocol):
    """The endpoint: it is told when a replica changes."""

    @property
    def is_awaited(self) -> bool:
        """Whether requests wait for a replica."""

    def change(self) -> None:
        """A replica became well, or fell ill."""


class ReplicaWay:
    """One replica. While it lasts it is asked again and again whether it is well."""

    def __init__(
        self, route: ReplicaRoute, host: EndpointHost, tunnels: Tunnels, kept: Kept, waits: Waits
    ) -> None:
        self.route, self.hold = route, Hold()
        self.in_flight = self.turn = 0
        """`turn`: when it was last chosen."""
        self.told_in_flight = 0
        self.is_well, self.was_well = False, route.was_well
        self._host, self._tunnels, self._kept, self._waits = host, tunnels, kept, waits
        self._missed, self._crowded_until = 0, 0.0
        self._look = asyncio.Event()
        self._watching = asyncio.create_task(self._watch())

    @property
    def run_id(self) -> UUID:
        return self.route.run_id

    @property
    def takes_requests(self) -> bool:
        return self.is_well and not self.route.is_drained and not self._is_crowded

    @property
    def _is_crowded(self) -> bool:
        return asyncio.get_running_loop().time() < self._crowded_until

    def update(self, route: ReplicaRoute) -> None:
        """What the database says of it now."""
        if route.attempt != self.route.attempt:
            self.is_well = False
            self._look.set()
        self.route = route

    def look(self) -> None:
        """Ask it now."""
        self._look.set()

    def end(self, why: str) -> None:
        """It is over, and all that it answers."""
        self._watching.cancel()
        self.is_well = False
        self.hold.end(why)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While a request goes to it."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def lent(self, one: Pass, *, kept_s_max: float) -> Lent:
        """A connection to it, for the pass alone: one that has waited for less than that, or a new one. If there is
        none it is not well until it says so again. `take_back` is called for it.

        Raises:
            Crowded: it carries as many as it can; it is well, and given none for a moment.
            NotJoined: the agent is away, or nothing listens there.
        """
        try:
            return await self._kept.lent(one, self._at, self._dialled, idle_s_max=kept_s_max)
        except Crowded:
            self._crowded_until = asyncio.get_running_loop().time() + CROWDED_S
            raise
        except NotJoined:
            self.failed()
            raise

    def take_back(self, one: Pass, lent: Lent) -> None:
        """Its request is over."""
        self._kept.take_back(one, lent)
        if self._is_crowded:
            self._crowded_until = 0.0
            self._waits.change()

    def failed(self) -> None:
        """It did not answer: it is asked whether it is well before it is given anything more."""
        self._fell()
        self._look.set()

    @property
    def _at(self) -> tuple[object, int]:
        return self.route.attempt_id, self.route.port

    async def _dialled(self) -> Stream:
        route = self.route
        attempt_id = route.attempt_id
        if attempt_id is None or route.pool_id is None:
            raise NotJoined("The replica does not run.", hint="Try again in a minute.")
        target = Target(attempt_id=attempt_id, port=route.port)
        return await dialled(self._tunnels, route.pool_id, target)

    async def _watch(self) -> None:
        while True:
            try:
                if self.route.attempt is not None:
                    await self._ask()
            except Exception:  # noqa: BLE001 - whatever fails once is tried again: without it nobody is answered
                structlog.get_logger("relay").exception("a replica could not be asked whether it is well")
            await asyncio.sleep(_BREATH_S)
            self._look.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._look.wait()

    def _pause_s(self) -> float:
        if self.is_well and not self._missed:
            return WELL_S
        return AWAITED_S if self._waits.is_awaited else UNKNOWN_S

    async def _ask(self) -> None:
        try:
            lent = await self._kept.lent(self, self._at, self._dialled, idle_s_max=0)
        except Crowded:
            return  # it says nothing of whether it is well
        except NotJoined:
            self._fell()
            return
        try:
            is_well = not self.route.health or await self._says_well(lent.stream)
        finally:
            self._kept.take_back(self, lent)
        if is_well:
            self._missed = 0
            if not self.is_well:
                self.is_well = True
                self._waits.change()
        elif (missed := self._missed + 1) < MISSED_MAX:
            self._missed = missed
        else:
            self._fell()

    async def _says_well(self, stream: WaitedStream) -> bool:
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES_MAX)
        headers = [("host", self._host.netloc), ("connection", "close")]
        try:
            async with asyncio.timeout(HEALTH_S_MAX):
                asked = http.send(h11.Request(method="GET", target=self.route.health, headers=headers))
                await stream.write(asked or b"")
                hints = 0
                while hints <= _HINTS_MAX:
                    event = http.next_event()
                    if event is h11.NEED_DATA:
                        http.receive_data(bytes(await stream.read()))
                    elif isinstance(event, h11.Response):
                        return event.status_code < _UNWELL
                    elif isinstance(event, h11.InformationalResponse):
                        hints += 1
                    else:
                        return False
                return False
        except (TimeoutError, Broken, h11.RemoteProtocolError, h11.LocalProtocolError):
            return False

    def _fell(self) -> None:
        self._missed = MISSED_MAX
        if self.is_well:
            self.is_well = False
            self._waits.change()
