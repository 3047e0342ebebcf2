"""The hub's own port for ssh, against clients that no OpenSSH would be."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.utils import timezone

from mosu.compute.relay import ssh_port
from mosu.compute.relay.joining import Joining
from mosu.compute.services import Granted
from mosu.compute.services.certificates import certificate_for
from mosu.wire.ssh import SSH_PORT
from mosu.wire.streams import Stream
from mosu.wire.websocket import ServedWay
from tests.patience import PATIENCE_S

CHUNK = bytes(64 * 1024)
LARGE = 1 << 31


class Listens:
    """The session's side: it hears when there is room."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.messages: list[bytes] = []

    def taken(self, message: bytes) -> None:
        self.messages.append(message)

    def text_came(self) -> None:
        raise AssertionError

    def has_room(self) -> None:
        self.room.set()

    def lost(self) -> None:
        self.room.set()


class Sessions:
    """In place of the relay's joining: each way is kept until it is let go."""

    def __init__(self) -> None:
        self.ways = asyncio.Queue[tuple[ServedWay, Listens]]()
        self.over = asyncio.Event()

    async def opened(self, granted: Granted, port: int) -> Stream:
        return cast("Stream", None)

    async def carry(self, granted: Granted, way: ServedWay, stream: Stream) -> None:
        listener = Listens()
        way.begin(cast("Any", listener))
        self.ways.put_nowait((way, listener))
        await self.over.wait()


@pytest.fixture(autouse=True)
def _everybody_may(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.MOSU_ENCRYPTION_KEY = "0" * 64
    granted = Granted(connection_id=uuid4(), organisation_id=uuid4(), pool_id=uuid4(), attempt_id="attempt_1")
    monkeypatch.setattr(ssh_port, "_granted", lambda **_: granted)
    yield


@asynccontextmanager
async def listening(sessions: Sessions) -> AsyncIterator[int]:
    door = await ssh_port.listening(cast("Joining", sessions), host="127.0.0.1", port=0)
    try:
        yield door.get_port()
    finally:
        sessions.over.set()
        door.close()


async def entered(port: int, name: str = "user_1", **options: Any) -> asyncssh.SSHClientConnection:
    """A connection of somebody whom the hub gave a certificate."""
    key, now = Ed25519PrivateKey.generate(), timezone.now()
    certificate = certificate_for(
        key.public_key(),
        principals=[name],
        key_id=name,
        since=now - timedelta(minutes=1),
        until=now + timedelta(hours=1),
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    pair = (asyncssh.import_private_key(private), asyncssh.import_certificate(certificate))
    return await asyncssh.connect(
        "127.0.0.1", port, username=name, client_keys=[pair], known_hosts=None, config=None, **options
    )


async def joined(conn: asyncssh.SSHClientConnection) -> None:
    await conn.create_connection(asyncssh.SSHTCPSession, "run_1", SSH_PORT, window=LARGE)


def test_who_grants_a_large_window_and_reads_nothing_does_not_fill_our_memory() -> None:
    async def fills() -> None:
        sessions = Sessions()
        async with asyncio.timeout(PATIENCE_S), listening(sessions) as port, await entered(port) as conn:
            await joined(conn)
            way, listener = await sessions.ways.get()
            transport = conn._transport
            assert transport is not None
            transport.pause_reading()
            given = 0
            while not way.is_full:
                assert given < 64 << 20, "what nobody reads is kept"
                way.put(CHUNK)
                given += len(CHUNK)
                await asyncio.sleep(0)
            assert not listener.room.is_set()
            transport.resume_reading()
            await listener.room.wait()
            assert not way.is_full

    asyncio.run(fills())


def test_what_comes_to_a_connection_that_is_not_read_waits_too() -> None:
    """A second session over it has no room from its beginning, and hears when there is."""

    async def fills() -> None:
        sessions = Sessions()
        async with asyncio.timeout(PATIENCE_S), listening(sessions) as port, await entered(port) as conn:
            await joined(conn)
            await joined(conn)
            (one, _), (other, listener) = await sessions.ways.get(), await sessions.ways.get()
            transport = conn._transport
            assert transport is not None
            transport.pause_reading()
            while not one.is_full:
                one.put(CHUNK)
                await asyncio.sleep(0)
            assert other.is_full
            transport.resume_reading()
            await listener.room.wait()
            assert not other.is_full
            assert not one.is_full

    asyncio.run(fills())


@pytest.mark.parametrize("costly", ["diffie-hellman-group18-sha512", "rsa2048-sha256"])
def test_a_stranger_does_not_make_us_compute_for_long(costly: str) -> None:
    async def asks() -> None:
        async with asyncio.timeout(PATIENCE_S), listening(Sessions()) as port:
            with pytest.raises(asyncssh.KeyExchangeFailed):
                await entered(port, kex_algs=[costly])
            async with await entered(port, kex_algs=["curve25519-sha256"]):
                pass

    asyncio.run(asks())


def test_one_person_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_port, "PER_NAME_MAX", 2)

    async def crowds() -> None:
        async with asyncio.timeout(PATIENCE_S), listening(Sessions()) as port, await entered(port):
            second = await entered(port)
            with pytest.raises((asyncssh.Error, OSError)):
                await joined(await entered(port))
            async with await entered(port, name="user_2") as another:
                await joined(another)
            second.close()
            await second.wait_closed()
            while True:  # its place is free as soon as we hear that it left
                try:
                    third = await entered(port)
                    await joined(third)
                except (asyncssh.Error, OSError):
                    continue
                third.close()
                break

    asyncio.run(crowds())


def test_of_too_many_who_say_nothing_the_first_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_port, "STRANGERS_MAX", 2)

    async def says_nothing() -> None:
        async with asyncio.timeout(PATIENCE_S), listening(Sessions()) as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, _ in silent:
                assert (await reader.readline()).startswith(b"SSH-2.0-")
            async with await entered(port) as conn:
                await joined(conn)
                assert await silent[0][0].read() == b""
            for _, writer in silent:
                writer.close()

    asyncio.run(says_nothing())
