"""Joining one person's connection with a stream, for as long as the person may."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Final
from uuid import UUID

import structlog
from django.utils import timezone
from starlette.websockets import WebSocket, WebSocketDisconnect

from mosu.compute import services
from mosu.compute.relay.tunnels import ASK_S_MAX, BREATH_MESSAGES, Tunnels, closed
from mosu.compute.services import Granted, Traffic
from mosu.compute.stream_doors import in_thread
from mosu.kernel.refusals import DomainError
from mosu.wire.streams import Broken, Refused, Stream
from mosu.wire.tunnel import Target

RENEW_S: Final = 30.0
"""So often who is joined is asked for anew."""
UNSURE_S: Final = 75.0
"""Nobody stays joined for longer than this without the database's word."""
OPEN_S_MAX: Final = 10.0
GONE_S_MAX: Final = 10.0
"""So long what a person sent last may still go to the run after they left."""
CONNECTIONS_MAX: Final = 2_000
"""Of one relay: each may hold a window of bytes each way."""
ENDED: Final = 1000
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


@dataclass(eq=False)
class Joined:
    """A connection with its stream."""

    websocket: WebSocket
    stream: Stream
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    ended_by_us: str = ""
    checked_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def traffic(self) -> Traffic:
        """Bytes to the run and from it."""
        return Traffic(bytes_in=self.stream.bytes_out, bytes_out=self.stream.bytes_in)

    def end(self, why: str) -> None:
        """Now, both ways; waits for nobody."""
        self.ended_by_us = self.ended_by_us or why
        self.cut.set()


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
            tunnel = self._tunnels.of(granted.pool_id)
            if tunnel is None:
                raise NotJoined("The supplier's agent is away.", hint="Try again in a minute.")
            return await asyncio.wait_for(
                tunnel.open(Target(attempt_id=granted.attempt_id, port=port)), OPEN_S_MAX
            )
        except BaseException as error:
            refusal = _refusal_of(error, port)
            why = refusal.message if refusal else "left before it was joined"
            await self._noted(granted.connection_id, Traffic(bytes_in=0, bytes_out=0), why)
            if refusal is None:
                raise
            raise refusal from error
        finally:
            self._opening -= 1

    async def join(self, granted: Granted, websocket: WebSocket, stream: Stream) -> None:
        """Carry bytes both ways until both have ended, or one side is gone."""
        joined = self._joined[granted.connection_id] = Joined(websocket, stream)
        why = _LEFT
        try:
            await websocket.accept()
            why = await _carried(joined)
        except (WebSocketDisconnect, OSError):  # before it was accepted
            pass
        finally:
            del self._joined[granted.connection_id]
            why = joined.ended_by_us or why
            # Neither waits for the other: the agent may take nothing, the database may say nothing.
            await asyncio.gather(
                stream.reset(joined.ended_by_us or "the other side is gone"),
                self._noted(granted.connection_id, joined.traffic, why),
            )

    async def renew_for_ever(self) -> None:
        """Ask every 30 s who may go on; who may not, and after a while all if nobody answers, is cut."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self.renew()
            except Exception:  # noqa: BLE001 - whatever fails once is tried again: without it nobody is ever cut
                self._log.exception("who is joined could not be renewed")

    async def renew(self) -> None:
        """Once: people and tunnels."""
        await asyncio.gather(self._renew_joined(), self._tunnels.renew())

    async def _renew_joined(self) -> None:
        asked, clock = dict(self._joined), asyncio.get_running_loop().time
        asked_at = clock()
        try:
            async with asyncio.timeout(ASK_S_MAX):
                over = await in_thread(
                    _renewed,
                    executor=self._tunnels.asking,
                    traffic={key: joined.traffic for key, joined in asked.items()},
                    now=timezone.now(),
                )
        except Exception:  # noqa: BLE001 - the database is away: those who are sure until the next answer go on
            self._log.exception("who is joined could not be asked for")
            sure_until = clock() + RENEW_S + ASK_S_MAX
            over = {
                key: "the hub could not say whether you still may"
                for key, joined in asked.items()
                if sure_until > joined.checked_at + UNSURE_S
            }
        else:
            for joined in asked.values():
                joined.checked_at = asked_at
        for key, why in over.items():
            asked[key].end(why)

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
    over = services.renew_connections(traffic=traffic, now=now)
    services.close_forgotten(now=now)
    return over


async def _carried(joined: Joined) -> str:
    """Both ways, until both have ended, or it is cut, whatever either side waits for; how it ended."""
    websocket, stream, ended = joined.websocket, joined.stream, asyncio.Event()
    there = asyncio.create_task(_to_run(websocket, stream, ended))
    back = asyncio.create_task(_to_person(websocket, stream, ended))
    lost = asyncio.create_task(stream.broken())
    cut = asyncio.create_task(joined.cut.wait())
    gone = asyncio.create_task(_gone(websocket))
    tasks = (there, back, lost, cut, gone)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if cut not in done:
            for task in done:
                task.result()
    except Broken as broken:
        why, code = str(broken), GONE
    except (WebSocketDisconnect, OSError):
        return _LEFT
    else:
        why, code = (joined.ended_by_us, REFUSED_NOW) if cut in done else ("", ENDED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await closed(websocket, code, why.encode()[:_WORDS_BYTES].decode(errors="ignore"))
    return why or _ENDED


async def _to_run(websocket: WebSocket, stream: Stream, ended: asyncio.Event) -> None:
    """What the person sends, until the person has left; an empty message ends it, and then we only listen.

    Raises:
        WebSocketDisconnect: the person left.
        Broken: the stream is over.
    """
    for number in count(1):
        message = await websocket.receive()
        if number % BREATH_MESSAGES == 0:
            await asyncio.sleep(0)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", ENDED))
        data = message.get("bytes")
        if data and not ended.is_set():
            await stream.write(data)
        elif not ended.is_set():  # text is nothing that we know: it ends it, too
            ended.set()
            await stream.end()


async def _to_person(websocket: WebSocket, stream: Stream, ended: asyncio.Event) -> None:
    """What the run sends; done when both have ended.

    Raises:
        Broken: the stream is over.
    """
    while part := await stream.read():
        await websocket.send_bytes(bytes(part))
    await websocket.send_bytes(b"")
    await ended.wait()


async def _gone(websocket: WebSocket) -> None:
    """Who went while the run reads nothing: what they sent last waits for it, and behind that their leaving.

    Raises:
        WebSocketDisconnect: they left some seconds ago.
    """
    await getattr(websocket.state, "gone", asyncio.Event()).wait()
    await asyncio.sleep(GONE_S_MAX)
    raise WebSocketDisconnect(ENDED)


def _refusal_of(error: BaseException, port: int) -> DomainError | None:
    if isinstance(error, DomainError):
        return error
    if isinstance(error, Refused):
        return NotJoined(
            f"Port {port} of the run was not reached: {error}", hint="See what the run listens on."
        )
    if isinstance(error, Broken):
        return NotJoined("The supplier's agent is away.", hint="Try again in a minute.")
    if isinstance(error, TimeoutError):
        return NotJoined("The supplier's agent did not answer.", hint="Try again in a minute.")
    return None
