"""The agent's end of a tunnel, joined in memory with a relay's streams."""

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from tests.patience import PATIENCE_S
from tests.wire.ends import Reading, Wire

from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.reaching import CROWDED
from mosu.site_agent import tunnel
from mosu.site_agent.tunnel import DIALS_MAX, Tunnel, is_as_safe
from mosu.wire.streams import Broken, Refused, Stream, Streams
from mosu.wire.tunnel import CHUNK_BYTES, WINDOW_BYTES, Target

SLOW, QUICK = (Target(attempt_id=typeid("attempt", uuid7()), port=8000) for _ in range(2))


class Pair:
    """A relay whose agent's engine takes its time for `SLOW`, until `go` is set."""

    def __init__(self) -> None:
        self.go, self.asked, self.doors = threading.Event(), list[str](), list[socket.socket]()
        self.agent_tunnel = Tunnel(
            "ws://hub", "", join=self._dial, wanted=lambda: True, log=structlog.get_logger()
        )
        to_agent, self.to_relay = Wire(), Wire()
        self.relay, self.agent = Streams(to_agent), Streams(self.to_relay, asked=self._begin)
        to_agent.take, self.to_relay.take = self.agent.take, self.relay.take

    async def close(self) -> None:
        self.agent.close("over")
        await asyncio.sleep(0)
        for door in self.doors:
            door.close()

    def _begin(self, stream: Stream, target: Target) -> None:
        self.agent_tunnel._begin(self.agent, stream, target)

    def _dial(self, attempt_id: str, port: int) -> socket.socket:
        self.asked.append(attempt_id)
        if attempt_id == SLOW.attempt_id:
            self.go.wait(2 * PATIENCE_S)
        here, there = socket.socketpair()
        self.doors.append(there)
        return here


def test_a_task_that_answers_nobody_keeps_nobody_else_waiting() -> None:
    async def tried() -> None:
        pair = Pair()
        waiting = [asyncio.create_task(pair.relay.open(SLOW)) for _ in range(40)]
        try:
            async with asyncio.timeout(PATIENCE_S):
                while pair.asked.count(SLOW.attempt_id) < DIALS_MAX:
                    await asyncio.sleep(0.001)
                await pair.relay.open(QUICK)
            assert pair.asked.count(SLOW.attempt_id) == DIALS_MAX
            for task in waiting:  # nobody waits any more: nobody is asked
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            pair.go.set()
        await asyncio.sleep(0.2)
        assert pair.asked.count(SLOW.attempt_id) == DIALS_MAX
        await pair.close()

    asyncio.run(tried())


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Pair, Reading, socket.socket]]:
    """A person's end of a stream, and the run's socket."""
    pair = Pair()
    person = Reading(await pair.relay.open(QUICK))
    while not pair.doors:
        await asyncio.sleep(0.001)
    run = pair.doors[0]
    run.setblocking(False)
    yield pair, person, run
    await pair.close()


async def everything(run: socket.socket) -> bytes:
    loop, parts = asyncio.get_running_loop(), list[bytes]()
    while part := await loop.sock_recv(run, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def test_bytes_go_both_ways_and_each_way_ends_on_its_own() -> None:
    sent = bytes(range(256)) * (3 * WINDOW_BYTES // 256)

    async def tried() -> None:
        async with joined() as (pair, person, run):
            writing = asyncio.create_task(person.write(sent))
            reading = asyncio.create_task(everything(run))
            await writing
            person.stream.end()
            assert await reading == sent
            back = asyncio.create_task(person.everything())
            await asyncio.get_running_loop().sock_sendall(run, sent)
            run.shutdown(socket.SHUT_WR)
            assert await back == sent
            while len(pair.relay):
                await asyncio.sleep(0.001)

    asyncio.run(tried())


def test_a_run_that_reads_nothing_holds_who_sends_within_a_window() -> None:
    async def tried() -> None:
        async with joined() as (_, person, run):
            writing = asyncio.create_task(person.write(bytes(8 * WINDOW_BYTES)))
            before = -1
            while before != (before := person.stream.bytes_out):
                await asyncio.sleep(0.05)
            assert not writing.done()
            assert person.stream.bytes_out < 3 * WINDOW_BYTES
            reading = asyncio.create_task(everything(run))
            await writing
            person.stream.end()
            assert len(await reading) == 8 * WINDOW_BYTES

    asyncio.run(tried())


def test_who_reads_nothing_holds_a_run_that_sends_within_a_window() -> None:
    async def tried() -> None:
        async with joined() as (_, person, run):
            sending = asyncio.create_task(
                asyncio.get_running_loop().sock_sendall(run, bytes(8 * WINDOW_BYTES))
            )
            before = -1
            while before != (before := person.stream.bytes_in):
                await asyncio.sleep(0.05)
            assert not sending.done()
            assert person.stream.bytes_in <= WINDOW_BYTES
            reading = asyncio.create_task(person.everything())
            await sending
            run.shutdown(socket.SHUT_WR)
            assert len(await reading) == 8 * WINDOW_BYTES

    asyncio.run(tried())


def test_several_pieces_of_a_run_are_read_at_once() -> None:
    stream: Any = SimpleNamespace(join=lambda end: None, reset=lambda why: None)

    async def tried() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport: Any
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            partial(tunnel._Door, stream), ours
        )
        assert transport.max_size == 2 * CHUNK_BYTES
        theirs.close()
        transport.abort()
        await asyncio.sleep(0)

    asyncio.run(tried())


def test_what_was_held_goes_when_the_way_is_free_again() -> None:
    async def tried() -> None:
        async with joined() as (pair, person, run):
            pair.to_relay.is_full = True
            await asyncio.get_running_loop().sock_sendall(run, b"late")
            run.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.02)
            assert person.stream.bytes_in == 0
            pair.to_relay.is_full = False
            pair.agent.has_room()
            assert await person.everything() == b"late"

    asyncio.run(tried())


