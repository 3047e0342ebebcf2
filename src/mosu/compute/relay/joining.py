"""Joining one person's connection with a stream, for as long as the person may."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from django.utils import timezone
from starlette.websockets import WebSocket, WebSocketDisconnect

from mosu.compute import services
from mosu.compute.relay.renewing import over
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import Granted, Traffic
from mosu.compute.stream_doors import in_thread
from mosu.kernel.reaching import CROWDED
from mosu.kernel.refusals import DomainError
from mosu.wire.streams import Broken, Refused, Stream
from mosu.wire.tunnel import Target
from mosu.wire.websocket import Bytes, ServedWay

OPEN_S_MAX: Final = 10.0
GONE_S_MAX: Final = 10.0
"""So long what a person sent last may still go to the run after they left."""
CONNECTIONS_MAX: Final = 2_000
"""Of one relay: each may hold a window of bytes each way."""
ENDED: Final = 1000
LEFT: Final = 1001
REFUSED_NOW: Final = 4403
GONE: Final = 4502
_LEFT: Final = "the person left"
_ENDED: Final = "it ended"
_WORDS_BYTES: Final = 120
"""Of the reason with which a WebSocket closes (RFC 6455 section 5.5)."""


class Full(DomainError):
    """The relay carries as many connections as it can."""

    code = "relay_full"
    status = 503


class NotJoined(DomainError):
    """Who may be joined cannot be: the agent has no tunnel, or nothing listens there."""

    code = "not_joined"
    status = 502


class Crowded(NotJoined):
    """As many connections go there as are carried at once; nothing is ill, and one may be free in a moment."""

    code = "crowded"
    status = 503


async def dialled(tunnels: Tunnels, pool_id: UUID, target: Target) -> Stream:
    """A stream to the port.

    Raises:
        Crowded: as many go there as are carried at once.
        NotJoined: the agent is away, or nothing listens there.
    """
    try:
        tunnel = tunnels.of(pool_id)
        if tunnel is None:
            raise Broken("no tunnel")
        return await asyncio.wait_for(tunnel.open(target), OPEN_S_MAX)
    except (Refused, Broken, TimeoutError) as error:
        raise _not_joined(error, target.port) from error


class Joined:
    """A connection with its stream: what the one sends, the other is given."""

    def __init__(self, way: ServedWay, stream: Stream) -> None:
        self.checked_at = asyncio.get_running_loop().time()
        self._way, self._stream = way, stream
        self._over: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._has_left = self._has_ended = False

    @property
    def traffic(self) -> Traffic:
        """Bytes to the run and from it."""
        return Traffic(bytes_in=self._stream.bytes_out, bytes_out=self._stream.bytes_in)

    @property
    def is_full(self) -> bool:
        """Whether the person must read something first."""
        return self._way.is_full

    async def carry(self) -> str:
        """Until both ways have ended, one side is gone, or it is cut, whatever either waits for; how it ended."""
        self._way.begin(self)
        self._stream.join(self)
        code, why = LEFT, _LEFT
        try:
            code, why = await self._over
        finally:
            self._stream.reset("the other side is gone" if code == LEFT else why)
            self._way.close(code, why.encode()[:_WORDS_BYTES].decode(errors="ignore"))
        return why or _ENDED

    def cut(self, why: str) -> None:
        """Now, both ways."""
        self._finish(REFUSED_NOW, why)

    # What comes from the person.

    def taken(self, message: Bytes) -> None:
        """An empty one ends it, and then we only listen."""
        if message:
            self._stream.send(message)
        else:
            self._stream.end()

    def text_came(self) -> None:
        """Nothing that we know: it ends it, too."""
        self._stream.end()

    def has_room(self) -> None:
        """The person has read what there was."""
        if self._has_ended:
            self._finish(ENDED, "")
        else:
            self._stream.has_room()

    def lost(self) -> None:
        """The person left. What they sent last may go on for some seconds."""
        self._has_left = True
        if self._stream.is_waiting:
            asyncio.get_running_loop().call_later(GONE_S_MAX, self._finish, LEFT, _LEFT)
        else:
            self._finish(LEFT, _LEFT)

    # What comes from the run.

    def give(self, data: Bytes) -> None:
        """To the person."""
        self._way.put(data)

    def give_end(self) -> None:
        """No more comes from the run."""
        self._way.put(b"")

    def hold(self) -> None:
        """What the person sent last has not gone yet."""
        self._way.hold()

    def go_on(self) -> None:
        """It has."""
        if self._has_left:
            self._finish(LEFT, _LEFT)
        else:
            self._way.go_on()

    def ended(self) -> None:
        """Both have said so; the person may read the last of it as slowly as they like."""
        self._has_ended = True
        self._way.flush()
        if not self._way.is_full:
            self._finish(ENDED, "")

    def broken(self, why: str) -> None:
        """The agent or the run is gone."""
        self._finish(GONE, why)

    def _finish(self, code: int, why: str) -> None:
        if not self._over.done():
            self._over.set_result((code, why))


class Joining:
    """All connections of this relay."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self._joined: dict[UUID, Joined] = {}
        self._opening = 0
        self._log = structlog.get_logger("relay")

    def __len__(self) -> int:
        return len(self._joined)

    async def opened(self, granted: Granted, port: int) -> Stream:
        """A stream to the port; if there is none, the connection is noted as over.

        Raises:
            Full: as many as may be are open.
            NotJoined: the agent is away, or nothing listens there.
        """
        self._opening += 1
        try:
            if len(self._joined) + self._opening > CONNECTIONS_MAX:
                raise Full("The relay is full.", hint="Try again in a while.", retry_after_s=10)
            target = Target(attempt_id=granted.attempt_id, port=port)
            return await dialled(self._tunnels, granted.pool_id, target)
        except BaseException as error:
            why = error.message if isinstance(error, DomainError) else "left before it was joined"
            await self._noted(granted.connection_id, Traffic(bytes_in=0, bytes_out=0), why)
            raise
        finally:
            self._opening -= 1

    async def join(self, granted: Granted, websocket: WebSocket, stream: Stream) -> None:
        """Carry bytes both ways until both have ended, or one side is gone."""
        await self.carry(granted, websocket.state.way, stream, accepted=websocket.accept)

    async def carry(
        self,
        granted: Granted,
        way: ServedWay,
        stream: Stream,
        *,
        accepted: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """What `join` does, over whatever way; `accepted` ends before anything is carried."""
        joined = self._joined[granted.connection_id] = Joined(way, stream)
        why = _LEFT
        try:
            if accepted is not None:
                await accepted()
            why = await joined.carry()
        except (WebSocketDisconnect, OSError):  # before it was accepted
            stream.reset("the other side is gone")
        finally:
            del self._joined[granted.connection_id]
            await self._noted(granted.connection_id, joined.traffic, why)

    async def renew(self) -> None:
        """Once: people and tunnels."""
        await asyncio.gather(self._renew_joined(), self._tunnels.renew())

    async def _renew_joined(self) -> None:
        asked = dict(self._joined)

        async def ask() -> Mapping[UUID, str]:
            return await in_thread(
                _renewed,
                executor=self._tunnels.asking,
                traffic={key: joined.traffic for key, joined in asked.items()},
                now=timezone.now(),
            )

        for key, why in (await over(asked, ask)).items():
            asked[key].cut(why)

    async def _noted(self, connection_id: UUID, traffic: Traffic, why: str) -> None:
        """Written down even while this task is being cancelled; if it cannot be, `close_forgotten` does it later."""
        now: datetime = timezone.now()
        closing = in_thread(
            services.close_connection, connection_id=connection_id, traffic=traffic, why=why, now=now
        )
        try:
            await asyncio.shield(asyncio.ensure_future(closing))
        except Exception:  # noqa: BLE001 - the database is away, and the person need not hear of it
            self._log.exception("the end of a connection could not be noted", connection=str(connection_id))


def _renewed(*, traffic: Mapping[UUID, Traffic], now: datetime) -> Mapping[UUID, str]:
    told = services.renew_connections(traffic=traffic, now=now)
    services.close_forgotten(now=now)
    return told


def _not_joined(error: Refused | Broken | TimeoutError, port: int) -> NotJoined:
    if isinstance(error, Refused) and str(error) == CROWDED:
        return Crowded(
            f"Port {port} of the run has as many connections as are carried at once.",
            hint="Try again in a while.",
            retry_after_s=5,
        )
    if isinstance(error, Refused):
        return NotJoined(
            f"Port {port} of the run was not reached: {error}", hint="See what the run listens on."
        )
    if isinstance(error, Broken):
        return NotJoined("The supplier's agent is away.", hint="Try again in a minute.")
    return NotJoined("The supplier's agent did not answer.", hint="Try again in a minute.")
