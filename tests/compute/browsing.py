"""A relay with apps' hosts, browsers that come to it, and apps that an agent joins them to."""

import asyncio
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, cast

import httpx
import uvicorn
from django.db import connections
from django.utils import timezone
from websockets.asyncio.client import connect

from mosu.compute import services
from mosu.compute.app_hosts import AppHost
from mosu.compute.relay import app as relay_app
from mosu.compute.relay.app_headers import cookie_name
from mosu.compute.relay.tunnels import Tunnels
from mosu.runtime.app_requests import AppRequest
from mosu.runtime.relay_protocols import BoundedWebSocket
from mosu.wire.opening import opened
from mosu.wire.streams import Stream
from mosu.wire.tunnel import Target
from mosu.wire.waited import WaitedStream
from tests.compute.sessions import Session, make_session, with_token
from tests.compute.test_relay import Answer, FakeAgent
from tests.hub import free_port
from tests.patience import PATIENCE_S, PATIENT

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For who asks without TLS: to read the machine's certificates anew takes longer than to ask."""
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asked() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, verify=PLAIN, timeout=PATIENCE_S)


def asked_at_once() -> httpx.Client:
    return httpx.Client(trust_env=False, verify=PLAIN, timeout=PATIENCE_S)


@dataclass
class Relay:
    """A relay of its own, a session, and the app at its port."""

    port: int
    session: Session
    app: AppHost
    loop: asyncio.AbstractEventLoop
    token: Any

    async def renews(self) -> None:
        asked = asyncio.run_coroutine_threadsafe(relay_app.grants.renew(), self.loop)
        await asyncio.wrap_future(asked)

    def entered(self, *, port: int | None = None) -> "Browser":
        """A browser that came with a ticket."""
        app = AppHost(self.session.run.id, port or self.app.port)
        return Browser(self, app, self.cookie(app))

    def ticket(self, app: AppHost) -> str:
        made = services.make_ticket(
            actor=self.session.person, run_id=app.run_id, port=app.port, sign_in="", now=timezone.now()
        )
        return made.url.rpartition("=")[2]

    def cookie(self, app: AppHost) -> str:
        with asked_at_once() as client:
            opened = client.get(
                f"http://127.0.0.1:{self.port}/.mosu/open?ticket={self.ticket(app)}",
                headers={"Host": app.netloc},
            )
        assert opened.status_code == 303, opened.text
        return SimpleCookie(opened.headers["set-cookie"])[cookie_name()].value

    def raw(self, data: bytes) -> bytes:
        """What the relay answers to exactly these bytes, until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as way:
            parts = []
            with suppress(ConnectionError):  # be it before all is sent
                way.sendall(data)
                while part := way.recv(65_536):
                    parts.append(part)
        return b"".join(parts)


class Heard(asyncio.Protocol):
    """All that came until the connection was over: who is reset by its stream's reader loses what it has not read."""

    def __init__(self) -> None:
        self.data, self.is_over = b"", asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over.set()


