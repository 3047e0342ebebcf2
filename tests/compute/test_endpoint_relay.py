"""Endpoints: requests through a real relay to real servers behind an agent's tunnel."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import connection, transaction
from django.utils import timezone
from websockets.asyncio.server import serve

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost
from mosu.compute.models import LATENCY_MS, Endpoint, EndpointKey, EndpointMinute, EndpointRequest, Replica
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import endpoint_entries, endpoint_requests, endpoints, replicas, request_log
from mosu.compute.services import InFlight, Minute, endpoint_log
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import uuid7
from mosu.kernel.reaching import CROWDED
from tests.compute.asking import (
    SERVICE,
    Asker,
    add_replica,
    asking,
    attempt_id_of,
    make_endpoint,
    once,
    program,
    served_by,
)
from tests.compute.browsing import Relay, Serve, answers, asgi_at, asked, joined_at, joined_to
from tests.patience import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with asking(settings, monkeypatch) as relay:
        yield relay


def says(word: str) -> Serve:
    return answers(OK.replace(b": 2", b": %d" % len(word)) + word.encode())


def all_of(model: Any) -> Any:
    return lambda: list(model.objects.order_by("id"))


def counted() -> Minute:
    """All of the minutes: a test may begin in one and end in the next."""
    whole = Minute()
    for one in EndpointMinute.objects.order_by("minute"):
        whole.add(Minute(one.requests, one.refused, one.failed, one.in_flight_max, one.latencies))
    return whole


def waiting() -> int:
    """Requests that wait for a replica."""
    return sum(served.waiting for served in list(relay_app.endpoints._served.values()))


async def in_relay(relay: Relay, call: Any) -> Any:
    """What the coroutine function says in the relay's loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), relay.loop))


async def knows(relay: Relay, count: int) -> None:
    """Until the relay knows so many well replicas."""

    async def well() -> int:
        return sum(
            way.is_well for served in relay_app.endpoints._served.values() for way in served.ways.values()
        )

    patience = time.monotonic() + PATIENCE_S
    while True:
        if await in_relay(relay, well) == count:
            return
        assert time.monotonic() < patience, "they are not known"
        await asyncio.sleep(0.02)


# Routing


def test_a_program_with_a_key_is_answered(relay: Relay) -> None:
    endpoint = make_endpoint(relay, text=SERVICE)
    asker = program(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, asgi_at) as agent:
            answer = await asker.ask("POST", "/v1/chat?x=1", content=b"hello")
            assert answer.status_code == 200, answer.text
            seen = answer.json()
            assert (seen["line"], seen["bytes"]) == ("POST /v1/chat?x=1 HTTP/1.1", 5)
            told = {name.lower(): value for name, value in seen["headers"]}
            assert told["host"] == asker.host.netloc and "authorization" not in told
            assert {target.port for target in agent.targets} == {8000}
            assert await once(lambda: Replica.objects.filter(well_at__isnull=False).count())

    asyncio.run(tried())


def test_each_request_goes_to_the_replica_with_the_fewest(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=3)
    asker, go, seen = program(relay, endpoint), asyncio.Event(), dict[str, int]()

    def counts(name: str) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            seen[name] = seen.get(name, 0) + 1
            await go.wait()
            writer.write(OK + b"ok")

        return serve

    names = [attempt_id_of(one) for one in Replica.objects.order_by("id")]

    async def tried() -> None:
        async with served_by(relay, {name: counts(name) for name in names}):
            await knows(relay, 3)
            asked = [asyncio.create_task(asker.ask()) for _ in range(9)]
            assert await once(lambda: sum(seen.values()) == 9)
            assert await once(
                lambda: list(Replica.objects.order_by("id").values_list("in_flight", flat=True)) == [3, 3, 3]
            )
            assert await once(lambda: Endpoint.objects.get().in_flight == 9)
            go.set()
            assert {one.status_code for one in await asyncio.gather(*asked)} == {200}
            assert set(seen.values()) == {3}
            assert await once(lambda: Endpoint.objects.get().in_flight == 0)
            assert await once(lambda: set(Replica.objects.values_list("in_flight", flat=True)) == {0})

    asyncio.run(tried())


