"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.db import connection
from django.utils import timezone
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as django_application  # isort: skip
from mosu.compute.streams import listener
from mosu.compute.streams import routes as compute_routes
from mosu.market.catalogue import catalogue_at
from mosu.web.health import routes as health_routes
from mosu.web.sessions import routes as page_routes

BODY_S_MAX = 30
THREADS = int(os.environ.get("MOSU_THREADS", "8"))

_threads: Any = WSGIMiddleware(django_application, workers=THREADS)  # type: ignore[arg-type]
threads: ASGIApp = _threads


async def control_plane(scope: Scope, receive: Receive, send: Send) -> None:
    """Django. A thread is taken only once the whole body is here: a handful of slow senders would hold them all.

    A body that is too large goes on as far as it came, and Django refuses it by what its header announced.
    """
    if scope["type"] != "http":
        return
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S_MAX):
            more = True
            while more and len(body) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        await send({"type": "http.response.start", "status": 408, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b""})
        return

    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def received() -> Message:
        return whole.pop() if whole else await receive()

    async def sent(message: Message) -> None:
        await send(message)

    await threads(scope, received, sent)


def _read_catalogue() -> None:
    """Before the first visitor asks for it; who comes earlier waits, and whoever comes after a failure tries again."""
    try:
        catalogue_at(timezone.now())
    except Exception:
        logging.getLogger(__name__).warning("the catalogue was not read at the start", exc_info=True)
    finally:
        connection.close()


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    reading = asyncio.create_task(asyncio.to_thread(_read_catalogue))
    async with listener:
        yield
    await reading


application = Starlette(
    routes=[*health_routes, *compute_routes, *page_routes, Mount("/", app=control_plane)],
    lifespan=_lifespan,
)
