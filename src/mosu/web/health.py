"""Whether the hub lives (`/healthz`), can serve (`/readyz`), and how it does (`/metrics`)."""

import os
from pathlib import Path
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mosu.compute.models import Pool
from mosu.compute.stream_doors import in_thread, stream_door
from mosu.kernel.ids import typeid
from mosu.platform.database.troubles import was_full

ROOM_BYTES: Final = 32 * 1024 * 1024
"""Two of PostgreSQL's log segments: with less it stops at the next busy moment."""

_FIGURES = {
    "mosu_attempts": (
        "Attempts by state",
        "state",
        "select state, count(*) from compute_attempt group by state",
    ),
    "mosu_orders": ("Orders by state", "state", "select state, count(*) from market_order group by state"),
    "mosu_tasks": (
        "Background tasks by status",
        "status",
        "select status, count(*) from procrastinate_jobs group by status",
    ),
    # By id: two suppliers' pools may have one name.
    "mosu_pool_silence_seconds": (
        "Seconds since a pool's site agent was last heard",
        "pool",
        "select id, extract(epoch from now() - last_seen_at) from compute_pool where last_seen_at is not null",
    ),
}
_gauges = {name: Gauge(name, text, [label]) for name, (text, label, _) in _FIGURES.items()}


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


@stream_door("hub.look")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus, counted in the database when asked."""
    await in_thread(_count)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


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


def _count() -> None:
    with connection.cursor() as cursor:
        for name, (_, _, query) in _FIGURES.items():
            cursor.execute(query)
            gauge = _gauges[name]
            gauge.clear()
            for label, value in cursor.fetchall():
                gauge.labels(typeid(Pool.prefix, label) if isinstance(label, UUID) else label).set(
                    float(value)
                )


routes = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
]