def test_one_that_cannot_be_reached_is_passed_over_and_comes_back(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=2)
    asker = program(relay, endpoint)
    first, second = (attempt_id_of(one) for one in Replica.objects.order_by("id"))

    async def tried() -> None:
        async with served_by(relay, {first: says("first"), second: says("second")}) as agent:
            await knows(relay, 2)
            joins, lost = agent._answer, {first}

            async def loses(agent: Any, stream: Any, target: Any) -> None:
                if target.attempt_id in lost:
                    agent.streams.refuse(stream, "nobody listens")
                else:
                    await joins(agent, stream, target)

            agent._answer = loses
            said = [(await asker.ask("POST", content=b"x" * 100_000)).text for _ in range(4)]
            assert said == ["second"] * 4
            lost.clear()
            await knows(relay, 2)
            assert {(await asker.ask()).text for _ in range(4)} == {"first", "second"}

    asyncio.run(tried())


def crowding(agent: Any, crowded: set[str]) -> None:
    """From now on the agent carries no more connections to these attempts."""
    joins = agent._answer

    async def answer(agent: Any, stream: Any, target: Any) -> None:
        if target.attempt_id in crowded:
            agent.streams.refuse(stream, CROWDED)
        else:
            await joins(agent, stream, target)

    agent._answer = answer


def ways() -> list[Any]:
    return [way for served in list(relay_app.endpoints._served.values()) for way in served.ways.values()]


def test_one_that_carries_as_many_as_it_can_is_not_ill(relay: Relay) -> None:
    """Who asks is given to another replica, or waits until there is room."""
    endpoint = make_endpoint(relay, replicas=2)
    asker = program(relay, endpoint)
    first, second = (attempt_id_of(one) for one in Replica.objects.order_by("id"))

    async def tried() -> None:
        async with served_by(relay, {first: says("first"), second: says("second")}) as agent:
            await knows(relay, 2)
            crowded = {first}
            crowding(agent, crowded)
            said = [(await asker.ask("POST", content=b"x" * 100_000)).text for _ in range(4)]
            assert said == ["second"] * 4
            assert all(way.is_well for way in ways())
            crowded.add(second)
            later = asyncio.create_task(asker.ask("POST", content=b"once"))
            assert await once(waiting)
            assert all(way.is_well for way in ways()) and not later.done()
            crowded.clear()
            assert (await later).text in {"first", "second"}

    asyncio.run(tried())


def test_who_finds_no_room_for_long_is_told_to_come_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = program(relay, make_endpoint(relay))
    [only] = [attempt_id_of(one) for one in Replica.objects.all()]

    async def tried() -> None:
        async with served_by(relay, {only: says("only")}) as agent:
            await knows(relay, 1)
            crowding(agent, {only})
            monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 0.0)
            refused = await asker.ask("POST", content=b"x")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["type"] == "urn:mosu:crowded"
            assert [way.is_well for way in ways()] == [True]

    asyncio.run(tried())


def test_what_breaks_off_before_it_answers_is_asked_elsewhere_only_where_that_changes_nothing(
    relay: Relay,
) -> None:
    endpoint = make_endpoint(relay, replicas=2)
    asker = program(relay, endpoint)
    first, second = (attempt_id_of(one) for one in Replica.objects.order_by("id"))
    asked = list[bytes]()

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b" "))
        writer.transport.abort()

    async def tried() -> None:
        async with served_by(relay, {first: breaks, second: breaks}):
            await knows(relay, 2)
            assert (await asker.ask("POST", content=b"x")).json()["type"] == "urn:mosu:no_answer"
            assert asked == [b"POST "]
            assert (await asker.ask("DELETE")).status_code == 502
            assert asked == [b"POST ", b"DELETE "]
        async with served_by(relay, {first: breaks, second: says("second")}):
            await knows(relay, 2)
            assert {(await asker.ask()).text for _ in range(4)} == {"second"}

    asyncio.run(tried())


