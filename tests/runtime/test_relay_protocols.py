"""What a peer of the relay can make it hold, over a transport that only keeps what it is given."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.patience import PATIENCE_S
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from mosu.runtime import relay_protocols
from mosu.runtime.relay import bound
from mosu.runtime.relay_protocols import BoundedRequest, BoundedWebSocket
from mosu.wire.websocket import Bytes

HEAD = (
    b"GET /x HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Wire(asyncio.Transport):
    """The relay's end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.written = list[bytes]()
        self.is_over = False
        self.protocol: asyncio.BaseProtocol
        self.socket: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        told = {"socket": self.socket, "sslcontext": True}  # as if encrypted: all that is sent comes here
        return told.get(name, default)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_over

    def close(self) -> None:
        self.is_over = True

    abort = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol


class Peer:
    """Says what a test wants; `messages` are what the application was given."""

    def __init__(self) -> None:
        self.messages, self.texts, self.lost_count = list[bytes](), 0, 0
        self._begun, self._lost = asyncio.Event(), asyncio.Event()
        self.wire, state = Wire(), ServerState()
        config = Config(
            self._app, interface="asgi3", log_config=None, http=BoundedRequest, ws=BoundedWebSocket,
            ws_per_message_deflate=False,
        )  # fmt: skip
        config.load()
        self.wire.protocol = self.request = BoundedRequest(config, state, {})
        self.request.connection_made(self.wire)

    async def _app(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["state"]["way"].begin(self)
        self._begun.set()
        await self._lost.wait()

    def taken(self, message: Bytes) -> None:
        self.messages.append(bytes(message))

    def text_came(self) -> None:
        self.texts += 1

    def has_room(self) -> None: ...

    def lost(self) -> None:
        self.lost_count += 1
        self._lost.set()

    def says(self, data: bytes) -> None:
        protocol = self.wire.protocol
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(data)

    async def accepted(self) -> BoundedWebSocket:
        self.says(HEAD)
        async with asyncio.timeout(PATIENCE_S):
            await self._begun.wait()
        protocol = self.wire.protocol
        assert isinstance(protocol, BoundedWebSocket)
        assert self.wire.written[0].startswith(b"HTTP/1.1 101")
        self.wire.written.clear()
        return protocol


async def until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not said():
            await asyncio.sleep(0)


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def test_of_many_pings_the_newest_is_answered_once_the_peer_reads() -> None:
    async def tried() -> None:
        peer = Peer()
        protocol = await peer.accepted()
        peer.says(frame(Opcode.PING, b"first"))
        assert peer.wire.written == [Frame(Opcode.PONG, b"first").serialize(mask=False)]
        protocol.pause_writing()
        for start in range(0, 100, 10):
            peer.says(b"".join(frame(Opcode.PING, b"%d" % number) for number in range(start, start + 10)))
        assert len(peer.wire.written) == 1
        protocol.resume_writing()
        assert peer.wire.written[1:] == [Frame(Opcode.PONG, b"99").serialize(mask=False)]

    asyncio.run(tried())


def test_who_speaks_before_the_answer_is_not_heard() -> None:
    async def tried() -> None:
        peer = Peer()
        peer.says(HEAD)
        peer.says(frame(Opcode.BINARY, b"early"))
        assert peer.wire.is_over
        for _ in range(100):  # turns of the loop, in which whoever hears it would
            await asyncio.sleep(0)
        assert not peer.messages

    asyncio.run(tried())


def test_a_text_is_told_and_not_given() -> None:
    async def tried() -> None:
        peer = Peer()
        await peer.accepted()
        peer.says(frame(Opcode.TEXT, b"text"))
        assert (peer.texts, peer.messages) == (1, [])

    asyncio.run(tried())


def test_who_closes_is_let_go_at_once_whatever_waits_for_them() -> None:
    async def tried() -> None:
        peer = Peer()
        protocol = await peer.accepted()
        protocol.pause_writing()
        protocol.put(b"x")
        peer.says(frame(Opcode.CLOSE, b"\x03\xe8"))
        assert peer.lost_count == 1
        protocol.connection_lost(None)
        assert peer.lost_count == 1

    asyncio.run(tried())


def test_a_message_in_crumbs_arrives_whole_and_is_kept_as_one() -> None:
    async def tried() -> None:
        peer = Peer()
        protocol = await peer.accepted()
        peer.says(frame(Opcode.BINARY, b"a", fin=False))
        for part in (b"", b"b", b"") * 50:
            peer.says(frame(Opcode.CONT, part, fin=False))
            assert len(protocol.frames) == 1
        peer.says(frame(Opcode.CONT, b"c"))
        peer.says(frame(Opcode.BINARY, b"next"))
        await until(lambda: len(peer.messages) == 2)
        assert peer.messages == [b"a" + b"b" * 50 + b"c", b"next"]

    asyncio.run(tried())


@pytest.mark.parametrize("silent_ms", [0, 179_000, 181_000])
def test_who_acknowledges_nothing_for_minutes_has_vanished(silent_ms: int) -> None:
    class Quiet:
        """A socket whose peer said nothing for so long."""

        def getsockopt(self, level: int, name: int, size: int) -> bytes:
            assert (level, name) == (socket.IPPROTO_TCP, socket.TCP_INFO)
            return (bytes(56) + silent_ms.to_bytes(4, sys.byteorder) + bytes(100))[:size]

    async def tried() -> None:
        peer = Peer()
        protocol = await peer.accepted()
        peer.wire.socket = Quiet()
        protocol.send_keepalive_ping()
        assert peer.wire.is_over is (silent_ms > 180_000)
        assert bool(peer.wire.written) is not peer.wire.is_over

    asyncio.run(tried())


def test_small_messages_go_at_once_and_who_is_quiet_is_looked_after() -> None:
    config = Config(lambda: None, host="127.0.0.1", port=0, log_config=None)
    with bound(config) as door:
        door.listen()
        with socket.create_connection(door.getsockname()), door.accept()[0] as accepted:
            for level, name in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            ):
                assert accepted.getsockopt(level, name) == 1


