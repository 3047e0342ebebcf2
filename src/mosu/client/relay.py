"""Joining a local connection to a port of a run: one WebSocket at the hub's relay for each.

Binary messages are the bytes, both ways; an empty one says that no more come from that side. What a slow reader leaves
is bounded: neither side is read faster than the other one takes it.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, cast
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus, WebSocketException

from mosu.client.errors import BrokenAnswer, CutOff, ProblemError, Unreachable, problem_of
from mosu.wire.opening import ClientWay, opened
from mosu.wire.websocket import Bytes

if TYPE_CHECKING:
    from mosu.client.models import Run
    from mosu.client.sdk import Client

_OPEN_S_MAX: Final = 15.0
_CLOSE_S_MAX: Final = 2.0
_ANSWER_S_MAX: Final = 10.0
_ANSWER_BYTES: Final = 64 * 1024
_ENDED: Final = 1000
_LEFT: Final = 1001
_CUT_OFF: Final = range(4400, 4600)
"""4000 and the HTTP status that says the same."""
NOT_ALLOWED: Final = frozenset({401, 403, 404})
"""Of refusals, those that asking again does not change."""
_LOG: Final = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False  # at DEBUG the library writes down the headers, and so the token


@dataclass(slots=True)
class Traffic:
    """How many bytes passed."""

    bytes_in: int = 0
    """To the run."""
    bytes_out: int = 0
    """From the run."""


class _LocalGone(Exception):
    """The local side broke off, which is its own affair."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Where the ports of one run are reached, as the owner of a token."""

    url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, hub: "Client", run: "Run") -> Self:
        """The relay that the hub names for the run. The token goes there and nowhere else, no redirect is followed.

        Raises:
            BrokenAnswer: it names none that the token may be sent to.
        """
        if not may_be_told_the_token(run.connect_url or "", hub_url=hub.url):
            raise BrokenAnswer(
                f"The hub names no usable address of {run.id}: {run.connect_url!r}.",
                hint="Tell the hub's operator: MOSU_RELAY_URL.",
            )
        return cls(run.connect_url or "", hub.headers)

    async def join(self, port: int, taken: socket.socket, traffic: Traffic) -> None:
        """Carry bytes both ways until both sides have ended; the local connection is over then.

        One that did not come to its end is reset, so that a half file does not look like a whole one.

        Raises:
            ProblemError: refused before it began.
            CutOff: ended by the hub or the run before its end.
            Unreachable: no relay answers, or it went away.
            BrokenAnswer: what answers does not speak the protocol.
        """
        local = _Local(traffic)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: local, taken)
        try:
            way = await self._opened(port)
            code = _LEFT
            try:
                await local.carried(way)
                code = _ENDED
            finally:
                await _close(way, code)
            await local.flushed()
        except _LocalGone:
            return
        finally:
            local.reset()

    async def answers(self, port: int, path: str) -> bool:
        """Whether what listens at the port answers HTTP, asked for `path`.

        Raises:
            ProblemError: the hub does not let them in.
        """
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        joining = asyncio.ensure_future(self.join(port, theirs, Traffic()))
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(_ANSWER_S_MAX):
                if await reader.readexactly(5) == b"HTTP/":
                    await reader.read(_ANSWER_BYTES)
                    return True
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            await asyncio.wait({joining}, timeout=_CLOSE_S_MAX)
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
        refused = None if joining.cancelled() else joining.exception()
        if isinstance(refused, ProblemError) and refused.status in NOT_ALLOWED:
            raise refused
        return False

    async def _opened(self, port: int) -> ClientWay:
        try:
            return await opened(
                f"{self.url}?port={port}",
                additional_headers=self.headers,
                open_timeout=_OPEN_S_MAX,
                close_timeout=_CLOSE_S_MAX,
                ping_timeout=None,  # whoever waits for a slow reader answers no ping
                logger=_LOG,
            )
        except InvalidStatus as refused:
            answer = refused.response
            text = bytes(answer.body or b"").decode(errors="replace")
            raise problem_of(answer.status_code, text) from refused
        except (OSError, WebSocketException, ImportError) as error:
            raise Unreachable(
                f"The relay does not answer: {error}.", hint="The next connection is tried anew."
            ) from error