def test_a_drained_replica_gets_nothing_new_and_ends_what_it_has(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=2)
    asker, begun, go = program(relay, endpoint), asyncio.Event(), asyncio.Event()
    drained, other = Replica.objects.order_by("id")
    first, second = attempt_id_of(drained), attempt_id_of(other)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await go.wait()
        writer.write(OK + b"ok")

    async def tried() -> None:
        async with served_by(relay, {first: slow, second: says("second")}):
            await knows(relay, 2)
            asked = [asyncio.create_task(asker.ask()) for _ in range(2)]
            await begun.wait()
            await in_thread(Replica.objects.filter(id=drained.id).update, drained_at=timezone.now())
            await in_relay(relay, relay_app.endpoints.refresh)
            assert {(await asker.ask()).text for _ in range(4)} == {"second"}
            go.set()
            assert sorted(one.text for one in await asyncio.gather(*asked)) == ["ok", "second"]

    asyncio.run(tried())


@pytest.mark.parametrize("status", [200, 399, 400, 503])
def test_a_replica_is_well_when_it_says_so(
    relay: Relay, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status >= 400:
        monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 1.0)
    asker = program(relay, make_endpoint(relay, text=SERVICE))

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        said = b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % status
        writer.write(said if head.startswith(b"GET /health ") else OK + b"ok")

    async def tried() -> None:
        async with joined_to(relay, app):
            answer = await asker.ask()
            assert answer.status_code == (200 if status < 400 else 503)
            assert await in_thread(Replica.objects.filter(well_at=None).exists) or status < 400

    asyncio.run(tried())


@pytest.mark.parametrize(("hints", "status"), [(5, 200), (6, 503), (30_000, 503)])
def test_a_replica_that_says_a_lot_before_it_says_so_does_not_keep_us_busy(
    relay: Relay, hints: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 503:
        monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 1.0)
    asker = program(relay, make_endpoint(relay, text=SERVICE))

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        said = b"HTTP/1.1 103 Early\r\n\r\n" * (hints if head.startswith(b"GET /health ") else 0)
        writer.write(said + OK + b"ok")

    async def tried() -> None:
        async with joined_to(relay, app):
            assert (await asker.ask()).status_code == status

    asyncio.run(tried())


