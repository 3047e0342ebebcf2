"""One request of a browser to an app: read here, written anew for the run, and the answer the same way back.

No byte of a head passes as it came, so neither side can make the other one see a message that was not there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11
from starlette.types import Receive, Send

from mosu.compute.relay.app_headers import Headers, Host, to_app, to_browser, values_of
from mosu.compute.relay.cutting import Cut
from mosu.compute.relay.grants import Grant, Grants
from mosu.compute.relay.kept import IDLE_S_MAX as KEPT_S_MAX
from mosu.compute.relay.kept import UNREPEATED_S_MAX, Lent
from mosu.kernel.refusals import DomainError
from mosu.wire.streams import Broken
from mosu.wire.waited import WaitedStream

HEAD_BYTES_MAX: Final = 64 * 1024
FIRST_BYTE_S_MAX: Final = 60.0
"""From the last byte of the request to the head of the answer."""
IDLE_S_MAX: Final = 600.0
"""In a body, without a byte either way."""
PIECE_BYTES: Final = 4096
"""So much of what an app sends is read, then others have their turn: it chooses how much work its bytes are."""
_REPEATED: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BODILESS: Final = frozenset({204, 304})
_STATUS_MAX: Final = 599
_REFUSED: Final = 400


class NoAnswer(DomainError):
    """The app broke off, or what it answers is no HTTP."""

    code = "no_answer"
    status = 502


class TooSlow(DomainError):
    """The app took too long."""

    code = "too_slow"
    status = 504


class Left(Exception):
    """The browser went away."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose head was judged."""

    app: Host
    method: str
    target: bytes
    headers: Headers

    @property
    def framing(self) -> list[tuple[bytes, bytes]]:
        """Of its body, as it came: a length, or chunks."""
        if values_of(self.headers, b"transfer-encoding"):
            return [(b"transfer-encoding", b"chunked")]
        return [(b"content-length", length) for length in values_of(self.headers, b"content-length")]

    @property
    def has_body(self) -> bool:
        """Whether anything comes behind its head."""
        return bool(self.framing) and self.framing != [(b"content-length", b"0")]

    @property
    def may_be_repeated(self) -> bool:
        """Whether nothing can happen twice by it."""
        return self.method in _REPEATED and not self.has_body

    @property
    def kept_s_max(self) -> float:
        """So long a connection may have waited for it."""
        return KEPT_S_MAX if self.may_be_repeated else UNREPEATED_S_MAX


@dataclass(slots=True)
class Answer:
    """What the browser has been told."""

    send: Send
    status: int = 0
    started_at: float = 0.0
    """By the loop's clock."""
    started: bool = False
    complete: bool = False
    left: bool = False
    """Whether the browser went away."""

    async def start(self, status: int, headers: Headers) -> None:
        """Its head."""
        self.started, self.status = True, status
        self.started_at = asyncio.get_running_loop().time()
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


async def proxied(grants: Grants, grant: Grant, asked: Asked, receive: Receive, answer: Answer) -> None:
    """Ask the app and pass its answer on; returns early, the answer incomplete, if the grant ends or the browser left.

    Raises:
        Full, NotJoined: there is no way to the app now.
        NoAnswer: what comes is no answer, or it breaks off; part of it may have gone on.
        TooSlow: nothing comes for too long.
    """
    with grant.in_use():
        try:
            async with grants.stream(grant, kept_s_max=asked.kept_s_max) as lent:
                await exchanged(asked, lent, receive, answer, cut=grant.cut)
        except NoAnswer:
            if not (lent.was_kept and is_unheard(asked, lent)):
                raise
            async with grants.stream(grant) as lent:
                await exchanged(asked, lent, receive, answer, cut=grant.cut)


def is_unheard(asked: Asked, lent: Lent) -> bool:
    """Whether the request may be asked once more: nothing was changed by it, and not a byte came."""
    return asked.may_be_repeated and not lent.stream.bytes_in


async def exchanged(
    asked: Asked,
    lent: Lent,
    receive: Receive,
    answer: Answer,
    *,
    cut: Cut,
    first_byte_s_max: float | None = None,
) -> None:
    """`proxied`, on a connection that is there, until it is cut.

    Raises:
        NoAnswer, TooSlow: as there.
    """
    if cut.is_set():  # while it was dialled
        return
    exchange = _Exchange(asked, lent.stream, receive, answer, first_byte_s_max)
    try:
        with cut.telling(exchange.stop):
            await exchange.run()
        lent.is_free = exchange.is_free
    except Left:
        answer.left = True


