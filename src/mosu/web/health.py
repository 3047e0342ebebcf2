"""Whether the hub lives (`/healthz`), can serve (`/readyz`), and how it does (`/metrics`)."""

import os
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mosu.compute.stream_doors import actor_of_token, in_thread, stream_door
from mosu.platform.actors import ANONYMOUS, SYSTEM, Actor
from mosu.platform.database.troubles import was_full
from mosu.web.figures import Answer

ROOM_BYTES: Final = 32 * 1024 * 1024
"""Two of PostgreSQL's log segments: with less it stops at the next busy moment."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-real-ip")
"""What a proxy adds. Then, or where the name asked for is not this machine's own, somebody else wants to know."""
_answer: Final = Answer()


def actor_of_watcher(request: Request) -> Actor:
    """The actor of the `Authorization` header; without one, mosu itself for who asks on this very machine."""
    if request.headers.get("authorization"):
        return actor_of_token(request)
    near = request.client is not None and request.client.host in _LOOPBACK
    itself = near and request.url.hostname in _LOOPBACK
    return SYSTEM if itself and not any(name in request.headers for name in _PASSED_ON) else ANONYMOUS


@stream_door("hub.look")
async def healthz(request: Request) -> Response:
    """This process answers; the database is not asked."""
    return PlainTextResponse("ok\n")


@stream_door("hub.look")
async def readyz(request: Request) -> Response:
    """The database answers too, and there is room to write; the offers were read before this process listened."""
    try:
        await in_thread(_ask_database)
    except Exception:  # noqa: BLE001  (whatever it is, the hub cannot serve)
        return JSONResponse({"ready": False, "why": "the database does not answer"}, status_code=503)
    if was_full() or _free_bytes(settings.DATA_DIR) < ROOM_BYTES:
        return JSONResponse({"ready": False, "why": "the disk is full"}, status_code=503)
    return JSONResponse({"ready": True})


@stream_door("figures.read", actor_of=actor_of_watcher)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus: on the hub's own machine, or with a token of the hub's people."""
    return Response(await in_thread(_answer.text), media_type=CONTENT_TYPE_LATEST)


def _free_bytes(folder: Path) -> int:
    """Room for others than root, whose reserve the database cannot use either."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:  # a hub without files of its own
        return ROOM_BYTES
    return found.f_bavail * found.f_frsize


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")


routes = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
]
