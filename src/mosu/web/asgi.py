"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from a2wsgi import WSGIMiddleware
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as django_application  # isort: skip
from mosu.compute.streams import listener
from mosu.compute.streams import routes as compute_routes
from mosu.web.health import routes as health_routes
from mosu.web.sessions import routes as page_routes

THREADS = int(os.environ.get("MOSU_THREADS", "8"))

_threads: Any = WSGIMiddleware(django_application, workers=THREADS)  # type: ignore[arg-type]
threads: ASGIApp = _threads


async def control_plane(scope: Scope, receive: Receive, send: Send) -> None:
    """Django. a2wsgi hands `receive` and `send` to the loop as coroutines; granian's own are other awaitables."""

    async def received() -> Message:
        return await receive()

    async def sent(message: Message) -> None:
        await send(message)

    await threads(scope, received, sent)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with listener:
        yield


application = Starlette(
    routes=[*health_routes, *compute_routes, *page_routes, Mount("/", app=control_plane)],
    lifespan=_lifespan,
)