def test_the_kernel_says_when_a_peer_last_acknowledged_anything() -> None:
    async def tried() -> None:
        peer = Peer()
        protocol = await peer.accepted()
        with (
            socket.create_server(("127.0.0.1", 0)) as door,
            socket.create_connection(door.getsockname()) as here,
            door.accept()[0] as there,
        ):
            peer.wire.socket = here
            began = time.monotonic()
            here.send(b"x")
            there.recv(1)
            while (silent_s := protocol._silent_s()) < 0.05:
                assert time.monotonic() < began + PATIENCE_S
            assert silent_s <= time.monotonic() - began + 0.5
            while protocol._silent_s() >= 0.05:
                assert time.monotonic() < began + PATIENCE_S
                here.send(b"x")
                there.recv(1)

    asyncio.run(tried())


def test_a_request_without_end_ends() -> None:
    async def tried() -> None:
        peer = Peer()
        peer.says(b"GET /x HTTP/1.1\r\nHost: ")
        for _ in range(7):
            peer.says(b"x" * 10_000)
        assert peer.wire.is_over

    asyncio.run(tried())


@pytest.mark.parametrize("said", [b"", HEAD[:40]], ids=["nothing", "half"])
def test_who_asks_for_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(relay_protocols, "REQUEST_S_MAX", 0.01)

    async def tried() -> None:
        peer, other = Peer(), Peer()
        await other.accepted()
        peer.says(said)
        await until(lambda: peer.wire.is_over)
        assert not other.wire.is_over

    asyncio.run(tried())


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"/x", b"/\xff"),
        HEAD.replace(b"/x", b"/" + b"x" * 9000),
        HEAD.replace(b"Host: hub\r\n", b"Host: hub\r\n" + b"x: y\r\n" * 200),
    ],
    ids=["not ascii", "long", "many headers"],
)
def test_a_request_that_is_none_leaves_nothing_open(head: bytes) -> None:
    async def tried() -> None:
        peer = Peer()
        peer.says(head)
        await until(lambda: peer.wire.is_over)

    asyncio.run(tried())