def test_a_run_that_breaks_off_says_so_and_is_let_go_when_the_person_leaves() -> None:
    async def tried() -> None:
        async with joined() as (_, person, run):
            run.close()
            person.stream.send(b"x")
            with pytest.raises(Broken, match="the run closed the connection"):
                while True:
                    await person.write(b"x")
                    await asyncio.sleep(0.001)
        async with joined() as (_, person, run):
            person.stream.reset("left")
            assert await everything(run) == b""

    asyncio.run(tried())


def test_a_run_that_never_reads_the_last_of_it_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "_LAST_S_MAX", 0.05)

    async def tried() -> None:
        async with joined() as (pair, person, run):
            run.shutdown(socket.SHUT_WR)
            before = -1
            writing = asyncio.create_task(person.write(bytes(WINDOW_BYTES // 2)))
            while before != (before := person.stream.bytes_out):
                await asyncio.sleep(0.02)
            await writing
            person.stream.end()
            while len(pair.agent):
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.2)
            assert len(await everything(run)) < WINDOW_BYTES // 2

    asyncio.run(tried())


def test_the_agent_refuses_more_than_it_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "STREAMS_MAX", 1)

    async def tried() -> None:
        async with joined() as (pair, _, _run):
            with pytest.raises(Refused, match=re.escape(CROWDED)):
                await pair.relay.open(QUICK)
            assert len(pair.doors) == 1

    asyncio.run(tried())


@pytest.mark.parametrize(("full_for_s", "is_cut"), [(None, False), (0.0, False), (31.0, True)])
def test_a_relay_that_takes_nothing_for_long_is_gone(
    monkeypatch: pytest.MonkeyPatch, full_for_s: float | None, is_cut: bool
) -> None:
    async def tried() -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[str] = loop.create_future()
        since = None if full_for_s is None else loop.time() - full_for_s
        way: Any = SimpleNamespace(
            full_since=since, transport=SimpleNamespace(abort=partial(over.set_result, "cut"))
        )
        relay: Any = SimpleNamespace(over=over)
        monkeypatch.setattr(tunnel, "_LOOKS_S", 0.01)
        if not is_cut:  # who is stalled for as long would find both, and see this first
            loop.call_later(0.1, over.set_result, "lost")
        assert await Pair().agent_tunnel._over(relay, way) == ("cut" if is_cut else "lost")

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("url", "hub_url", "safe"),
    [
        ("wss://hub/agent/v1/tunnel", "https://hub", True),
        ("ws://hub/agent/v1/tunnel", "https://hub", False),
        ("ws://hub/agent/v1/tunnel", "HTTPS://hub", False),
        ("ws://127.0.0.1:8001/agent/v1/tunnel", "http://127.0.0.1:8000", True),
        ("http://hub/agent/v1/tunnel", "http://hub", False),
        ("wss://somebody@hub/agent/v1/tunnel", "https://hub", False),
        ("wss:///agent/v1/tunnel", "https://hub", False),
    ],
)
def test_the_token_goes_nowhere_less_safe_than_the_hub(url: str, hub_url: str, safe: bool) -> None:
    assert is_as_safe(url, hub_url=hub_url) is safe
