"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from a2wsgi import WSGIMiddleware
from starlette.applications import Starlette
from starlette.routing import Mount

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as control_plane  # isort: skip
from mosu.compute.streams import listener, routes as compute_routes
from mosu.web.health import routes as health_routes
from mosu.web.sessions import routes as page_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

THREADS = int(os.environ.get("MOSU_THREADS", "8"))


@asynccontextmanager
async def _lifespan(app: Starlette) -> "AsyncIterator[None]":
    async with listener:
        yield


application = Starlette(
    routes=[
        *health_routes,
        *compute_routes,
        *page_routes,
        Mount("/", app=WSGIMiddleware(control_plane, workers=THREADS)),
    ],
    lifespan=_lifespan,
)
