"""Apps in the browser: HTTP through a real relay to a real server behind an agent's tunnel."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from mosu.compute.models import Connection
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import grants, proxy
from mosu.compute.stream_doors import in_thread
from mosu.runtime import app_requests
from mosu.wire.streams import Stream
from mosu.wire.tunnel import Target
from mosu.wire.waited import WaitedStream
from tests.compute.browsing import Heard, Relay, answers, asgi_at, asked, browsing, joined_to, tunnel_of
from tests.compute.test_relay import FakeAgent, noted, refuses
from tests.patience import PATIENCE_S

MIB = 1 << 20


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with browsing(settings, monkeypatch) as relay:
        yield relay


def named(seen: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in seen["headers"]}


def test_a_request_comes_to_the_app_and_its_answer_back(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            answer = await browser.ask(
                "GET", "/a%20b/c?x=1&y=%2F", headers={"X-Own": "mine", "Accept": "*/*"}
            )
            seen = answer.json()
            assert seen["line"] == "GET /a%20b/c?x=1&y=%2F HTTP/1.1"
            told = named(seen)
            assert told["host"] == told["x-forwarded-host"] == browser.app.netloc
            assert (told["x-forwarded-proto"], told["x-own"]) == ("http", "mine")
            assert answer.headers["x-app"] == "yes" and answer.headers["date"] != "old"
            assert answer.headers["set-cookie"] == "a=1; Path=/"
            assert [row.port for row in await in_thread(lambda: list(Connection.objects.all()))] == [8888]

    asyncio.run(tried())


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB])
def test_bodies_go_whole_by_length_and_in_chunks(relay: Relay, size: int) -> None:
    browser, body = relay.entered(), bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def chunks() -> Any:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for content in (body, chunks()):
                seen = (await browser.ask("POST", "/", content=content)).json()
                assert (seen["bytes"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())

    asyncio.run(tried())


def test_what_the_app_streams_comes_as_it_comes(relay: Relay) -> None:
    browser, go = relay.entered(), asyncio.Event()

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go.wait()
        writer.write(b"data: 2\n\n")

    async def tried() -> None:
        async with joined_to(relay, drips), asked() as client:
            url = f"http://127.0.0.1:{relay.port}/"
            async with client.stream("GET", url, headers=browser.headers) as answer:
                parts = answer.aiter_raw()
                assert await anext(parts) == b"data: 1\n\n"
                go.set()
                assert await anext(parts) == b"data: 2\n\n"

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 404 Nothing\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX: y\r\n\r\n", 404, b"no"),
    ],
)  # fmt: skip
def test_answers_of_every_shape(relay: Relay, said: bytes, status: int, body: bytes) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(said)):
            answer = await browser.ask()
            assert (answer.status_code, answer.content) == (status, body)

    asyncio.run(tried())


def test_a_question_for_the_head_alone(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")):
            answer = await browser.ask("HEAD")
            assert (answer.status_code, answer.headers["content-length"]) == (200, "77")

    asyncio.run(tried())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX y: z\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_said_so(relay: Relay, said: bytes) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(said)):
            answer = await browser.ask()
            assert (answer.status_code, answer.json()["type"]) == (502, "urn:mosu:no_answer")

    asyncio.run(tried())


@pytest.mark.parametrize("head", [b"Content-Length: 9", b"Transfer-Encoding: chunked", b"X: until-the-end"])
def test_an_answer_that_breaks_off_never_looks_whole(relay: Relay, head: bytes) -> None:
    browser = relay.entered()

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b"5\r\nhello\r\n"[: 4 if b"9" in head else None]
        )
        await writer.drain()
        with suppress(ConnectionError):
            await reader.readexactly(1)

    async def tried() -> None:
        async with joined_to(relay, breaks) as agent, asked() as client:
            with pytest.raises(httpx.TransportError):
                async with client.stream(
                    "GET", f"http://127.0.0.1:{relay.port}/", headers=browser.headers
                ) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_raw():
                        agent.websocket.transport.abort()

    asyncio.run(tried())


def test_an_app_that_says_nothing_is_waited_for_in_vain(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "FIRST_BYTE_S_MAX", 0.2)
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(b"", hold=True)):
            answer = await browser.ask()
            assert (answer.status_code, answer.json()["type"]) == (504, "urn:mosu:too_slow")

    asyncio.run(tried())


def test_an_answer_that_stalls_is_broken_off(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "IDLE_S_MAX", 0.2)
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", hold=True)):
            with pytest.raises(httpx.TransportError):
                await browser.ask()

    asyncio.run(tried())


def test_a_slow_reader_holds_up_the_app_and_not_the_relay(relay: Relay) -> None:
    browser, sent = relay.entered(), [0]

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * MIB))
        for _ in range(100):
            writer.write(bytes(MIB))
            await writer.drain()
            sent[0] += 1

    async def tried() -> None:
        async with joined_to(relay, floods):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port, limit=1024)
            writer.write(b"GET / HTTP/1.1\r\n" + browser.head + b"\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            before = 0
            while not sent[0] or sent[0] != before:  # until it is held up
                before = sent[0]
                await asyncio.sleep(0.3)
            assert sent[0] < 40
            writer.transport.abort()
            await asyncio.sleep(0)

    asyncio.run(tried())


def test_who_leaves_is_not_worked_for_any_more(relay: Relay) -> None:
    browser, begun, gone = relay.entered(), asyncio.Event(), asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        with suppress(ConnectionError):
            await reader.read()
        gone.set()

    async def tried() -> None:
        async with joined_to(relay, waits):
            _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"GET / HTTP/1.1\r\n" + browser.head + b"\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            assert any(grant.cut for grant in relay_app.grants._held.values())
            writer.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                await gone.wait()

    asyncio.run(tried())


def test_many_requests_are_one_connection_with_all_their_bytes(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            answers = await asyncio.gather(
                *(browser.ask("POST", "/", content=bytes(10_000)) for _ in range(20))
            )
            assert {answer.status_code for answer in answers} == {200}
            await relay.renews()
            (row,) = await in_thread(lambda: list(Connection.objects.all()))
            assert row.closed_at is None and row.bytes_in > 200_000 and row.bytes_out > 20 * 300
            assert row.user_id == relay.session.person.id and row.ticket_id is not None

    asyncio.run(tried())


def test_a_browser_that_asks_for_nothing_has_left_and_may_come_back(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "IDLE_S_MAX", 0.0)
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            await browser.ask()
            await relay.renews()
            await noted(why="the person left")
            assert (await browser.ask()).status_code == 200
            assert await in_thread(Connection.objects.count) == 2

    asyncio.run(tried())


def test_so_many_requests_of_one_browser_at_once(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "REQUESTS_MAX", 1)
    browser = relay.entered()

    async def tried() -> None:
        async with (
            joined_to(relay, answers(b"HTTP/1.1 200 OK\r\n\r\nx", hold=True)),
            asked() as client,
        ):
            url = f"http://127.0.0.1:{relay.port}/"
            async with client.stream("GET", url, headers=browser.headers):
                refused = await browser.ask()
                assert (refused.status_code, refused.json()["type"]) == (503, "urn:mosu:relay_full")

    asyncio.run(tried())


def test_where_nothing_listens_is_said_so(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        away = await browser.ask(headers={"Accept": "text/html", "Accept-Language": "zh"})
        assert away.status_code == 502 and "接入代理" in away.text
        async with tunnel_of(relay, refuses):
            refused = await browser.ask()
            assert refused.status_code == 502 and "8888" in refused.json()["title"]

    asyncio.run(tried())


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
def test_an_app_that_answers_before_it_has_read_an_upload_is_heard(
    relay: Relay, closes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_requests, "UPLOAD_S_MAX", 0.3)
    browser = relay.entered()

    async def refuses_it(agent: FakeAgent, stream: Stream, target: Target) -> None:
        agent.streams.accept(stream)
        await WaitedStream(stream).read()
        stream.send(b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno")
        if closes:
            stream.reset("the run closed the connection")

    async def tried() -> None:
        async with tunnel_of(relay, refuses_it):
            loop = asyncio.get_running_loop()
            _, heard = await loop.create_connection(Heard, "127.0.0.1", relay.port)
            heard.transport.write(
                b"POST / HTTP/1.1\r\n" + browser.head + b"Content-Length: %d\r\n\r\n" % (64 * MIB)
            )
            heard.transport.write(bytes(MIB))
            async with asyncio.timeout(PATIENCE_S):
                await heard.is_over.wait()  # nobody takes the rest for long
            assert heard.data.startswith(b"HTTP/1.1 413") and heard.data.endswith(b"\r\n\r\nno")

    asyncio.run(tried())
