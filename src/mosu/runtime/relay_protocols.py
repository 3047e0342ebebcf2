"""uvicorn's protocols with a bound to what a peer can make the relay hold, and for how long."""

import asyncio
import socket
from struct import Struct
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from mosu.wire.websocket import Way

REQUEST_S_MAX: Final = 10.0
"""So long a connection may be none but HTTP: only `/healthz` is, and it is quick."""
_READ_BYTES: Final = 8 * 1024
REQUEST_BYTES_MAX: Final = 64 * 1024
SILENT_S_MAX: Final = 180.0
"""A peer whose program reads nothing is asked by the kernel whether it does again, every two minutes at least."""
_LAST_ACK: Final = Struct("@8x48xI")
"""`tcpi_last_ack_recv` of Linux's `tcp_info`, in milliseconds: 8 bytes, then the 13th number of 4."""


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


class BoundedWebSocket(Way, WebSocketsSansIOProtocol):
    """A peer that reads nothing, says nothing, or speaks in crumbs costs no more than another one.

    The application finds it as `way` in the connection's state; once it has begun, uvicorn's queue is not used. Who
    begins nothing (an app's WebSocket) has messages by that queue.
    """

    masks = False

    _pong = b""
    _rest: bytearray | None = None

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()  # nobody speaks before the answer (RFC 6455 section 4.1)
            return
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

    def send_keepalive_ping(self) -> None:
        """Who has acknowledged nothing for minutes, though each ping asks for it, has vanished."""
        if self._silent_s() > SILENT_S_MAX:
            self.transport.abort()
        else:
            super().send_keepalive_ping()

    def _silent_s(self) -> float:
        """Since the peer's kernel last acknowledged anything: it does so, though its program reads nothing."""
        taken = self.transport.get_extra_info("socket")
        said: bytes = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK.size)
        (last_ack_ms,) = _LAST_ACK.unpack(said)
        return float(last_ack_ms) / 1000

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

    def send_receive_event_to_app(self) -> None:
        """A message in parts comes to the listener as any other."""
        if self.listener is None:
            super().send_receive_event_to_app()
            return
        message, self.frames = b"".join(self.frames), []
        self._heard(None if self.curr_msg_data_type == "text" else message)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and not self.close_sent:
            self.scope["state"]["way"] = self
            # Until a way begins, uvicorn makes a message of each frame: a read of many small ones holds up all others.
            setattr(self.transport, "max_size", _READ_BYTES)  # noqa: B010 - asyncio's own, of no type

    def is_over(self) -> bool:
        return self.close_sent or self.transport.is_closing()

    def shutdown(self) -> None:
        self.flush()
        super().shutdown()
        self.lose()

    def close(self, code: int, why: str) -> None:
        """Say so behind what was sent, and wait for the answer some seconds; waits for nobody here."""
        if self.is_over():
            return
        self.silence()
        self.conn.send_close(code, why)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    async def run_asgi(self) -> None:
        """What was not taken some seconds after the end never will be."""
        await super().run_asgi()
        self.loop.call_later(self.close_timeout, self._abort_if_there)

    def _abort_if_there(self) -> None:
        if not self.disconnected:
            self.transport.abort()