def test_a_busy_replica_is_taken_at_its_word_for_a_while(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice it breaks off, which both sides count alike: by a clock a busy machine would count more."""
    for name in ("UNKNOWN_S", "WELL_S", "AWAITED_S"):
        monkeypatch.setattr(replicas, name, 0.1)
    asker, deaf, missed = program(relay, make_endpoint(relay, text=SERVICE)), asyncio.Event(), [0]

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health ") and deaf.is_set():
            missed[0] += 1
            if missed[0] > 2:
                await reader.read()
            return
        writer.write(OK + b"ok")

    async def tried() -> None:
        monkeypatch.setattr(replicas, "HEALTH_S_MAX", PATIENCE_S)
        async with joined_to(relay, app):
            assert (await asker.ask()).status_code == 200
            deaf.set()
            assert await once(lambda: missed[0] == 3)
            assert (await asker.ask()).status_code == 200
        monkeypatch.setattr(replicas, "HEALTH_S_MAX", 0.1)
        async with joined_to(relay, app):  # while no agent was there it fell
            await knows(relay, 0)
            deaf.clear()
            assert (await asker.ask()).status_code == 200
            deaf.set()
            await knows(relay, 0)  # who says nothing for long has missed it as well

    asyncio.run(tried())


def test_what_a_replica_streams_comes_as_it_comes(relay: Relay) -> None:
    asker, go = program(relay, make_endpoint(relay)), asyncio.Event()

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go.wait()
        writer.write(b"data: 2\n\n")

    async def tried() -> None:
        async with joined_to(relay, drips), asked() as client:
            url, headers = f"http://127.0.0.1:{relay.port}/", {"Host": asker.host.netloc} | asker.headers
            async with client.stream("POST", url, headers=headers, content=b"{}") as answer:
                parts = answer.aiter_raw()
                assert await anext(parts) == b"data: 1\n\n"
                go.set()
                assert await anext(parts) == b"data: 2\n\n"

    asyncio.run(tried())


def test_websockets_by_key(relay: Relay) -> None:
    asker = program(relay, make_endpoint(relay))

    async def echoes(websocket: Any) -> None:
        assert "authorization" not in websocket.request.headers
        async for message in websocket:
            await websocket.send(message)

    async def tried() -> None:
        async with serve(echoes, "127.0.0.1", 0) as server, joined_at(relay, next(iter(server.sockets))):
            async with asker.websocket("/live?x=1") as way:
                await way.send("hello")
                assert await way.recv() == "hello"
            (row,) = await once(all_of(EndpointRequest))
            assert (row.status, row.path, row.bytes_in > 0) == (101, "/live", True)

    asyncio.run(tried())


# A request that waits


def test_the_first_request_waits_for_a_replica_and_says_so_to_the_keeper(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=0)
    asker = program(relay, endpoint)

    def job() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select args ->> 'endpoint_id' from procrastinate_jobs where task_name = 'compute.keep_endpoint'"
            )
            return [row[0] for row in cursor.fetchall()]

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            asked = asyncio.create_task(asker.ask("POST", content=b"hello"))
            assert await once(job) == [str(endpoint.id)]
            row = await in_thread(Endpoint.objects.get)
            assert row.in_flight == 1 and row.asked_at is not None
            await in_thread(add_replica, relay=relay, endpoint=endpoint)
            answer = await asked
            assert (answer.status_code, answer.json()["bytes"]) == (200, 5)
            (row,) = await once(all_of(EndpointRequest))
            assert 0 < row.waited_ms <= row.took_ms and row.run_id is not None

    asyncio.run(tried())


def test_who_leaves_waits_no_more(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=0)
    asker = program(relay, endpoint)

    async def tried() -> None:
        for body in (b"", b"Content-Length: 5\r\n", b"Content-Length: 5\r\n\r\nhello"):
            _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            head = b"POST / HTTP/1.1\r\n" + asker.head + body
            writer.write(head if head.endswith(b"hello") else head + b"\r\n")
            assert await once(waiting)
            writer.transport.abort()
            assert await once(lambda: not waiting())
        rows = await once(lambda: len(rows := all_of(EndpointRequest)()) == 3 and rows)
        assert {(row.status, row.run_id) for row in rows} == {(0, None)}

    asyncio.run(tried())


def test_who_waits_in_vain_is_told_when_to_ask_again_and_why(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make_endpoint(relay, replicas=0)
    asker = program(relay, endpoint)

    async def tried() -> None:
        monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 0.3)
        answer = await asker.ask()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert answer.json()["type"] == "urn:mosu:none_answers"
        monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 60.0)
        monkeypatch.setattr(endpoint_requests, "REASON_S", 0.1)
        await in_thread(Endpoint.objects.update, reason="Its budget is used up.")
        answer = await asker.ask()
        assert (answer.status_code, answer.json()["detail"]) == (503, "Its budget is used up.")
        assert await once(lambda: counted().refused)

    asyncio.run(tried())


def test_a_refusal_is_said_once_more_as_openais_clients_read_it(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take `error` of the body for the body, and show its message, type, param and code."""
    monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 0.1)
    empty, endpoint = make_endpoint(relay, replicas=0), make_endpoint(relay, name="chat")
    asker, in_vain = program(relay, endpoint), program(relay, empty)

    def told(answer: httpx.Response) -> tuple[int, str, str]:
        problem, error = answer.json(), answer.json()["error"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert error["message"] == f"{problem['title']} {problem['detail']}"
        assert error["param"] is None and problem["type"] == f"urn:mosu:{error['code']}"
        return answer.status_code, error["type"], error["code"]

    async def tried() -> None:
        nobody = Asker(relay, asker.host, {"Accept-Language": "zh"})
        assert told(await nobody.ask()) == (401, "invalid_request_error", "unauthenticated")
        stranger = Asker(relay, EndpointHost("none-" + asker.host.label.partition("-")[2]), {})
        assert told(await stranger.ask()) == (404, "invalid_request_error", "not_found")
        assert told(await in_vain.ask()) == (503, "server_error", "none_answers")
        async with joined_to(relay, answers(b"no HTTP\r\n\r\n")):
            await knows(relay, 1)  # nobody is held for long here
            assert told(await asker.ask("POST", content=b"x")) == (502, "server_error", "no_answer")
        monkeypatch.setattr(endpoint_requests, "FIRST_BYTE_S_MAX", 0.1)
        monkeypatch.setattr(endpoint_requests, "HELD_S_MAX", 60.0)
        async with joined_to(relay, answers(b"", hold=True)):
            assert told(await asker.ask()) == (504, "server_error", "too_slow")

    asyncio.run(tried())


def test_so_many_wait_and_no_more(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "WAITING_MAX", 2)
    asker = program(relay, make_endpoint(relay, replicas=0))

    async def tried() -> None:
        asked = [asyncio.create_task(asker.ask()) for _ in range(2)]
        assert await once(lambda: waiting() == 2)
        refused = await asker.ask()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        assert await once(lambda: not waiting())

    asyncio.run(tried())


def test_a_long_body_is_not_read_while_its_request_waits(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=0)
    asker = program(relay, endpoint)

    async def tried() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        size = 64 << 20
        writer.write(b"POST / HTTP/1.1\r\n" + asker.head + b"Content-Length: %d\r\n\r\n" % size)
        sending = asyncio.create_task(_sent(writer, size))
        assert await once(waiting)
        await asyncio.sleep(0.3)
        assert not sending.done()
        async with joined_to(relay, asgi_at):
            await in_thread(add_replica, relay=relay, endpoint=endpoint)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await sending
        writer.transport.abort()
        await asyncio.sleep(0)

    asyncio.run(tried())


async def _sent(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size >> 20):
        writer.write(bytes(1 << 20))
        await writer.drain()


# What is written down


def test_requests_are_listed_without_queries_and_counted_by_the_minute(relay: Relay) -> None:
    endpoint = make_endpoint(relay)
    asker = program(relay, endpoint)

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            await asker.ask(
                "POST", "/v1/chat?token=hidden", content=bytes(5000), headers={"X-Secret": "hidden"}
            )
            stranger = Asker(relay, asker.host, {"Authorization": "Bearer sk-mosu-wrong"})
            assert (await stranger.ask(path="/guess")).status_code == 401
            (row,) = await once(all_of(EndpointRequest))
            assert (row.method, row.path, row.status, row.user_id) == ("POST", "/v1/chat", 200, None)
            assert row.bytes_in > 5000 and row.bytes_out > 100 and row.waited_ms <= row.took_ms
            assert row.key_id == (await in_thread(EndpointKey.objects.get)).id
            assert row.run_id == (await in_thread(Replica.objects.get)).run_id
            assert "hidden" not in str(row.__dict__)
            assert await once(lambda: (now := counted()).requests == now.refused == now.in_flight_max == 1)
            assert sum((await in_thread(counted)).latencies) == 1
            await in_relay(relay, relay_app.endpoints.entries.renew)
            assert (await in_thread(EndpointKey.objects.get)).used_at is not None

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("said", "status", "failed"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, 1),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, 0),
        (b"nonsense\r\n\r\n", 502, 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 200, 1),
    ],
)
def test_what_a_replica_fails_at_is_counted_as_its_own(
    relay: Relay, said: bytes, status: int, failed: int
) -> None:
    asker = program(relay, make_endpoint(relay))

    async def tried() -> None:
        async with joined_to(relay, answers(said)):
            with suppress(httpx.TransportError):
                await asker.ask("POST", content=b"x")
            (row,) = await once(all_of(EndpointRequest))
            minute = await in_thread(counted)
            assert (row.status, minute.failed, minute.refused, minute.requests) == (status, failed, 0, 1)

    asyncio.run(tried())


