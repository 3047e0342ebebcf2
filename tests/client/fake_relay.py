"""A small relay for tests of the command line: real WebSockets, joined to real TCP ports of this machine."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.client.fake_hub import TOKEN
from tests.patience import PATIENCE_S, PATIENT
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


@dataclass
class FakeRelay:
    """`ports` says where each port of the run is in truth; a port in `refusals` is refused before the upgrade."""

    port: int = 0
    ports: dict[int, int] = field(default_factory=dict)
    refusals: dict[int, tuple[int, dict[str, str]]] = field(default_factory=dict)
    redirect: str = ""
    text: bool = False
    """It speaks text where bytes belong."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Authorization of each request."""
    closed: list[tuple[int | None, str]] = field(default_factory=list)
    """How each connection ended on its side."""
    opened: set[ServerConnection] = field(default_factory=set)
    """Those that it joins now."""
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/runs/run_1/connect"

    def close_all(self, code: int, why: str) -> None:
        """End every connection, as a hub does whose run ended."""
        assert self._loop is not None
        for one in list(self.opened):
            asyncio.run_coroutine_threadsafe(one.close(code, why), self._loop).result(PATIENCE_S)

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        self.asked.append((request.path, request.headers.get("Authorization", "")))
        if self.redirect:
            return Response(302, "Found", Headers({"Location": self.redirect}), b"")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _problem(401, {"title": "The token is not known."})
        refusal = self.refusals.get(_port_of(request))  # once: a test may take it away meanwhile
        return None if refusal is None else _problem(*refusal)

    async def join(self, opened: ServerConnection) -> None:
        self.opened.add(opened)
        try:
            assert opened.request is not None
            if self.text:
                await opened.send("no bytes")
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[_port_of(opened.request)])
            try:
                await asyncio.gather(_to_run(opened, writer), _from_run(opened, reader))
                await opened.close(1000)
            except (ConnectionClosed, OSError):
                writer.transport.abort()
            finally:
                writer.close()
        finally:
            self.opened.discard(opened)
            self.closed.append((opened.close_code, opened.close_reason or ""))


async def _to_run(opened: ServerConnection, writer: asyncio.StreamWriter) -> None:
    while message := await opened.recv():
        assert isinstance(message, bytes)
        writer.write(message)
        await writer.drain()
    writer.write_eof()


async def _from_run(opened: ServerConnection, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(65_536):
        await opened.send(data)
    await opened.send(b"")


def _port_of(request: Request) -> int:
    return int(parse_qs(urlsplit(request.path).query)["port"][0])


def _problem(status: int, problem: dict[str, Any]) -> Response:
    body = json.dumps({"type": "urn:mosu:refused", "status": status, **problem}).encode()
    headers = Headers({"Content-Type": "application/problem+json", "Content-Length": str(len(body))})
    return Response(status, HTTPStatus(status).phrase, headers, body)


@contextlib.contextmanager
def running_relay(port: int = 0) -> Iterator[FakeRelay]:
    relay = FakeRelay()
    loop = asyncio.new_event_loop()
    relay._loop = loop
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Server:
        return await serve(
            relay.join, "127.0.0.1", port, process_request=relay.check, compression=None,
            close_timeout=PATIENCE_S, **PATIENT,
        )  # fmt: skip

    async def stop(server: Server) -> None:
        server.close()
        await server.wait_closed()

    try:
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE_S)
        relay.port = next(iter(server.sockets)).getsockname()[1]
        try:
            yield relay
        finally:
            asyncio.run_coroutine_threadsafe(stop(server), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
