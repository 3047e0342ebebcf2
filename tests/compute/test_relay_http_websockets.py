"""WebSockets between browsers and apps, through a real relay to real servers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.utils import accept_key

from mosu.compute.relay import proxy_websocket
from mosu.compute.stream_doors import in_thread
from mosu.platform.models import ApiToken
from tests.compute.browsing import Relay, answers, browsing, joined_at, joined_to
from tests.compute.test_relay import noted
from tests.patience import PATIENCE_S

MIB = 1 << 20


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with browsing(settings, monkeypatch) as relay:
        yield relay


def tried(
    relay: Relay,
    handle: Callable[[ServerConnection], Awaitable[None]],
    body: Callable[[], Awaitable[None]],
    **how: Any,
) -> None:
    """`body`, while an app handles its WebSockets so."""

    async def run() -> None:
        async with (
            serve(handle, "127.0.0.1", 0, max_size=None, ping_interval=None, **how) as server,
            joined_at(relay, server.sockets[0]),
        ):
            await body()

    asyncio.run(run())


def accepted(head: bytes) -> bytes:
    """What a server answers to the head of a WebSocket's request."""
    named = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if line)
    raw = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    assert named["upgrade"] == "websocket"
    key = accept_key(raw["Sec-WebSocket-Key"])
    return f"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n".encode()


async def echo(way: ServerConnection) -> None:
    async for message in way:
        await way.send(message)


def test_messages_go_both_ways_as_they_are(relay: Relay) -> None:
    browser = relay.entered()

    async def body() -> None:
        async with browser.websocket("/api/kernels?a=1", subprotocols=["v1", "v2"]) as way:
            assert way.subprotocol == "v2"
            for message in ("文字", b"\x00\x01", "", b"", "x" * 900_000, bytes(900_000)):
                await way.send(message)
                assert await way.recv() == message

    tried(relay, echo, body, subprotocols=["v2"])


def test_an_app_sees_its_own_host_and_origin_and_no_cookie_of_ours(relay: Relay) -> None:
    browser, seen = relay.entered(), list[Any]()

    async def looks(way: ServerConnection) -> None:
        assert way.request is not None
        seen.append((way.request.path, dict(way.request.headers.raw_items())))

    async def body() -> None:
        cookie = {"Cookie": f"{browser.headers['Cookie']}; theirs=1"}
        async with browser.websocket("/x%20y?q=%2F", headers=cookie) as way:
            await way.wait_closed()
        path, headers = seen[0]
        named = {name.lower(): value for name, value in headers.items()}
        assert path == "/x%20y?q=%2F"
        assert (named["host"], named["origin"]) == (browser.app.netloc, browser.app.origin)
        assert named["cookie"] == "theirs=1"
        assert browser.cookie not in str(headers)

    tried(relay, looks, body)


@pytest.mark.parametrize("code", [1000, 1001, 4123])
def test_the_app_closes_with_its_own_words(relay: Relay, code: int) -> None:
    browser = relay.entered()

    async def closes(way: ServerConnection) -> None:
        await way.close(code, "bye")

    async def body() -> None:
        async with browser.websocket() as way:
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert (way.close_code, way.close_reason) == (code, "bye")

    tried(relay, closes, body)


def test_the_app_hears_that_the_browser_left(relay: Relay) -> None:
    browser, over = relay.entered(), asyncio.Event()

    async def waits(way: ServerConnection) -> None:
        await way.wait_closed()
        over.set()

    async def body() -> None:
        async with browser.websocket() as way:
            way.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            await over.wait()

    tried(relay, waits, body)


def test_a_message_that_is_too_long_ends_it(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_websocket, "MESSAGE_BYTES_MAX", 100_000)
    browser = relay.entered()

    async def floods(way: ServerConnection) -> None:
        await way.send([bytes(60_000), bytes(60_000)])

    async def body() -> None:
        async with browser.websocket() as way:
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert way.close_code == 1009

    tried(relay, floods, body)


def test_who_reads_nothing_holds_up_that_socket_alone(relay: Relay) -> None:
    browser, sent = relay.entered(), [0]

    async def floods(way: ServerConnection) -> None:
        for _ in range(200):
            await way.send(bytes(MIB // 2))
            sent[0] += 1

    async def body() -> None:
        async with browser.websocket(max_queue=1) as way:
            way.transport.pause_reading()
            before = -1
            while sent[0] != before:
                before = sent[0]
                await asyncio.sleep(0.3)
            assert sent[0] < 60
            way.transport.abort()

    tried(relay, floods, body)


def test_pings_of_an_app_that_takes_nothing_are_not_kept(relay: Relay) -> None:
    browser = relay.entered()

    async def pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(accepted(head))
        writer.transport.pause_reading()
        while True:  # some of them when it is full, whenever that is
            writer.write(b"\x89\x00" * 100)
            await writer.drain()
            await asyncio.sleep(0.05)

    async def run() -> None:
        async with joined_to(relay, pings), browser.websocket() as way:
            sending = [asyncio.create_task(way.send(bytes(900_000))) for _ in range(12)]
            async with asyncio.timeout(PATIENCE_S):
                await way.wait_closed()
            assert way.close_code == 1011
            await asyncio.gather(*sending, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize(
    "origin", [None, "null", "http://127.0.0.1:8000", "http://1-{run}.apps.localhost:{port}"]
)
def test_only_the_apps_own_pages_open_one(relay: Relay, origin: str | None) -> None:
    browser = relay.entered()
    if origin is not None:
        origin = origin.format(run=browser.app.name[5:31], port=relay.port)

    async def body() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with browser.websocket(origin=origin):
                pass
        assert refused.value.response.status_code == 403

    tried(relay, echo, body)


def test_without_the_cookie_nobody_opens_one(relay: Relay) -> None:
    browser = relay.entered()

    async def body() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with browser.websocket(headers={"Cookie": "mosu=guessed"}):
                pass
        assert refused.value.response.status_code == 401

    tried(relay, echo, body)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", 502),
        (b"", 502),
        (b"garbage\r\n\r\n", 502),
    ],
)  # fmt: skip
def test_what_the_app_refuses_is_refused(relay: Relay, said: bytes, status: int) -> None:
    browser = relay.entered()

    async def run() -> None:
        async with joined_to(relay, answers(said)):
            with pytest.raises(InvalidStatus) as refused:
                async with browser.websocket():
                    pass
            assert refused.value.response.status_code == status

    asyncio.run(run())


def test_a_right_that_is_taken_away_cuts_it(relay: Relay) -> None:
    browser = relay.entered()

    async def body() -> None:
        async with browser.websocket() as way:
            await way.send("x")
            assert await way.recv() == "x"
            await in_thread(ApiToken.objects.update, revoked_at=timezone.now())
            await relay.renews()
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert (way.close_code, way.close_reason) == (4403, "its token was revoked")
        (row,) = await noted(why="its token was revoked")
        assert row.bytes_in > 0

    tried(relay, echo, body)