def may_be_told_the_token(url: str, *, hub_url: str) -> bool:
    """Whether it is an address of a relay, over TLS where the hub's is."""
    parts = urlsplit(url)
    wanted = {"wss"} if hub_url.startswith("https://") else {"ws", "wss"}
    return parts.scheme in wanted and bool(parts.hostname) and not parts.query and not parts.fragment


def break_off_when_closed(local: socket.socket, *, wanted: bool = True) -> None:
    """Have its other side read an error, not an end, however it is closed (socket(7), SO_LINGER)."""
    with suppress(OSError):  # it broke already
        local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", wanted, 0))


class _Local(asyncio.Protocol):
    """The local connection, and who listens to the way: what the one sends, the other is given."""

    _transport: asyncio.Transport
    _way: ClientWay | None = None

    def __init__(self, traffic: Traffic) -> None:
        loop = asyncio.get_running_loop()
        self._traffic = traffic
        self._gone: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()
        self._has_ended = self._has_come_to_end = False

    async def carried(self, way: ClientWay) -> None:
        """Returns once the relay has closed the connection at its end, and not before: what was sent may still be
        on its way to the run.

        Raises:
            _LocalGone: the local side broke off.
            CutOff, Unreachable, BrokenAnswer: as `Relay.join`.
        """
        self._way = way
        way.begin(self)
        self._transport.resume_reading()
        await asyncio.wait({self._over, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        if not self._over.done():
            raise _LocalGone
        self._over.result()
        _check_end(way)

    async def flushed(self) -> None:
        """The local side has been sent all of it."""
        break_off_when_closed(self._transport.get_extra_info("socket"), wanted=False)
        self._transport.close()
        await asyncio.wait({self._gone})

    def reset(self) -> None:
        """Break it off, if it is still there: its other side reads an error, not an end."""
        if not self._gone.done():
            break_off_when_closed(self._transport.get_extra_info("socket"))
            self._transport.abort()

    # What comes from the local side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()  # until there is a way

    def data_received(self, data: bytes) -> None:
        assert self._way is not None  # noqa: S101 - before, nothing is read
        self._traffic.bytes_in += len(data)
        self._way.put(data)
        if self._way.is_full:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._way is not None and not self._has_ended:
            self._has_ended = True
            self._way.put(b"")
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        if self._way is not None:
            self._way.hold()

    def resume_writing(self) -> None:
        if self._way is not None:
            self._way.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set_result(None)

    # What comes from the relay.

    def taken(self, message: Bytes) -> None:
        if self._transport.is_closing() or self._over.done():
            return
        if not message:
            self._has_come_to_end = True
            with suppress(OSError):  # it broke meanwhile, and says so soon
                self._transport.write_eof()
        elif not self._has_come_to_end:
            self._traffic.bytes_out += len(message)
            self._transport.write(message)

    def text_came(self) -> None:
        self._finish(BrokenAnswer("The relay sent text where bytes belong.", hint="Update mosu."))

    def has_room(self) -> None:
        self._transport.resume_reading()

    def lost(self) -> None:
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)


async def _close(way: ClientWay, code: int) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S_MAX):
            await way.close(code)
            return
    way.transport.abort()


def _check_end(way: ClientWay) -> None:
    """
    Raises:
        CutOff, Unreachable: the relay closed the connection before its end.
    """
    said = way.protocol.close_rcvd
    code, why = (said.code, said.reason) if said is not None else (1006, "")
    if code in _CUT_OFF:
        raise CutOff(why or f"The relay answered {code - 4000}.")
    if code != _ENDED:
        raise Unreachable(f"The relay broke off: {why or code}.", hint="The next connection is tried anew.")
