"""The relay's routes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.utils import timezone
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from mosu.compute import services
from mosu.compute.models import Run
from mosu.compute.relay.app_doors import ByHost, doors_of
from mosu.compute.relay.endpoint_doors import endpoint_doors_of
from mosu.compute.relay.endpoints import Endpoints
from mosu.compute.relay.grants import Grants
from mosu.compute.relay.joining import Joining
from mosu.compute.relay.renewing import again_for_ever
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import Granted, actor_of_agent
from mosu.compute.stream_doors import in_thread, problem, stream_door
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.hosts import require_host
from mosu.platform.policy import require
from mosu.platform.problems import refusal_of
from mosu.platform.requests import actor_of_authorization

if TYPE_CHECKING:
    from asyncssh import SSHAcceptor

tunnels = Tunnels()
joining = Joining(tunnels)
grants = Grants(tunnels)
endpoints = Endpoints(tunnels)
apps = doors_of(grants)
endpoint_doors = endpoint_doors_of(endpoints)
WebSocketEndpoint = Callable[[WebSocket], Awaitable[None]]
_PORT_DIGITS: Final = 5


def relay_door(action: str) -> Callable[[WebSocketEndpoint], WebSocketEndpoint]:
    """Mark what enters under `action`; every refusal before the upgrade is answered as problem+json."""

    def mark(endpoint: WebSocketEndpoint) -> WebSocketEndpoint:
        @wraps(endpoint)
        async def entered(websocket: WebSocket) -> None:
            try:
                require_host(websocket.headers.get("host", ""))
                await endpoint(websocket)
            except DomainError as refusal:
                await _denied(websocket, refusal)
            except Exception as error:  # noqa: BLE001 - logged with its trace, answered without
                await _denied(websocket, refusal_of(error))

        setattr(entered, ATTRIBUTE, action)
        return entered

    return mark


@relay_door("agent.serve")
async def tunnel(websocket: WebSocket) -> None:
    """A site agent's tunnel."""
    header = websocket.headers.get("authorization", "")
    pool_id = await in_thread(_pool_of, header=header)
    await tunnels.serve(pool_id, websocket, token_sha256=services.digest_of_agent(header))


@relay_door("run.connect")
async def connect(websocket: WebSocket) -> None:
    """A person's connection to a port of a run."""
    port = _port(websocket.query_params.get("port", ""))
    granted = await in_thread(
        _granted,
        header=websocket.headers.get("authorization", ""),
        run=websocket.path_params["run_id"],
        port=port,
    )
    stream = await joining.opened(granted, port)
    await joining.join(granted, websocket, stream)


@stream_door("hub.look")
async def health(request: Request) -> Response:
    """This process answers; the database is not asked."""
    return PlainTextResponse("ok\n")


def _pool_of(*, header: str) -> UUID:
    actor = actor_of_agent(header, now=timezone.now())
    require(actor, "agent.serve")
    assert actor.id is not None  # noqa: S101 - an agent's actor has its pool's id
    return actor.id


def _granted(*, header: str, run: str, port: int) -> Granted:
    now = timezone.now()
    actor = actor_of_authorization(header, now=now)
    require(actor, "run.connect")
    return services.open_connection(actor=actor, run_id=Run.key_of(run), port=port, now=now)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS and 1 <= int(text) <= 65_535:
        return int(text)
    raise Invalid(
        "There is no such port.", hint="Give ?port= from 1 to 65535.", field="port", found=text[:60]
    )


async def _denied(websocket: WebSocket, refusal: DomainError) -> None:
    request = Request({**websocket.scope, "type": "http", "method": "GET"})
    await websocket.send_denial_response(problem(request, refusal))


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """What an earlier relay left open is over; then who is joined is asked for anew, again and again."""
    await in_thread(services.close_left_open, now=timezone.now())
    await in_thread(services.forget_in_flight)
    renewing = [asyncio.create_task(again_for_ever(each.renew)) for each in (joining, grants)]
    keeping = asyncio.create_task(endpoints.keep_for_ever())
    door = await _ssh_door(app)
    try:
        yield
    finally:
        if door is not None:
            door.close()
        for task in (*renewing, keeping):
            task.cancel()
        await endpoints.end()


async def _ssh_door(app: Starlette) -> "SSHAcceptor | None":
    """The hub's own port for ssh, if its operator wants one."""
    asked: tuple[str, int] | None = getattr(app.state, "ssh_at", None)
    if asked is None:
        return None
    from mosu.compute.relay.ssh_port import listening  # noqa: PLC0415 - 12 MB that few hubs need

    host, port = asked
    return await listening(joining, host=host, port=port)


application = Starlette(
    routes=[
        Route("/healthz", health),
        WebSocketRoute("/agent/v1/tunnel", tunnel),
        WebSocketRoute("/api/v1/runs/{run_id}/connect", connect),
    ],
    middleware=[Middleware(ByHost, apps=apps, endpoints=endpoint_doors)],
    lifespan=_lifespan,
)