class _Exchange:
    """One request and its answer, on a stream that nobody else uses meanwhile."""

    is_free = False
    """Whether another request may follow on the stream."""

    def __init__(
        self,
        asked: Asked,
        stream: WaitedStream,
        receive: Receive,
        answer: Answer,
        first_byte_s_max: float | None = None,
    ) -> None:
        self._asked, self._stream, self._receive, self._answer = asked, stream, receive, answer
        self._first_byte_s_max = first_byte_s_max or FIRST_BYTE_S_MAX
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._unread = memoryview(b"")
        self._body_sent = 0
        self._time: asyncio.Timeout
        self._is_over = self._may_be_unread = False
        """The second: an app that refuses often leaves the body unread, and would take it for the next request."""
        self._failed: BaseException | None = None

    async def run(self) -> None:
        """Until the answer is whole, or it is stopped.

        One task beside this one, and no more: what passes here passes often.
        """
        try:
            async with asyncio.timeout(self._first_byte_s_max) as self._time:
                await self._both_ways()
        except TimeoutError as error:
            if not self._is_over:
                raise TooSlow("The app did not answer in time.", hint="See its log.") from error
        except Broken as error:
            raise NoAnswer("The app broke off.", hint="See its log.") from error
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            raise NoAnswer("What the app answers is no HTTP.", hint="See its log.") from error

    def stop(self) -> None:
        """Now; waits for nobody."""
        self._is_over = True
        with suppress(RuntimeError):  # it has ended meanwhile
            self._time.reschedule(asyncio.get_running_loop().time())

    async def _both_ways(self) -> None:
        headers = [*to_app(self._asked.headers, self._asked.app), *self._asked.framing]
        request = h11.Request(method=self._asked.method, target=self._asked.target, headers=headers)
        await self._stream.write(self._http.send(request))
        if not self._asked.framing:
            self._http.send(h11.EndOfMessage())
        there = asyncio.create_task(self._pass_body())
        there.add_done_callback(self._passed)
        try:
            await self._pass_answer()
            self.is_free = self._has_come_to_end()
        except asyncio.CancelledError:
            if self._is_over and self._failed is not None:
                raise self._failed from None
            raise
        finally:
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)

    def _passed(self, there: asyncio.Task[None]) -> None:
        """Where no more of the body is taken the answer may still come; whatever else ends it, ends this."""
        self._failed = None if there.cancelled() else there.exception()
        if self._failed is not None and not isinstance(self._failed, Broken):
            self.stop()

    async def _pass_body(self) -> None:
        """
        Raises:
            Left: the browser did, then or while the answer is awaited.
        """
        more = bool(self._asked.framing)
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Left
            if not more:
                continue
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                await self._stream.write(self._http.send(h11.Data(data=body)) or b"")
                self._body_sent += len(body)
            if not more:
                await self._stream.write(self._http.send(h11.EndOfMessage()) or b"")
            self._moved()

    def _has_come_to_end(self) -> bool:
        """Both messages were whole to the letter, neither side ends the connection by it, and nothing is left over."""
        are_whole = self._http.our_state is self._http.their_state is h11.DONE
        return (
            are_whole
            and not self._may_be_unread
            and self._http.trailing_data == (b"", False)
            and not self._unread
        )

    async def _pass_answer(self) -> None:
        head = await self._next()
        while isinstance(head, h11.InformationalResponse):
            if head.status_code == 101:  # nobody asked for it
                raise h11.RemoteProtocolError("switched protocols")
            head = await self._next()
        if not isinstance(head, h11.Response) or head.status_code > _STATUS_MAX:
            raise h11.RemoteProtocolError("no response")
        if sum(len(name) + len(value) for name, value in head.headers) > HEAD_BYTES_MAX:
            raise h11.RemoteProtocolError("a head that is too long")
        self._may_be_unread = self._asked.has_body and (self._is_early() or head.status_code >= _REFUSED)
        headers = self._told(head.status_code, list(head.headers))
        await self._answer.start(head.status_code, headers)
        self._moved()
        async for part in self._body():
            await self._say({"type": "http.response.body", "body": part, "more_body": True})
        await self._say({"type": "http.response.body", "body": b""})
        self._answer.complete = True

    def _is_early(self) -> bool:
        """Whether some of the body was not sent yet."""
        lengths = values_of(self._asked.headers, b"content-length")
        if lengths and not values_of(self._asked.headers, b"transfer-encoding"):
            return self._body_sent < int(
                lengths[0]
            )  # its end may be told to us after it was whole for the app
        return self._http.our_state is not h11.DONE

    async def _body(self) -> AsyncIterator[bytes]:
        """What is there of it, put together: a chunk may be a single byte."""
        parts = bytearray()
        while not isinstance(part := self._http.next_event(), h11.EndOfMessage):
            if isinstance(part, h11.Data):
                parts += part.data
            elif part is not h11.NEED_DATA:
                raise h11.RemoteProtocolError("no body")
            else:
                if parts:
                    yield bytes(parts)
                    parts.clear()
                await self._feed()
        if parts:
            yield bytes(parts)

    def _told(self, status: int, headers: Headers) -> list[tuple[bytes, bytes]]:
        told = to_browser(headers, self._asked.app)
        lengths = values_of(headers, b"content-length")
        if values_of(headers, b"transfer-encoding"):
            if lengths:
                raise h11.RemoteProtocolError("two lengths")
        elif lengths and status not in _BODILESS:
            told.append((b"content-length", lengths[0]))
        if values_of(self._asked.headers, b"upgrade"):
            told.append((b"connection", b"close"))  # it asked for another protocol, and goes on in none
        return told

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._feed()
        return event

    async def _feed(self) -> None:
        if not self._unread:
            self._unread = memoryview(await self._stream.read())
        piece, self._unread = self._unread[:PIECE_BYTES], self._unread[PIECE_BYTES:]
        if len(piece) == PIECE_BYTES:
            await asyncio.sleep(0)
        self._http.receive_data(bytes(piece))
        if self._answer.started:
            self._moved()

    async def _say(self, message: dict[str, object]) -> None:
        await self._answer.send(message)
        self._moved()

    def _moved(self) -> None:
        if self._is_over:
            return
        limit = IDLE_S_MAX if self._answer.started else self._first_byte_s_max
        self._time.reschedule(asyncio.get_running_loop().time() + limit)