def test_the_log_holds_up_no_request_and_is_bounded(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    asker = program(relay, make_endpoint(relay))
    monkeypatch.setattr(request_log, "REQUESTS_MAX", 5)

    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            with monkeypatch.context() as broken:
                broken.setattr(services, "note_requests", away)
                for number in range(8):
                    assert (await asker.ask(path=f"/{number}")).status_code == 200
                async with asyncio.timeout(PATIENCE_S):
                    with pytest.raises(RuntimeError):
                        while True:  # the relay itself may be at it just now, and this finds nothing to write
                            await in_relay(relay, relay_app.endpoints._notes.write)
                assert await once(lambda: len(relay_app.endpoints.log) == 5)
            rows = await once(lambda: len(rows := all_of(EndpointRequest)()) >= 5 and rows)
            assert [row.path for row in rows] == [f"/{number}" for number in range(3, 8)]
            assert (await in_thread(counted)).requests == 8

    asyncio.run(tried())


def test_minutes_are_added_to(relay: Relay) -> None:
    endpoint, at = make_endpoint(relay, replicas=0), timezone.now().replace(second=0, microsecond=0)
    classes = len(LATENCY_MS) + 1
    for most in (3, 2):
        minute = Minute(2, 1, 1, most, [*range(classes)])
        services.note_requests(requests=[], minutes={(endpoint.id, at): minute})
    (row,) = EndpointMinute.objects.all()
    assert (row.requests, row.refused, row.failed, row.in_flight_max) == (4, 2, 2, 3)
    assert row.latencies == [2 * number for number in range(classes)]
    assert [request_log.latency_class(s) for s in (0, 0.005, 0.0051, 29, 31)] == [0, 0, 1, 11, 12]


def test_what_is_old_is_forgotten_in_pieces(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_log, "_PIECE_ROWS", 3)
    endpoint, now = make_endpoint(relay, replicas=0), timezone.now()
    facts = {
        "method": "GET",
        "path": "/",
        "status": 200,
        "waited_ms": 0,
        "took_ms": 1,
        "bytes_in": 1,
        "bytes_out": 1,
    }
    requests = [
        EndpointRequest(endpoint=endpoint, at=now - timedelta(days=days), **facts)
        for days in (6, 8, 8, 8, 9, 9, 9, 9)
    ]
    minutes = {(endpoint.id, now - timedelta(days=days)): Minute(1) for days in (89, 91)}
    services.note_requests(requests=requests, minutes=minutes)
    assert services.forget_requests(now=now) == 8
    assert EndpointRequest.objects.count() == EndpointMinute.objects.count() == 1


def test_what_somebody_holds_is_noted_the_next_time(relay: Relay) -> None:
    endpoint = make_endpoint(relay, replicas=0)
    replica = add_replica(relay, endpoint, well_at=timezone.now())  # so the relay has nothing to do with it
    told = {endpoint.id: InFlight(4, timezone.now())}
    written = services.note_in_flight(endpoints=told, replicas={replica.id: 2, uuid7(): 1})
    assert written == {endpoint.id, replica.id}
    assert (Endpoint.objects.get().in_flight, Replica.objects.get().in_flight) == (4, 2)
    later = {endpoint.id: InFlight(0, None)}

    async def tried() -> None:
        locked, go = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def holds() -> None:
            with transaction.atomic():
                Endpoint.objects.select_for_update().get()
                loop.call_soon_threadsafe(locked.set)
                asyncio.run_coroutine_threadsafe(go.wait(), loop).result()

        holding = asyncio.create_task(in_thread(holds))
        await locked.wait()
        assert await in_thread(services.note_in_flight, endpoints=later, replicas={}) == frozenset()
        go.set()
        await holding
        assert await in_thread(services.note_in_flight, endpoints=later, replicas={}) == {endpoint.id}

    asyncio.run(tried())
    row = Endpoint.objects.get()
    assert row.in_flight == 0 and row.asked_at is not None


# Limits


def test_requests_are_bounded_by_key_endpoint_organisation_and_relay(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = make_endpoint(relay)
    asker, other, third = (program(relay, endpoint) for _ in range(3))

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for name in ("REQUESTS_MAX", "REQUESTS_PER_ENDPOINT_MAX", "REQUESTS_PER_ORGANISATION_MAX"):
                with monkeypatch.context() as limited:
                    limited.setattr(endpoints, name, 0)
                    refused = await asker.ask()
                    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5"), name
            with monkeypatch.context() as limited:
                limited.setitem(endpoint_entries.REQUESTS_MAX, "key", 0)
                assert (await other.ask()).status_code == 503
            with monkeypatch.context() as limited:
                limited.setattr(endpoint_entries, "LOOKUPS_MAX", 0)
                assert (await third.ask()).status_code == 503
            with monkeypatch.context() as limited:
                limited.setattr(endpoint_entries, "LOOKUPS_PER_ENDPOINT_MAX", 0)
                assert (await third.ask()).status_code == 503
            assert (await asker.ask()).status_code == 200

    asyncio.run(tried())
