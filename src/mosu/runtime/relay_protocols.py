"""uvicorn's protocols with a bound to what a peer can make the relay hold, and for how long."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

REQUEST_S_MAX: Final = 10.0
"""So long a connection may be none but HTTP: only `/healthz` is, and it is quick."""
REQUEST_BYTES_MAX: Final = 64 * 1024


class BoundedRequest(HttpToolsProtocol):
    """Who asks for something does so soon, and in few words."""

    _came = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(REQUEST_S_MAX, self._end_if_late)

    def _end_if_late(self) -> None:
        if self.transport.get_protocol() is self:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._came > REQUEST_BYTES_MAX:
            self.transport.abort()
        else:
            super().data_received(data)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """A peer that reads nothing, says nothing, or speaks in crumbs costs no more than another one."""

    _pong = b""
    _rest: bytearray | None = None
    _gone: asyncio.Event | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # uvicorn gave it the whole request, and it is none
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_ping(self) -> None:
        """While the peer reads nothing, the newest alone is kept to be answered (RFC 6455 section 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        elif pongs := self.conn.data_to_send():
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong and not self.close_sent:
            self.transport.write(pong)

    def handle_cont(self, event: Frame) -> None:
        """One piece of memory for all parts: a million small or empty ones would be a million objects."""
        rest = self._rest = self._rest or bytearray()
        rest += event.data
        if event.fin:
            self.frames.append(bytes(rest))
            self._rest = None
            self.send_receive_event_to_app()

    def handle_connect(self, event: Request) -> None:
        """The application finds `gone` in the connection's state: an event that does not wait to be received."""
        super().handle_connect(event)
        if self.handshake_initiated and not self.close_sent:
            self.scope["state"]["gone"] = self._gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone.set()

    async def run_asgi(self) -> None:
        """What was not taken some seconds after the end never will be."""
        await super().run_asgi()
        self.loop.call_later(self.close_timeout, self.transport.abort)