@dataclass
class Browser:
    """Who asks one app, with its cookie."""

    relay: Relay
    app: AppHost
    cookie: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": self.app.netloc, "Cookie": f"{cookie_name()}={self.cookie}"}

    @property
    def head(self) -> bytes:
        return "".join(f"{name}: {value}\r\n" for name, value in self.headers.items()).encode()

    async def ask(self, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
        headers = self.headers | more.pop("headers", {})
        async with asked() as client:
            return await client.request(
                method, f"http://127.0.0.1:{self.relay.port}{path}", headers=headers, **more
            )

    def websocket(self, path: str = "/", *, origin: str | None = "", **more: Any) -> connect:
        headers = {"Cookie": self.headers["Cookie"]} | more.pop("headers", {})
        return connect(
            f"ws://{self.app.netloc}{path}",
            host="127.0.0.1",
            port=self.relay.port,
            additional_headers=headers,
            origin=self.app.origin if origin == "" else origin,
            proxy=None,
            compression=None,
            max_size=None,
            **PATIENT,
            **more,
        )


@contextmanager
def browsing(settings: Any, monkeypatch: Any) -> Iterator[Relay]:
    session = make_session(now=timezone.now())
    person, token = with_token(session.person, now=timezone.now())
    session = Session(session.world, session.run, session.attempt, person)
    port = free_port()
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = f"http://127.0.0.1:{port}", "apps.localhost"
    held = Tunnels()
    monkeypatch.setattr(relay_app, "tunnels", held)
    monkeypatch.setattr(relay_app.grants, "_tunnels", held)
    monkeypatch.setattr(relay_app.grants, "_held", {})
    monkeypatch.setattr(relay_app.endpoints, "_tunnels", held)
    server = uvicorn.Server(
        uvicorn.Config(
            relay_app.application, port=port, http=AppRequest, ws=BoundedWebSocket, ws_per_message_deflate=False,
            ws_ping_interval=20, ws_ping_timeout=None, log_level="critical", timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    yield Relay(port, session, AppHost(session.run.id, 8888), loops[0], token)
    server.should_exit = True
    thread.join()
    connections.close_all()


@asynccontextmanager
async def joined_to(relay: Relay, serve: Serve) -> AsyncIterator[FakeAgent]:
    """An agent that joins every stream to a connection of `serve`, a real server at a real port."""
    served, writers = set[asyncio.Task[None]](), list[asyncio.StreamWriter]()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    async with server, joined_at(relay, server.sockets[0]) as agent:
        yield agent
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
    await closed(writers)


@asynccontextmanager
async def joined_at(relay: Relay, listener: Any) -> AsyncIterator[FakeAgent]:
    """An agent that joins every stream to a connection of who listens there."""
    writers = list[asyncio.StreamWriter]()

    async def joins(agent: FakeAgent, stream: Stream, target: Target) -> None:
        await carried(agent, stream, listener.getsockname()[:2], writers)

    async with tunnel_of(relay, joins) as agent:
        yield agent
    await closed(writers)


async def carried(
    agent: FakeAgent, stream: Stream, address: tuple[str, int], writers: list[asyncio.StreamWriter]
) -> None:
    """Join the stream to a connection of who listens there, until either is over."""
    reader, writer = await asyncio.open_connection(*address)
    writers.append(writer)
    agent.streams.accept(stream)
    end = WaitedStream(stream)

    async def there() -> None:
        while part := await end.read():
            writer.write(part)
            await writer.drain()
        writer.write_eof()

    async def back() -> None:
        while part := await reader.read(65_536):
            await end.write(part)
        end.end()

    ways = [asyncio.create_task(there()), asyncio.create_task(back())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
        end.reset("over")
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()


async def closed(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
    for _ in range(3):  # sockets are closed in a later turn of the loop
        await asyncio.sleep(0)


@asynccontextmanager
async def tunnel_of(relay: Relay, answer: Answer) -> AsyncIterator[FakeAgent]:
    """An agent's tunnel, where every stream is answered so."""
    headers = {"Authorization": f"Bearer {relay.session.world.token}"}
    url = f"ws://127.0.0.1:{relay.port}/agent/v1/tunnel"
    async with await opened(url, additional_headers=headers, **PATIENT) as way:
        agent = FakeAgent(way, answer)
        yield agent
        for task in agent._tasks:
            task.cancel()
        await asyncio.gather(*agent._tasks, return_exceptions=True)


async def asgi_at(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says back, in JSON, what it was asked."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = [one.split(": ", 1) for one in lines if one]
        named = {name.lower(): value for name, value in headers}
        if "content-length" in named:
            body = await reader.readexactly(int(named["content-length"]))
        elif named.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            body = b""
        seen = {
            "line": line,
            "headers": headers,
            "bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        said = json.dumps(seen).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: old\r\nX-App: yes\r\n"
            b"Set-Cookie: a=1; Path=/\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
        )
        await writer.drain()


def answers(data: bytes, *, hold: bool = False) -> Serve:
    """An app that answers every request with exactly these bytes, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if hold:
            await reader.read()

    return serve
