"""A WebSocket between a browser and an app: two of them, message by message."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Final

from starlette.types import Message, Receive, Send
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from mosu.compute.relay.app_headers import Headers, to_app, to_browser, values_of
from mosu.compute.relay.cutting import Cut
from mosu.compute.relay.grants import UNFINISHED_BYTES_MAX, Grant, Grants, Unfinished
from mosu.compute.relay.proxy import FIRST_BYTE_S_MAX, PIECE_BYTES, Asked, Left, NoAnswer, TooSlow
from mosu.wire.streams import Broken
from mosu.wire.waited import WaitedStream

MESSAGE_BYTES_MAX: Final = 4 << 20
"""Of one message of an app: it is held whole."""
_BREATH_MESSAGES: Final = 64
"""So many go on before others have their turn."""
_SWITCHED: Final = 101
_TOO_MUCH: Final = 1009
_ENDED: Final = 1000
_AWAY: Final = 1001
_NO_TEXT: Final = 1007
_BROKEN: Final = 1011
REFUSED_NOW: Final = 4403
_NEVER_SENT: Final = frozenset({1005, 1006, 1015})
_PORT: Final = 80
"""Of an address that nobody sees."""
_OWED_MAX: Final = 100
"""Pings of an app that takes nothing, none of which can be answered."""
_CLOSE_S_MAX: Final = 5.0
_WORDS_BYTES: Final = 120
_SAID_BYTES_MAX: Final = 64 * 1024
_LIBRARY: Final = logging.getLogger(__name__)
_LIBRARY.propagate = False  # at DEBUG it writes down the headers, and so the app's cookies


async def joined(grants: Grants, grant: Grant, asked: Asked, *, receive: Receive, send: Send) -> None:
    """Carry messages both ways until either side closes, the browser leaves, or the grant ends.

    Raises:
        Full, NotJoined: there is no way to the app now.
        NoAnswer, TooSlow: the app did not take it.
    """
    with grant.in_use():
        async with grants.stream(grant) as lent:
            await bridged(asked, lent.stream, grants.unfinished, receive=receive, send=send, cut=grant.cut)


async def bridged(
    asked: Asked, stream: WaitedStream, unfinished: Unfinished, *, receive: Receive, send: Send, cut: Cut
) -> int:
    """`joined`, on a stream that is there, until it is cut; the status of the app's answer, 0 where there was none.

    Raises:
        NoAnswer, TooSlow: as there.
    """
    if (await receive())["type"] != "websocket.connect":
        return 0
    bridge = _Bridge(asked, stream, unfinished)
    try:
        if cut.is_set():  # while it was dialled
            return 0
        if (refused := await bridge.opened()) is not None:
            await _deny(send, refused, asked)
            return refused.status_code
        await bridge.accept(send)
        await _carried(bridge, receive, send, cut)
        return _SWITCHED
    finally:
        bridge.forget()


async def _carried(bridge: "_Bridge", receive: Receive, send: Send, cut: Cut) -> None:
    there = asyncio.create_task(bridge.to_app(receive))
    back = asyncio.create_task(bridge.to_browser(send))
    cutting = asyncio.create_task(cut.wait())
    tasks = {there, back, cutting}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        code, why = (REFUSED_NOW, cut.why) if cutting in done else bridge.end
    except Left:
        return
    except Broken:
        code, why = _BROKEN, "the app broke off"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    words = why.encode()[:_WORDS_BYTES].decode(errors="ignore")
    with suppress(TimeoutError):  # who reads nothing goes with their task
        async with asyncio.timeout(_CLOSE_S_MAX):
            await send({"type": "websocket.close", "code": code, "reason": words})


class _Bridge:
    """The app's side."""

    def __init__(self, asked: Asked, stream: WaitedStream, unfinished: Unfinished) -> None:
        path, _, query = asked.target.decode("ascii").partition("?")
        self._asked, self._stream, self._turn = asked, stream, asyncio.Lock()
        self._app = ClientProtocol(
            WebSocketURI(secure=False, host=asked.app.name, port=_PORT, path=path, query=query),
            subprotocols=_subprotocols(asked.headers) or None,
            max_size=MESSAGE_BYTES_MAX,
            logger=_LIBRARY,
        )
        self._answer: Response | None = None
        self._frames: deque[Frame] = deque()
        self._parts = bytearray()
        self._is_text = False
        self._owed = 0
        self._unread = memoryview(b"")
        self._unfinished, self._held_bytes = unfinished, 0

    @property
    def end(self) -> tuple[int, str]:
        """The code and the words with which the app closed, or we where it broke the protocol."""
        close = self._app.close_rcvd or self._app.close_sent
        if close is None:
            return _BROKEN, "the app broke off"
        return (_ENDED if close.code in _NEVER_SENT else close.code), close.reason

    async def opened(self) -> Response | None:
        """None once the app took it; else what it answered.

        Raises:
            NoAnswer, TooSlow: it is no answer, or none comes.
        """
        request = self._app.connect()
        del request.headers["Host"]
        for name, value in to_app(self._asked.headers, self._asked.app):
            if not name.startswith(b"sec-websocket-"):
                request.headers[name.decode("latin-1")] = value.decode("latin-1")
        self._app.send_request(request)
        try:
            async with asyncio.timeout(FIRST_BYTE_S_MAX):
                await self._flush()
                while self._answer is None and self._app.handshake_exc is None:
                    await self._take()
        except TimeoutError as error:
            raise TooSlow("The app did not answer in time.", hint="See its log.") from error
        except Broken as error:
            raise NoAnswer("The app broke off.", hint="See its log.") from error
        if self._answer is not None and self._answer.status_code != _SWITCHED:
            return self._answer
        if self._app.handshake_exc is not None:
            raise NoAnswer("What the app answers is no WebSocket.", hint="See its log.")
        return None

    async def accept(self, send: Send) -> None:
        assert self._answer is not None  # noqa: S101 - it was taken
        kept = [
            (name, value)
            for name, value in to_browser(_headers_of(self._answer), self._asked.app)
            if not name.startswith(b"sec-websocket-")
        ]
        await send({"type": "websocket.accept", "subprotocol": self._app.subprotocol, "headers": kept})

    async def to_app(self, receive: Receive) -> None:
        """
        Raises:
            Left: the browser closed, or went.
            Broken: the app's side is over.
        """
        for number in count(1):
            message = await receive()
            if number % _BREATH_MESSAGES == 0:
                await asyncio.sleep(0)
            async with self._turn:
                if message["type"] == "websocket.disconnect":
                    if self._app.state is State.OPEN:
                        self._app.send_close(_AWAY)
                        await self._flush()
                    raise Left
                if self._app.state is not State.OPEN:
                    continue
                if (text := message.get("text")) is not None:
                    self._app.send_text(text.encode())
                else:
                    self._app.send_binary(message.get("bytes") or b"")
                await self._flush()

    async def to_browser(self, send: Send) -> None:
        """Until the app closes.

        Raises:
            Broken: its side is over without that.
        """
        while True:
            for number, message in enumerate(self._messages(), 1):
                await send(message)
                if number % _BREATH_MESSAGES == 0:
                    await asyncio.sleep(0)
            if self._app.state is not State.OPEN:
                return
            await self._take()

    def _messages(self) -> list[Message]:
        """Those that are whole now."""
        found: list[Message] = []
        while self._frames:
            frame = self._frames.popleft()
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._is_text, self._parts = frame.opcode is Opcode.TEXT, bytearray()
            elif frame.opcode is not Opcode.CONT:
                continue
            self._parts += frame.data
            if not frame.fin:
                continue
            data, self._parts = bytes(self._parts), bytearray()
            self.forget()
            if not self._is_text:
                found.append({"type": "websocket.send", "bytes": data})
                continue
            try:
                found.append({"type": "websocket.send", "text": data.decode()})
            except UnicodeDecodeError:
                self._app.fail(_NO_TEXT, "text that is no UTF-8")
        return found

    async def _take(self) -> None:
        """What came next; frames that the protocol answers by itself are answered.

        Raises:
            Broken: the stream is over, or there is more to be answered than the app takes.
        """
        if not self._unread:
            self._unread = memoryview(await self._stream.read())
        piece, self._unread = self._unread[:PIECE_BYTES], self._unread[PIECE_BYTES:]
        await asyncio.sleep(0)
        if piece:
            self._app.receive_data(bytes(piece))
            self._hold(len(piece))
        else:
            self._app.receive_eof()
        for event in self._app.events_received():
            if isinstance(event, Response):
                self._answer = event
            elif isinstance(event, Frame):
                self._frames.append(event)
                self._owed += event.opcode is Opcode.PING
        if not self._turn.locked():
            async with self._turn:
                await self._flush()
        elif self._owed > _OWED_MAX:  # who writes waits for the app, so nobody may wait for who writes
            raise Broken("the app takes nothing")

    def _hold(self, came: int) -> None:
        """What of a message came, in a frame or several, waits for its end, which may never come."""
        came = min(came, MESSAGE_BYTES_MAX - self._held_bytes)
        self._held_bytes += came
        self._unfinished.bytes += came
        if self._unfinished.bytes > UNFINISHED_BYTES_MAX:
            self._app.fail(_TOO_MUCH, "apps have too many messages under way")

    def forget(self) -> None:
        """Nothing of a message waits any more."""
        self._unfinished.bytes -= self._held_bytes
        self._held_bytes = 0

    async def _flush(self) -> None:
        """Whole frames, one after the other, and what is to be answered meanwhile; by whoever has the turn."""
        while waiting := self._app.data_to_send():
            self._owed = 0
            for data in waiting:
                if data:
                    await self._stream.write(data)


def _subprotocols(headers: Headers) -> list[Subprotocol]:
    lists = [value.decode("latin-1") for value in values_of(headers, b"sec-websocket-protocol")]
    return [Subprotocol(name.strip()) for one in lists for name in one.split(",") if name.strip()]


def _headers_of(response: Response) -> Headers:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", errors="surrogateescape"))
        for name, value in response.headers.raw_items()
    ]


async def _deny(send: Send, response: Response, asked: Asked) -> None:
    """What the app answered instead of taking it."""
    headers = to_browser(_headers_of(response), asked.app)
    body = bytes(response.body or b"")[:_SAID_BYTES_MAX]
    await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
