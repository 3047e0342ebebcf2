"""The relay as an agent and a person meet it: a real server, real WebSockets, real rows."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from django.db import connections
from django.utils import timezone
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from mosu.compute.models import Connection, Pool
from mosu.compute.relay import app as relay_app
from mosu.compute.relay import joining, renewing, tunnels
from mosu.compute.relay.joining import Joining
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import connections as noting
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import uuid7
from mosu.platform.actors import Role, Scope
from mosu.platform.models import ApiToken
from mosu.platform.services import make_token
from mosu.runtime.relay_protocols import BoundedRequest, BoundedWebSocket
from mosu.wire.opening import ClientWay, opened
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import FrameKind, Target, packed
from mosu.wire.websocket import READ_BYTES, Bytes
from tests.compute.sessions import Session, make_session
from tests.compute.world import make_organisation, report
from tests.hub import free_port
from tests.patience import PATIENCE_S, PATIENT
from tests.platform.factories import make_member
from tests.wire.ends import Reading

MIB = 1 << 20
Answer = Callable[["FakeAgent", Stream, Target], Awaitable[None]]


class Relay:
    """A relay of its own, with what it holds."""

    def __init__(self, port: int, session: Session, token: str) -> None:
        self.url, self.session, self.token = f"ws://127.0.0.1:{port}", session, token
        self.loop: asyncio.AbstractEventLoop

    async def renews(self) -> None:
        """Now, and not in half a minute."""
        asked = asyncio.run_coroutine_threadsafe(relay_app.joining.renew(), self.loop)
        await asyncio.wrap_future(asked)

    def joined(self, *, port: str = "8000", token: str | None = None, run: str = "") -> connect:
        """A person's connection."""
        return connect(
            f"{self.url}/api/v1/runs/{run or self.session.run.public_id}/connect?port={port}",
            additional_headers={"Authorization": f"Bearer {token or self.token}"},
            compression=None,
            max_size=None,
            **PATIENT,
        )

    async def refusal(self, **asked: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(InvalidStatus) as refused:
            async with self.joined(**asked):
                pass
        return refused.value.response.status_code, json.loads(refused.value.response.body or b"{}")


class FakeAgent:
    """An agent's end of a tunnel: every stream comes back as it went, unless `answer` does something else."""

    def __init__(self, websocket: ClientWay, answer: Answer) -> None:
        self.websocket, self.targets = websocket, list[Target]()
        self.streams = Streams(websocket, asked=self._asked)
        self._answer, self._tasks = answer, set[asyncio.Task[None]]()
        websocket.begin(self)

    def taken(self, message: Bytes) -> None:
        self.streams.take(message)

    def text_came(self) -> None:
        raise AssertionError

    def has_room(self) -> None:
        self.streams.has_room()

    def lost(self) -> None:
        self.streams.close("gone")

    def _asked(self, stream: Stream, target: Target) -> None:
        self.targets.append(target)
        self._tasks.add(asyncio.create_task(self._answer(self, stream, target)))


async def echoes(agent: FakeAgent, stream: Stream, target: Target) -> None:
    agent.streams.accept(stream)
    with suppress(Exception):
        end = Reading(stream)
        while part := await end.read():
            await end.write(part)
        stream.end()


async def refuses(agent: FakeAgent, stream: Stream, target: Target) -> None:
    agent.streams.refuse(stream, f"nobody listens on port {target.port}")


async def is_silent(agent: FakeAgent, stream: Stream, target: Target) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def tunnel(relay: Relay, answer: Answer = echoes) -> AsyncIterator[FakeAgent]:
    headers = {"Authorization": f"Bearer {relay.session.world.token}"}
    async with await opened(f"{relay.url}/agent/v1/tunnel", additional_headers=headers, **PATIENT) as way:
        yield FakeAgent(way, answer)


@pytest.fixture
def relay(fresh_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    session = make_session(now=timezone.now())
    _, token = make_token(
        actor=session.person, name="a test's", scopes=list(Scope), now=timezone.now(),
        expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    held = Tunnels()
    monkeypatch.setattr(relay_app, "tunnels", held)
    monkeypatch.setattr(relay_app, "joining", Joining(held))
    monkeypatch.setattr(joining, "OPEN_S_MAX", PATIENCE_S)
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            relay_app.application, port=port, http=BoundedRequest, ws=BoundedWebSocket,
            ws_per_message_deflate=False, ws_ping_interval=0.1, ws_ping_timeout=None,
            log_level="critical", timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    relay = Relay(port, session, token)

    async def serve() -> None:
        relay.loop = asyncio.get_running_loop()
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    yield relay
    server.should_exit = True
    thread.join()
    connections.close_all()


async def noted(count: int = 1, **wanted: Any) -> list[Connection]:
    """The rows, once that many are so."""
    patience = time.monotonic() + PATIENCE_S
    while True:
        rows: list[Connection] = await in_thread(
            lambda: list(Connection.objects.filter(**wanted).order_by("id"))
        )
        if len(rows) >= count:
            return rows
        assert time.monotonic() < patience, f"{len(rows)} rows are so"
        await asyncio.sleep(0.01)


async def everything(way: ClientConnection) -> bytes:
    """Until the other side says that no more comes."""
    parts = list[bytes]()
    while part := await way.recv():
        assert isinstance(part, bytes)
        parts.append(part)
    return b"".join(parts)


def test_bytes_go_both_ways_whole_and_are_counted(relay: Relay) -> None:
    sent = bytes(range(256)) * (3 * MIB // 256)

    async def tried() -> None:
        async with tunnel(relay) as agent, relay.joined() as way:
            sending = asyncio.create_task(_sent(way, sent))
            assert await everything(way) == sent
            await sending
            await way.wait_closed()
            assert way.close_code == 1000
            assert agent.targets == [Target(attempt_id=relay.session.attempt.public_id, port=8000)]
            (row,) = await noted(closed_at__isnull=False)
            assert (row.bytes_in, row.bytes_out, row.why, row.port) == (
                len(sent),
                len(sent),
                "it ended",
                8000,
            )
            assert row.user_id == relay.session.person.id

    asyncio.run(tried())


async def _sent(way: ClientConnection, data: bytes) -> None:
    for start in range(0, len(data), 100_000):
        await way.send(data[start : start + 100_000])
    await way.send(b"")


def test_who_has_nothing_there_is_told_so_before_the_upgrade(relay: Relay) -> None:
    stranger = make_member(make_organisation("Stranger"), Role.OWNER)
    _, foreign = make_token(
        actor=stranger, name="a test's", scopes=list(Scope), now=timezone.now(),
        expires_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip

    async def tried() -> None:
        async with tunnel(relay) as agent:
            assert (await relay.refusal(token="mosu_" + "0" * 48))[0] == 401
            assert (await relay.refusal(token=foreign))[0] == 404
            assert (await relay.refusal(run="run_" + "0" * 26))[0] == 404
            for port in ("0", "65536", "", "22x", "-1", "٢٢"):
                assert (await relay.refusal(port=port))[0] == 422
            assert agent.targets == []
        assert await in_thread(Connection.objects.count) == 0

    asyncio.run(tried())


@pytest.mark.parametrize(
    ("answer", "said"),
    [(refuses, "nobody listens on port 8000"), (is_silent, "did not answer"), (None, "is away")],
    ids=["refused", "silent", "no tunnel"],
)
def test_what_is_not_reached_says_why_and_is_over(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, answer: Answer | None, said: str
) -> None:
    if answer is is_silent:
        monkeypatch.setattr(joining, "OPEN_S_MAX", 0.2)

    async def tried() -> None:
        if answer is None:
            status, problem = await relay.refusal()
        else:
            async with tunnel(relay, answer):
                status, problem = await relay.refusal()
        assert (status, problem["type"]) == (502, "urn:mosu:not_joined")
        assert said in problem["title"]
        (row,) = await noted(closed_at__isnull=False)
        assert said in row.why and (row.bytes_in, row.bytes_out) == (0, 0)

    asyncio.run(tried())


def test_a_right_that_is_taken_away_cuts_the_connection(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            await way.send(b"x")
            assert await way.recv() == b"x"
            await relay.renews()
            await way.send(b"y")
            assert await way.recv() == b"y"
            tokens = ApiToken.objects.filter(user_id=relay.session.person.id)
            await in_thread(tokens.update, revoked_at=timezone.now())
            await relay.renews()
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert (way.close_code, way.close_reason) == (4403, "its token was revoked")
            (row,) = await noted(closed_at__isnull=False)
            assert (row.why, row.bytes_in, row.bytes_out) == ("its token was revoked", 2, 2)

    asyncio.run(tried())


def test_when_the_run_ends_so_does_the_connection(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            session = relay.session
            await in_thread(report, world=session.world, attempt=session.attempt, now=timezone.now())
            await relay.renews()
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert way.close_code == 4403
            await noted(closed_at__isnull=False)

    asyncio.run(tried())


def test_a_silent_database_cuts_everybody_in_the_end(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            monkeypatch.setattr(joining.services, "renew_connections", away)
            await relay.renews()
            await way.send(b"x")
            assert await way.recv() == b"x"
            monkeypatch.setattr(renewing, "UNSURE_S", renewing.RENEW_S)
            await relay.renews()
            with pytest.raises(ConnectionClosed):
                await way.recv()

    asyncio.run(tried())


def test_a_lost_tunnel_ends_its_connections_and_a_new_one_takes_its_place(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay) as first, relay.joined() as way:
            async with tunnel(relay) as second:
                with pytest.raises(ConnectionClosed):
                    await way.recv()
                assert (way.close_code, way.close_reason) == (4502, "the supplier's agent is away")
                await first.websocket.wait_closed()
                async with relay.joined() as again:
                    await again.send(b"x")
                    assert await again.recv() == b"x"
                assert len(second.targets) == 1
            await noted(2, closed_at__isnull=False)

    asyncio.run(tried())


@pytest.mark.parametrize("message", [b"\x09\x00\x00\x00\x01", b"", "text", packed(FrameKind.OPEN, 7, b"{}")])
def test_an_agent_that_breaks_the_protocol_loses_its_tunnel(relay: Relay, message: str | bytes) -> None:
    async def tried() -> None:
        async with tunnel(relay) as agent, relay.joined() as way:
            await ClientConnection.send(agent.websocket, message)
            await agent.websocket.wait_closed()
            with pytest.raises(ConnectionClosed):
                await way.recv()
            assert (await relay.refusal())[0] == 502

    asyncio.run(tried())


def test_nobody_but_a_pools_agent_opens_a_tunnel(relay: Relay) -> None:
    async def tried() -> None:
        for header in ("", f"Bearer {relay.token}", "Bearer mosu_pool_" + "0" * 40):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(
                    f"{relay.url}/agent/v1/tunnel", additional_headers={"Authorization": header}, **PATIENT
                ):
                    pass
            assert refused.value.response.status_code in (401, 403)

    asyncio.run(tried())


def test_who_leaves_without_a_word_is_noted_and_the_run_hears_it(relay: Relay) -> None:
    over = list[str]()

    async def listens(agent: FakeAgent, stream: Stream, target: Target) -> None:
        agent.streams.accept(stream)
        try:
            await Reading(stream).read()
        except Exception as broken:  # noqa: BLE001 - what it says is what is asked for
            over.append(str(broken))

    async def tried() -> None:
        async with tunnel(relay, listens):
            async with relay.joined() as way:
                way.transport.abort()
            (row,) = await noted(closed_at__isnull=False)
            assert row.why == "the person left"
            async with asyncio.timeout(PATIENCE_S):
                while not over:
                    await asyncio.sleep(0.01)
        assert over == ["the other side is gone"]

    asyncio.run(tried())


def test_the_limit_of_all_is_the_relays_own(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "CONNECTIONS_MAX", 1)

    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            status, problem = await relay.refusal()
            assert (status, problem["retry_after_s"]) == (503, 10)
            await way.send(b"x")
            assert await way.recv() == b"x"

    asyncio.run(tried())


async def accepts(agent: FakeAgent, stream: Stream, target: Target) -> None:
    agent.streams.accept(stream)


async def ends_at_once(agent: FakeAgent, stream: Stream, target: Target) -> None:
    agent.streams.accept(stream)
    stream.end()


@asynccontextmanager
async def stalled(relay: Relay, people: int = 12) -> AsyncIterator[list[ClientConnection]]:
    """People whose bytes fill a tunnel that its agent no longer reads: more than any kernel holds."""
    async with tunnel(relay, accepts) as agent, AsyncExitStack() as open_ones:
        ways = [await open_ones.enter_async_context(relay.joined()) for _ in range(people)]
        agent.websocket.transport.pause_reading()
        sending = [asyncio.create_task(way.send(bytes(MIB))) for way in ways]
        await asyncio.sleep(0.5)
        yield ways
        for task in sending:
            task.cancel()
        for way in (*ways, agent.websocket):
            way.transport.abort()


def test_an_agent_that_takes_nothing_keeps_nobody_from_being_cut(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "STALL_S_MAX", 2 * PATIENCE_S)

    async def tried() -> None:
        async with stalled(relay) as ways:
            tokens = ApiToken.objects.filter(user_id=relay.session.person.id)
            await in_thread(tokens.update, revoked_at=timezone.now())
            async with asyncio.timeout(PATIENCE_S):
                await relay.renews()
                rows = await noted(len(ways), closed_at__isnull=False)
        assert {row.why for row in rows} == {"its token was revoked"}

    asyncio.run(tried())


def test_an_agent_that_takes_nothing_for_long_is_away(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "STALL_S_MAX", 0.2)

    async def tried() -> None:
        async with stalled(relay) as ways, asyncio.timeout(PATIENCE_S):
            rows = await noted(len(ways), why="the supplier's agent is away")
            assert (await relay.refusal())[0] == 502
        assert len(rows) == len(ways)

    asyncio.run(tried())


def test_a_new_tunnel_does_not_wait_for_one_that_takes_nothing(relay: Relay) -> None:
    async def tried() -> None:
        async with stalled(relay), tunnel(relay), asyncio.timeout(PATIENCE_S), relay.joined() as way:
            await way.send(b"x")
            assert await way.recv() == b"x"

    asyncio.run(tried())


def test_who_says_nothing_after_the_runs_end_is_cut_too(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay, ends_at_once), relay.joined() as way:
            assert await way.recv() == b""
            tokens = ApiToken.objects.filter(user_id=relay.session.person.id)
            await in_thread(tokens.update, revoked_at=timezone.now())
            await relay.renews()
            async with asyncio.timeout(PATIENCE_S):
                await way.wait_closed()
            assert (way.close_code, way.close_reason) == (4403, "its token was revoked")
            await noted(why="its token was revoked")

    asyncio.run(tried())


def test_who_reads_nothing_is_cut_too(relay: Relay) -> None:
    async def floods(agent: FakeAgent, stream: Stream, target: Target) -> None:
        agent.streams.accept(stream)
        with suppress(Exception):
            end = Reading(stream)
            while True:
                await end.write(bytes(MIB))

    async def tried() -> None:
        async with tunnel(relay, floods), relay.joined() as way:
            way.transport.pause_reading()
            await asyncio.sleep(0.5)
            tokens = ApiToken.objects.filter(user_id=relay.session.person.id)
            await in_thread(tokens.update, revoked_at=timezone.now())
            await relay.renews()
            async with asyncio.timeout(PATIENCE_S):
                await noted(why="its token was revoked")
            way.transport.abort()

    asyncio.run(tried())


def test_who_reads_slowly_gets_the_last_of_it_before_the_end(relay: Relay) -> None:
    async def says_much_and_ends(agent: FakeAgent, stream: Stream, target: Target) -> None:
        agent.streams.accept(stream)
        end = Reading(stream)
        await end.write(bytes(24 * MIB))
        stream.end()

    async def tried() -> None:
        async with tunnel(relay, says_much_and_ends) as agent, relay.joined() as way:
            await way.send(b"")
            way.transport.pause_reading()
            await asyncio.sleep(0.3)
            assert await in_thread(Connection.objects.filter(closed_at__isnull=True).count) == 1
            way.transport.resume_reading()
            assert len(await everything(way)) == 24 * MIB
            await way.wait_closed()
            assert way.close_code == 1000
            await noted(why="it ended", bytes_out=24 * MIB)
            assert len(agent.streams) == 0

    asyncio.run(tried())


def test_crumbs_of_one_leave_the_others_their_turn(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay), relay.joined() as crumbs, relay.joined() as way:
            crumb = Frame(Opcode.BINARY, b"x").serialize(mask=True)
            crumbs.transport.write(crumb * 50_000)
            async with asyncio.timeout(PATIENCE_S):
                await way.send(b"y")
                assert await way.recv() == b"y"
                came = 0
                while came < 50_000:
                    came += len(await crumbs.recv())

    asyncio.run(tried())


def test_who_leaves_while_the_run_reads_nothing_is_noted(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "GONE_S_MAX", 0.1)

    async def tried() -> None:
        async with tunnel(relay, accepts), relay.joined() as way:
            sending = asyncio.create_task(way.send(bytes(MIB)))
            sending_more = asyncio.create_task(way.send(bytes(MIB)))
            await asyncio.sleep(0.5)
            way.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                await noted(why="the person left")
            await asyncio.gather(sending, sending_more, return_exceptions=True)

    asyncio.run(tried())


def test_a_database_that_hangs_cuts_everybody_in_the_end(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewing, "ASK_S_MAX", 0.1)
    monkeypatch.setattr(renewing, "UNSURE_S", renewing.RENEW_S)
    hangs = threading.Event()
    monkeypatch.setattr(joining.services, "renew_connections", lambda **_: hangs.wait(2 * PATIENCE_S))

    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await relay.renews()
                    with pytest.raises(ConnectionClosed):
                        await way.recv()
            finally:
                hangs.set()
            assert way.close_code == 4403

    asyncio.run(tried())


def test_many_who_come_in_do_not_keep_it_from_asking_who_may_stay(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    async def comes() -> None:
        with suppress(Exception):
            async with connect(f"{relay.url}/agent/v1/tunnel"):
                pass

    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            monkeypatch.setattr(relay_app, "_pool_of", lambda **_: go.wait(2 * PATIENCE_S))
            crowd = [asyncio.create_task(comes()) for _ in range(60)]
            await asyncio.sleep(0.3)
            tokens = ApiToken.objects.filter(user_id=relay.session.person.id)
            await in_thread(tokens.update, revoked_at=timezone.now())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await relay.renews()
                    await way.wait_closed()
            finally:
                go.set()
            assert way.close_code == 4403
            await asyncio.gather(*crowd)

    asyncio.run(tried())


def test_what_could_not_be_noted_does_not_count_as_open_for_ever(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: Any) -> None:
        raise RuntimeError("the database is away")

    async def tried() -> None:
        async with tunnel(relay):
            with monkeypatch.context() as failing:
                failing.setattr(joining.services, "close_connection", away)
                async with relay.joined():
                    pass
                async with asyncio.timeout(PATIENCE_S):
                    while len(relay_app.joining):
                        await asyncio.sleep(0.01)
                monkeypatch.setattr(noting, "FORGOTTEN_AFTER", timedelta(0))
                await relay.renews()
        (row,) = await noted(closed_at__isnull=False)
        assert row.why == noting.RELAY_FORGOT

    asyncio.run(tried())


def test_a_tunnel_ends_with_the_token_that_opened_it(relay: Relay) -> None:
    async def tried() -> None:
        async with tunnel(relay) as agent, relay.joined() as way:
            await relay.renews()
            await way.send(b"x")
            assert await way.recv() == b"x"
            pools = Pool.objects.filter(id=relay.session.world.pool_id)
            await in_thread(pools.update, token_sha256="0" * 64)
            await relay.renews()
            async with asyncio.timeout(PATIENCE_S):
                await agent.websocket.wait_closed()
                await way.wait_closed()
            assert (agent.websocket.close_code, way.close_code) == (4401, 4502)

    asyncio.run(tried())


def test_a_tunnel_is_read_as_much_at_once_as_may_be(relay: Relay) -> None:
    """What bounds a peer before its way begins does not outlast that: it cost a piece's end a read of its own."""

    async def tried() -> None:
        async with tunnel(relay), relay.joined() as way:
            await way.send(b"x")
            assert await way.recv() == b"x"
            (held,) = relay_app.tunnels._of_pool.values()
            assert held._way.transport.max_size == READ_BYTES  # type: ignore[attr-defined]

    asyncio.run(tried())


def test_a_run_id_that_is_none_is_not_found(relay: Relay) -> None:
    async def tried() -> None:
        assert (await relay.refusal(run=f"order_{uuid7().hex[:26]}"))[0] == 404

    asyncio.run(tried())
