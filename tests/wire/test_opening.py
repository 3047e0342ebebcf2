"""Opening a way to a server that answers as a test wants, byte for byte."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
from tests.patience import PATIENCE_S, PATIENT
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from mosu.wire.opening import ClientWay, is_unseen, opened
from mosu.wire.websocket import Bytes

Says = Callable[[bytes], Sequence[bytes]]
"""The pieces in which a server answers, given what the library would answer."""


class Heard:
    """What came."""

    def __init__(self) -> None:
        self.messages, self.texts = list[bytes](), 0
        self.over = asyncio.Event()

    def taken(self, message: Bytes) -> None:
        self.messages.append(bytes(message))

    def text_came(self) -> None:
        self.texts += 1

    def has_room(self) -> None: ...

    def lost(self) -> None:
        self.over.set()


async def asked(says: Says, use: Callable[[ClientWay], Awaitable[None]]) -> None:
    """What `use` makes of a way to a server that says so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
        with suppress(ConnectionError):  # who has heard enough may break off
            for piece in says(b"".join(protocol.data_to_send())):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)
            await reader.read()
        writer.close()
        served.set()

    served = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            way = await opened(url, close_timeout=0.1, **PATIENT)
            await use(way)
            await way.close()
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await served.wait()


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


@pytest.mark.parametrize("at", [None, 5, -2, -1])
def test_what_comes_right_behind_the_answer_waits_until_it_is_asked_for(at: int | None) -> None:
    banner = frame(Opcode.BINARY, b"SSH-2.0")

    def says(answer: bytes) -> list[bytes]:
        if at is None:
            return [answer + banner, frame(Opcode.BINARY, b"more")]
        return [answer[:at], answer[at:] + banner[:4], banner[4:], frame(Opcode.BINARY, b"more")]

    async def use(way: ClientWay) -> None:
        await asyncio.sleep(0.03)
        heard = Heard()
        way.begin(heard)
        async with asyncio.timeout(PATIENCE_S):
            while len(heard.messages) < 2:
                await asyncio.sleep(0.001)
        assert heard.messages == [b"SSH-2.0", b"more"]

    asyncio.run(asked(says, use))


@pytest.mark.parametrize(
    ("url", "peer", "is_so"),
    [
        ("wss://hub.example/agent/v1/tunnel", "203.0.113.7", True),
        ("wss://127.0.0.1:8443/", "127.0.0.1", True),
        ("ws://127.0.0.1:8001/", "127.0.0.1", True),
        ("ws://[::1]:8001/", "::1", True),
        ("ws://localhost/", "127.0.0.1", True),
        ("ws://localhost/", "192.0.2.1", False),
        ("ws://hub.example/", "203.0.113.7", False),
        ("ws://hub.example/", "127.0.0.1", False),
        ("ws://127.0.0.1.example/", "203.0.113.7", False),
    ],
)
def test_unseen_is_what_is_encrypted_or_stays_on_this_machine(url: str, peer: str, is_so: bool) -> None:
    """A name that leads to a proxy on this machine says nothing of where that leads."""
    assert is_unseen(url, peer=peer) is is_so


def test_on_this_machine_no_proxy_is_asked_and_no_mask_put_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def use(way: ClientWay) -> None:
        way.begin(Heard())
        assert way.is_unseen

    asyncio.run(asked(lambda answer: [answer], use))


def test_messages_in_parts_and_texts_are_told_apart() -> None:
    parts = [
        frame(Opcode.BINARY, b"in ", fin=False), frame(Opcode.CONT, b"", fin=False), frame(Opcode.CONT, b"parts"),
        frame(Opcode.TEXT, b"text"), frame(Opcode.BINARY, b"whole"),
    ]  # fmt: skip

    async def use(way: ClientWay) -> None:
        heard = Heard()
        way.begin(heard)
        async with asyncio.timeout(PATIENCE_S):
            while len(heard.messages) < 2:
                await asyncio.sleep(0.001)
        assert (heard.messages, heard.texts) == ([b"in parts", b"whole"], 1)

    asyncio.run(asked(lambda answer: [answer, *parts], use))


@pytest.mark.parametrize(
    "said", [frame(Opcode.CLOSE, b"\x11\x30over"), Frame(Opcode.BINARY, b"x").serialize(mask=True)],
    ids=["closed", "masked"],
)  # fmt: skip
def test_who_has_a_way_hears_at_once_that_it_is_over(said: bytes) -> None:
    async def use(way: ClientWay) -> None:
        heard = Heard()
        way.begin(heard)
        async with asyncio.timeout(PATIENCE_S):
            await heard.over.wait()
        assert not heard.messages

    asyncio.run(asked(lambda answer: [answer, said], use))


def test_a_refusal_is_read_to_its_end() -> None:
    async def use(way: ClientWay) -> None:
        raise AssertionError

    refusal = [b"HTTP/1.1 502 Bad Gateway\r\nContent-", b"Length: 7\r\n\r\naw", b"ay..."]
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(asked(lambda _: refusal, use))
    assert refused.value.response.body == b"away..."


def test_no_redirect_is_followed() -> None:
    async def use(way: ClientWay) -> None:
        raise AssertionError

    elsewhere = [b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n"]
    with pytest.raises(InvalidStatus):
        asyncio.run(asked(lambda _: elsewhere, use))
