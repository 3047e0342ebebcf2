"""Connections to apps and replicas that wait for the next request: whose they are, and what ends them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from mosu.compute.models import EndpointRequest
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import kept, proxy
from mosu.compute.relay.kept import Kept, Lent
from mosu.kernel.ids import typeid, uuid7
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import FrameKind, Target, packed
from mosu.wire.websocket import Bytes
from tests.compute.asking import Asker, all_well, anybody, asking, make_endpoint, once, program
from tests.compute.browsing import Browser, Relay, joined_to

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
AT = Target(attempt_id=typeid("attempt", uuid7()), port=8000)
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """One in which only what a test does ends what is kept."""
    for of, name in ((kept, "IDLE_S_MAX"), (proxy, "KEPT_S_MAX"), (proxy, "UNREPEATED_S_MAX")):
        monkeypatch.setattr(of, name, 600.0)
    monkeypatch.setattr(kept, "BEHIND_S", 600.0)
    monkeypatch.setattr(relay_app.grants, "kept", Kept())
    monkeypatch.setattr(relay_app.endpoints, "kept", Kept())
    with asking(settings, monkeypatch) as relay:
        yield relay


@dataclass
class App:
    """A server that answers the first requests so, further ones well, and notes what came by which connection."""

    says: Sequence[bytes] = ()
    closes_after: Sequence[int] = ()
    """Requests after whose answers it closes."""
    seen: list[tuple[int, str]] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def ways(self) -> list[int]:
        return [way for way, _ in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = len(self.writers)
        self.writers.append(writer)
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            number = len(self.seen)
            self.seen.append((way, head.partition("\r\n")[0].rpartition(" ")[0]))
            if "content-length: " in head and not (number < len(self.says) and b"413" in self.says[number]):
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
            writer.write(self.says[number] if number < len(self.says) else OK)
            await writer.drain()
            if number in self.closes_after:
                return


async def until(said: Callable[[], bool]) -> None:
    assert await once(said)


def keeps(so_many: int) -> Callable[[], bool]:
    return lambda: len(relay_app.grants.kept) + len(relay_app.endpoints.kept) == so_many


# Used again


def test_the_next_request_comes_by_the_same_connection(relay: Relay) -> None:
    browser, app = relay.entered(), App()

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            for method, body in (("GET", None), ("POST", b"a body"), ("HEAD", None), ("DELETE", None)):
                answer = await browser.ask(method, f"/{method}", content=body)
                assert answer.status_code == 200
                assert "connection" not in answer.headers
                if method == "HEAD":  # this app sends a body there, too, which no HTTP allows
                    continue
                await until(keeps(1))
            assert [line for _, line in app.seen] == [
                "GET /GET",
                "POST /POST",
                "HEAD /HEAD",
                "DELETE /DELETE",
            ]
            assert app.ways == [0, 0, 0, 1]

    asyncio.run(tried())


WHOLE = {
    "chunks": ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    "204": ("GET", b"HTTP/1.1 204 No content\r\n\r\n", 204),
    "304": ("GET", b"HTTP/1.1 304 Not modified\r\nContent-Length: 9\r\n\r\n", 304),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200),
    "100": ("POST", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200),
    "103": ("GET", b"HTTP/1.1 103 Early\r\n\r\n" + OK, 200),
    "500": ("GET", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 500),
}


def test_what_is_plainly_whole_is_used_again(relay: Relay) -> None:
    browser = relay.entered()

    async def tried(name: str, method: str, said: bytes, status: int) -> None:
        app = App([said])
        await until(keeps(0))  # with the tunnel of the one before
        async with joined_to(relay, app.serve):
            body = {"content": b"a body"} if method == "POST" else {}
            assert (await browser.ask(method, **body)).status_code == status, name
            await until(keeps(1))
            assert (await browser.ask()).content == b"ok", name
            assert app.ways == [0, 0], name

    for name, case in WHOLE.items():
        asyncio.run(tried(name, *case))


IN_DOUBT = {
    "close": ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    "1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "until closed": ("GET", b"HTTP/1.1 200 OK\r\n\r\nok"),
    "two": ("GET", OK + EVIL),
    "behind chunks": ("GET", WHOLE["chunks"][1] + EVIL),
    "line's end": ("GET", OK + b"\r\n"),
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 58\r\n\r\n" + EVIL),
    "204": ("GET", b"HTTP/1.1 204 No content\r\nContent-Length: 58\r\n\r\n" + EVIL),
    "304": ("GET", b"HTTP/1.1 304 Not modified\r\n\r\n" + EVIL),
    "late 100": ("GET", OK + b"HTTP/1.1 100 Continue\r\n\r\n"),
}


def test_what_leaves_a_doubt_is_not_used_again(relay: Relay) -> None:
    browser = relay.entered()

    async def tried(name: str, method: str, said: bytes) -> None:
        app = App([said], closes_after=[0] if name == "until closed" else [])
        await until(keeps(0))
        async with joined_to(relay, app.serve):
            await browser.ask(method)
            answer = await browser.ask()
            assert (answer.status_code, answer.content) == (200, b"ok"), name
            assert app.ways == [0, 1], name

    for name, case in IN_DOUBT.items():
        asyncio.run(tried(name, *case))


def test_an_answer_before_the_whole_question_is_the_last(relay: Relay) -> None:
    """What is left of the body would be read as the next request."""
    said = b"HTTP/1.1 413 Too much\r\nContent-Length: 2\r\n\r\nno"
    browser, app = relay.entered(), App([said])

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"POST / HTTP/1.1\r\n" + browser.head + b"Content-Length: 40\r\n\r\nGET /")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413")
            writer.write(b"smuggled HTTP/1.1\r\nHost: x\r\n\r\n....")
            assert await reader.readexactly(2) == b"no"
            writer.transport.abort()
            assert (await browser.ask(path="/next")).content == b"ok"
            assert app.seen == [(0, "POST /"), (1, "GET /next")]

    asyncio.run(tried())


def test_a_body_that_an_app_may_have_left_unread_is_no_next_request(relay: Relay) -> None:
    """Behind one key or cookie there may be several people: what one sent is never the head of another's request."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX: "
    seen: list[str] = []

    async def lazy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An app that takes a refused body for the next request."""
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            seen.append(head.partition(" HTTP")[0])
            writer.write(OK.replace(b"200 OK", b"404 Not found") if "POST" in seen[-1] else OK)
            await writer.drain()

    browser, asker = relay.entered(), program(relay, make_endpoint(relay))

    async def tried(who: Browser | Asker) -> None:
        async with joined_to(relay, lazy):
            assert (await who.ask("POST", "/nowhere", content=smuggled)).status_code == 404
            assert (await who.ask(path="/next")).content == b"ok"
            assert not [line for line in seen if "smuggled" in line]
            assert "GET /next" in seen
        await until(keeps(0))

    for who in (browser, asker):
        asyncio.run(tried(who))


def test_an_answer_that_begins_before_the_body_has_ended_is_the_last(relay: Relay) -> None:
    """It says that it was whole in the end, and nobody knows whether the app read so far."""
    browser, ways = relay.entered(), list[str]()

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ways.append((await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP")[0])
        writer.write(OK[:-1])
        if "POST" in ways[-1]:
            await reader.readexactly(4)
        writer.write(OK[-1:])
        await reader.read()

    async def tried() -> None:
        async with joined_to(relay, hasty):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"POST / HTTP/1.1\r\n" + browser.head + b"Content-Length: 4\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(b"body")
            assert await reader.readexactly(2) == b"ok"
            assert (await browser.ask(path="/next")).content == b"ok"
            assert ways == ["POST /", "GET /next"]
            writer.close()

    asyncio.run(tried())


def test_what_comes_while_it_waits_ends_it(relay: Relay) -> None:
    browser = relay.entered()

    async def tried(how: str) -> None:
        app = App()
        async with joined_to(relay, app.serve):
            await browser.ask()
            await until(keeps(1))
            if how == "says more":
                app.writers[0].write(EVIL)
            elif how == "ends":
                app.writers[0].write_eof()
            else:
                app.writers[0].transport.abort()
            await until(keeps(0))
            assert (await browser.ask("POST", content=b"once")).content == b"ok"
            assert app.seen == [(0, "GET /"), (1, "POST /")]
        await until(keeps(0))

    for how in ("says more", "ends", "breaks off"):
        asyncio.run(tried(how))


def test_who_meets_its_closing_is_asked_again_only_if_nothing_can_happen_twice(relay: Relay) -> None:
    browser, asker = relay.entered(), program(relay, make_endpoint(relay))

    async def tried(who: Browser | Asker, method: str) -> None:
        app = App([OK, b""], closes_after=[1])
        async with joined_to(relay, app.serve):
            assert (await who.ask()).status_code == 200
            await until(keeps(1))
            again = await who.ask(method, "/again", **({"content": b"once"} if method == "POST" else {}))
            asked = [line for _, line in app.seen]
            if method == "GET":
                assert (again.status_code, asked) == (200, ["GET /", "GET /again", "GET /again"])
            else:
                assert (again.status_code, asked) == (502, ["GET /", "POST /again"])
                assert again.json()["type"] == "urn:mosu:no_answer"
            assert who is browser or all_well(relay_app.endpoints)
        await until(keeps(0))

    for who in (browser, asker):
        for method in ("GET", "POST"):
            asyncio.run(tried(who, method))


def test_an_upgrade_has_a_connection_of_its_own(relay: Relay) -> None:
    browser, app = relay.entered(), App()

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            await browser.ask()
            await until(keeps(1))
            with pytest.raises(InvalidStatus):  # this app knows none
                async with browser.websocket():
                    pass
            assert app.ways == [0, 1]
            await browser.ask()
            assert app.ways == [0, 1, 0]

    asyncio.run(tried())


# Whose


def test_nobody_is_given_anothers(relay: Relay) -> None:
    browsers, app = [relay.entered(), relay.entered()], App()

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            for turn in range(2):
                for browser in browsers:
                    await browser.ask()
                    await until(keeps(1 + (turn or browser is browsers[1])))
            assert app.ways == [0, 1, 0, 1]

    asyncio.run(tried())


def test_at_an_endpoint_a_key_has_its_own_and_strangers_have_none(relay: Relay) -> None:
    endpoint, app = make_endpoint(relay), App()
    one, other = program(relay, endpoint), program(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            for who, so_many in ((one, 1), (other, 2), (one, 2)):
                assert (await who.ask("POST", content=b"12345")).content == b"ok"
                await until(keeps(so_many))
            first, second, third = (way for way, line in app.seen if line.startswith("POST"))
            assert first == third != second
            rows = await once(
                lambda: EndpointRequest.objects.count() == 3 and list(EndpointRequest.objects.all())
            )
            assert len({row.bytes_out for row in rows}) == 1  # each its own alone
            assert {row.bytes_out for row in rows} == {len(OK)}

    asyncio.run(tried())


def test_strangers_share_no_connection(relay: Relay) -> None:
    """An app may take who comes by one connection for one person."""
    app = App()
    asker = anybody(relay, make_endpoint(relay, auth="public"))

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            await asker.ask(path="/one")
            await asker.ask(path="/two")
            ways = [way for way, line in app.seen if line in ("GET /one", "GET /two")]
            assert len(set(ways)) == 2
            assert await once(lambda: EndpointRequest.objects.count() == 2)
            assert not relay_app.endpoints.kept  # it would hold a thread of the app's for nobody

    asyncio.run(tried())


# How many, and how long


def test_what_waits_for_long_ends(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "IDLE_S_MAX", 0.01)
    browser, app = relay.entered(), App()

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            await browser.ask()
            await until(app.writers[0].is_closing)
            await browser.ask()
            assert app.ways == [0, 1]
            assert len(relay_app.grants.kept) <= 1

    asyncio.run(tried())


def test_of_too_many_the_longest_waiting_ends(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_MAX", 1)
    first, second, app = relay.entered(), relay.entered(), App()

    async def tried() -> None:
        async with joined_to(relay, app.serve):
            await first.ask()
            await until(keeps(1))
            (waiting,) = relay_app.grants.kept._all
            await second.ask()
            await until(lambda: waiting not in relay_app.grants.kept._all and keeps(1)())
            await second.ask()
            await until(keeps(1))
            await first.ask()
            assert app.ways == [0, 1, 1, 2]

    asyncio.run(tried())


def test_one_keeps_no_more_than_their_own_share(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_OF_ONE_MAX", 1)
    browser, app, both = relay.entered(), App(), asyncio.Barrier(2)

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        await app.serve(reader, writer)

    async def tried() -> None:
        async with joined_to(relay, at_once):
            await asyncio.gather(browser.ask(), browser.ask())
            await until(keeps(1))
            assert sorted(app.ways) == [0, 1]
            await until(lambda: [writer.is_closing() for writer in app.writers].count(True) == 1)

    asyncio.run(tried())


class Nowhere:
    """Takes whatever it is given."""

    is_full = False

    def put(self, *parts: Bytes) -> None:
        """Nothing hears it."""


def dialling(streams: Streams) -> Callable[[], Awaitable[Stream]]:
    """The other side takes each."""
    numbers = count(1)

    async def dialled() -> Stream:
        opening = asyncio.create_task(streams.open(AT))
        await asyncio.sleep(0)
        streams.take(packed(FrameKind.OPENED, next(numbers)))
        return await opening

    return dialled


@pytest.mark.parametrize("came", [(FrameKind.END,), (FrameKind.DATA, b"more"), (FrameKind.RESET, b"gone")])
def test_what_comes_while_its_request_is_wound_up_ends_it(came: tuple[Any, ...]) -> None:
    """The answer is whole, and the app's end is told once: who waited on the connection next would wait for ever."""

    async def tried() -> None:
        held, streams = Kept(), Streams(Nowhere())
        lent = await held.lent("one", "the run", dialling(streams), idle_s_max=1)
        lent.is_free = True
        kind, *body = came
        streams.take(packed(kind, 1, *body))
        held.take_back("one", lent)
        assert len(held) == 0

    asyncio.run(tried())


