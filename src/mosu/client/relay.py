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
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from mosu.client.errors import BrokenAnswer, CutOff, ProblemError, Unreachable
from mosu.client.transport import problem_of

if TYPE_CHECKING:
    from mosu.client.models import Run
    from mosu.client.sdk import Client

_CHUNK_BYTES: Final = 64 * 1024
_MESSAGE_BYTES_MAX: Final = 1024 * 1024
_MESSAGES_MAX: Final = 8
"""So many wait to be written before the relay is no longer read."""
_OPEN_S_MAX: Final = 15.0
_CLOSE_S_MAX: Final = 2.0
_ANSWER_S_MAX: Final = 10.0
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
        parts = urlsplit(run.connect_url or "")
        wanted = {"wss"} if hub.url.startswith("https://") else {"ws", "wss"}
        if parts.scheme not in wanted or not parts.hostname or parts.query or parts.fragment:
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
        reader, writer = await asyncio.open_connection(sock=taken)
        try:
            opened = await self._opened(port)
            code = _LEFT
            try:
                await _carry(opened, reader, writer, traffic)
                code = _ENDED
            finally:
                await opened.close(code)
            writer.close()
            await writer.wait_closed()
        except (_LocalGone, OSError):
            return
        finally:
            _reset(writer)

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
                    await reader.read(_CHUNK_BYTES)
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

    async def _opened(self, port: int) -> ClientConnection:
        is_here = urlsplit(self.url).hostname in {"127.0.0.1", "::1", "localhost"}
        try:
            return await _Straight(
                f"{self.url}?port={port}",
                additional_headers=self.headers,
                compression=None,
                proxy=None if is_here else True,  # as the environment says, like every other call
                open_timeout=_OPEN_S_MAX,
                close_timeout=_CLOSE_S_MAX,
                ping_timeout=None,  # whoever waits for a slow reader answers no ping
                max_size=_MESSAGE_BYTES_MAX,
                max_queue=_MESSAGES_MAX,
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


class _Straight(connect):
    """Follows no redirect: the token stays with the relay that the hub named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _carry(
    opened: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, traffic: Traffic
) -> None:
    """Returns once the relay has closed the connection at its end, and not before: what was sent may still be on
    its way to the run."""
    sending = asyncio.ensure_future(_send(opened, reader, traffic))
    receiving = asyncio.ensure_future(_receive(opened, writer, traffic))
    try:
        await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            await sending
        await receiving
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send(opened: ClientConnection, reader: asyncio.StreamReader, traffic: Traffic) -> None:
    while True:
        try:
            data = await reader.read(_CHUNK_BYTES)
        except OSError as error:
            raise _LocalGone from error
        try:
            await opened.send(data)
        except ConnectionClosed:
            return  # the one who receives learns why
        if not data:
            return
        traffic.bytes_in += len(data)


async def _receive(opened: ClientConnection, writer: asyncio.StreamWriter, traffic: Traffic) -> None:
    while True:
        try:
            message = await opened.recv()
        except ConnectionClosed as closed:
            _check_end(closed)
            return
        if isinstance(message, str):
            raise BrokenAnswer("The relay sent text where bytes belong.", hint="Update mosu.")
        try:
            if message:
                writer.write(message)
                await writer.drain()
            else:
                writer.write_eof()
        except OSError as error:
            raise _LocalGone from error
        traffic.bytes_out += len(message)


def _check_end(closed: ConnectionClosed) -> None:
    """
    Raises:
        CutOff, Unreachable: the relay closed the connection before its end.
    """
    code, why = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")
    if code in _CUT_OFF:
        raise CutOff(why or f"The relay answered {code - 4000}.") from closed
    if code != _ENDED:
        raise Unreachable(
            f"The relay broke off: {why or code}.", hint="The next connection is tried anew."
        ) from closed


def _reset(writer: asyncio.StreamWriter) -> None:
    """Break a local connection off, if it is still there: its other side reads an error, not an end."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()