def test_what_waits_keeps_nobody_out_of_the_run() -> None:
    """Slurm's legs and the ways into pods carry 128, and who comes next is refused. What ends takes a moment to go."""

    async def tried() -> None:
        held, streams = Kept(), Streams(Nowhere())
        dialled = dialling(streams)

        def given_back(whose: str, lent: Lent) -> None:
            lent.is_free = True
            held.take_back(whose, lent)

        for whose in ("one", "another", "a third"):
            many = [await held.lent(whose, "the run", dialled, idle_s_max=1) for _ in range(64)]
            for lent in many:
                given_back(whose, lent)
        waiting = len(streams)
        assert 0 < waiting <= 32
        asked = [await held.lent(str(number), "the run", dialled, idle_s_max=1) for number in range(128)]
        assert len(streams) == 128
        assert len(held) == 0
        elsewhere = await held.lent("one", "another run", dialled, idle_s_max=1)
        given_back("one", elsewhere)
        for number, lent in enumerate(asked):
            given_back(str(number), lent)
        assert len(streams) == len(held) == waiting + 1

    asyncio.run(tried())


def test_none_waits_where_somebody_who_dialled_is_not_heard(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with one thread: who holds its connection holds up everybody else."""
    monkeypatch.setattr(kept, "BEHIND_S", 0.0)
    browser, other, app = relay.entered(), relay.entered(), App()
    turn = asyncio.Semaphore(1)

    async def one_by_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with turn:
            await app.serve(reader, writer)

    async def tried() -> None:
        async with joined_to(relay, one_by_one):
            await browser.ask()
            await until(keeps(1))
            waits = asyncio.create_task(other.ask())
            await until(lambda: bool(relay_app.grants.kept._behind))
            assert (await browser.ask()).content == b"ok"
            assert (await waits).content == b"ok"
            assert app.ways == [0, 0, 1]

    asyncio.run(tried())
