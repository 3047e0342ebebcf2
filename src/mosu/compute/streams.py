"""The data plane of the compute shelf: agents, logs, bytes. Nothing here waits in a thread or asks in a loop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote

from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mosu.compute import services
from mosu.compute.listening import listener
from mosu.compute.models import Attempt, Run
from mosu.compute.services import Destination, LeaseAnswer, LogSlice
from mosu.compute.stream_doors import Endpoint, answer, body_as, in_thread, limited, stream_door
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.actors import Actor
from mosu.store.services import checked_chunks, open_blob, put_blob_streamed
from mosu.wire import agent as wire

__all__ = ["listener", "reading_routes", "routes"]

WAIT_S_MAX: Final = 55
LOOK_AGAIN_S: Final = 5
"""A lease may have gone to a connection that has died; who still waits then finds it."""
KEEPALIVE_S: Final = 15
_CHUNK_BYTES: Final = 256 * 1024


@stream_door("agent.serve")
async def pool(request: Request) -> Response:
    return answer(await _call(request, services.pool_of_agent))


@stream_door("agent.serve")
async def register(request: Request) -> Response:
    registration = await body_as(request, wire.Registration)
    return answer(await _call(request, services.register_agent, registration=registration))


@stream_door("agent.serve")
async def lease(request: Request) -> Response:
    """Waits until there is an attempt, up to `wait_s`; 204 when nothing came."""
    asked = await body_as(request, wire.LeaseRequest)
    deadline = time.monotonic() + min(_whole(request, "wait_s"), WAIT_S_MAX)
    actor: Actor = request.state.actor
    assert actor.id is not None  # noqa: S101 - an agent's actor has its pool's id
    async with listener.watching(f"pool:{actor.id.hex}") as woken:
        while True:
            woken.clear()
            found: LeaseAnswer = await _call(request, services.lease_attempt, asked=asked)
            if found.lease is not None:
                return answer(found.lease)
            left = deadline - time.monotonic()
            if left <= 0 or await request.is_disconnected():
                return Response(status_code=204)
            if found.next_at is not None:
                due = (found.next_at - timezone.now()) / timedelta(seconds=1)
                left = min(left, max(due, 0.05))
            await _waited(woken, min(left, LOOK_AGAIN_S))


@stream_door("agent.serve")
async def heartbeat(request: Request) -> Response:
    message = await body_as(request, wire.Heartbeat)
    return answer(await _call(request, services.heartbeat, message=message))


@stream_door("agent.serve")
async def append_log(request: Request) -> Response:
    chunk = await body_as(request, wire.LogChunk)
    return answer(await _call(request, services.append_log, attempt_id=_attempt(request), chunk=chunk))


@stream_door("agent.serve")
async def take_usage(request: Request) -> Response:
    batch = await body_as(request, wire.UsageBatch)
    return answer(await _call(request, services.take_usage, batch=batch))


@stream_door("agent.serve")
async def take_report(request: Request) -> Response:
    report = await body_as(request, wire.Report)
    taken = await _call(request, services.take_report, attempt_id=_attempt(request), report=report)
    await in_thread(services.note_copying, actor=request.state.actor, report=report)
    return answer(taken)


@stream_door("agent.serve")
async def take_health(request: Request) -> Response:
    report = await body_as(request, wire.HealthReport)
    return answer(await _call(request, services.take_health, report=report))


@stream_door("agent.serve")
async def get_input(request: Request) -> Response:
    sha256 = request.path_params["sha256"]
    await in_thread(services.check_input, actor=request.state.actor, sha256=sha256)
    return await _blob(sha256)


@stream_door("agent.serve")
async def put_output(request: Request) -> Response:
    sha256 = request.path_params["sha256"]
    destination = await in_thread(
        services.output_of, actor=request.state.actor, attempt_id=_attempt(request), sha256=sha256
    )
    return await _put(request, sha256, destination)


class _Digests(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[list[wire.Sha256], Field(max_length=10_000)]


@stream_door("blob.put")
async def missing_blobs(request: Request) -> Response:
    asked = await body_as(request, _Digests)
    missing = await in_thread(services.missing_for, actor=request.state.actor, sha256s=asked.sha256)
    return JSONResponse({"missing": missing})


@stream_door("blob.put")
async def put_blob(request: Request) -> Response:
    sha256 = request.path_params["sha256"]
    destination = await in_thread(services.upload_of, actor=request.state.actor, sha256=sha256)
    return await _put(request, sha256, destination)


async def get_output(request: Request) -> Response:
    sha256, _ = await in_thread(
        services.output_named,
        actor=request.state.actor,
        run_id=Run.key_of(request.path_params["run_id"]),
        path=request.path_params["path"],
    )
    name = quote(request.path_params["path"].rpartition("/")[2])
    return await _blob(sha256, **{"Content-Disposition": f"attachment; filename*=UTF-8''{name}"})


async def get_log(request: Request) -> Response:
    """The log from `offset` on: what is there as plain text, or with `follow=true` as it comes, as events."""
    run_id = Run.key_of(request.path_params["run_id"])
    # What a browser sends when it reconnects; anything else than an id of ours counts as none.
    offset = _number(request.headers.get("last-event-id", ""))
    if offset is None:
        offset = _whole(request, "offset")
    found: LogSlice = await _call(request, services.read_log, run_id=run_id, offset=offset)
    if request.query_params.get("follow") == "true":
        return StreamingResponse(
            _followed(request, run_id, found),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
    headers = {
        "X-Next-Offset": str(found.next_offset),
        "X-Ended": "true" if found.is_complete else "false",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(found.data, media_type="text/plain; charset=utf-8", headers=headers)


async def _followed(request: Request, run_id: Any, found: LogSlice) -> AsyncIterator[bytes]:
    """Log, state and end as they happen; a word now and then, so that a dead connection is noticed.

    Whoever loses what let them in, a membership, a session, a token, reads on for `KEEPALIVE_S` at most.
    """
    state, entered_at = "", time.monotonic()
    async with listener.watching(f"run:{run_id.hex}") as woken:
        while True:
            woken.clear()
            if time.monotonic() - entered_at >= KEEPALIVE_S:
                try:
                    request.state.actor = await in_thread(request.state.entered)
                    await _call(request, services.read_log, run_id=run_id, offset=found.offset)
                except DomainError:
                    return
                entered_at = time.monotonic()
            found = await _call(request, services.read_log, run_id=run_id, offset=found.offset)
            whole = _whole_characters(found)
            if found.state != state:
                state = found.state
                yield _event("state", {"state": state})
            if whole:
                text = whole.decode(errors="replace")
                yield _event("log", {"offset": found.offset, "text": text}, id=found.offset + len(whole))
            if found.is_complete:
                yield _event("end", {"state": state, "offset": found.next_offset})
                return
            if not whole and not await _waited(woken, KEEPALIVE_S if found.state in _OPEN else 1):
                yield b": still here\n\n"
            found = LogSlice(b"", found.offset + len(whole), found.offset + len(whole), state, False)


_OPEN: Final = frozenset({"queued", "running"})


def _whole_characters(found: LogSlice) -> bytes:
    """The bytes without a character that is cut at their end, unless nothing more will come."""
    if found.is_complete:
        return found.data
    for cut in range(min(3, len(found.data)) + 1):
        whole = found.data[: len(found.data) - cut]
        try:
            whole[-4:].decode() if len(whole) < 4 else whole.decode()
        except UnicodeDecodeError:
            continue
        return whole
    return found.data


def _event(name: str, data: dict[str, Any], *, id: int | None = None) -> bytes:
    head = f"event: {name}\n" + (f"id: {id}\n" if id is not None else "")
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _waited(woken: asyncio.Event, seconds: float) -> bool:
    """Whether news came in time."""
    try:
        await asyncio.wait_for(woken.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _call(request: Request, service: Any, **arguments: Any) -> Any:
    return await in_thread(service, actor=request.state.actor, now=timezone.now(), **arguments)


async def _put(request: Request, sha256: str, destination: Destination) -> Response:
    chunks = limited(request, destination.size_bytes_max)
    if destination.is_there:
        async for _ in chunks:  # read to its end, or the sender would find the connection broken
            pass
        return Response(status_code=200)
    await put_blob_streamed(
        chunks=chunks,
        sha256=sha256,
        size_bytes_max=destination.size_bytes_max,
        now=timezone.now(),
        organisation_id=destination.organisation_id,
    )
    return Response(status_code=201)


async def _blob(sha256: str, **headers: str) -> Response:
    """The bytes of a blob to whose reader they were granted."""
    file = await in_thread(open_blob, sha256=sha256)
    checked = checked_chunks(file, sha256=sha256, chunk_bytes=_CHUNK_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        with file:
            while (chunk := await asyncio.to_thread(next, checked, None)) is not None:
                yield chunk

    size_bytes = file.seek(0, 2)
    file.seek(0)
    return StreamingResponse(
        chunks(),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(size_bytes),
            "ETag": f'"{sha256}"',
            "X-Content-Type-Options": "nosniff",
            **headers,
        },
    )


def _attempt(request: Request) -> Any:
    return Attempt.key_of(request.path_params["attempt_id"])


def _whole(request: Request, name: str) -> int:
    text = request.query_params.get(name, "0")
    found = _number(text)
    if found is None:
        raise Invalid(f"{name}: {text[:40]!r} is not a whole number.", hint="Write 0 or more.", field=name)
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def reading_routes(prefix: str, door: Callable[[Endpoint], Endpoint]) -> list[Route]:
    """What can be read of a run, below `prefix`, by those whom `door` lets in."""
    return [
        Route(f"{prefix}/runs/{{run_id}}/log", door(get_log), methods=["GET"]),
        Route(f"{prefix}/runs/{{run_id}}/outputs/{{path:path}}", door(get_output), methods=["GET"]),
    ]


routes: Final = [
    Route("/agent/v1/pool", pool, methods=["GET"]),
    Route("/agent/v1/register", register, methods=["POST"]),
    Route("/agent/v1/lease", lease, methods=["POST"]),
    Route("/agent/v1/heartbeat", heartbeat, methods=["POST"]),
    Route("/agent/v1/health", take_health, methods=["POST"]),
    Route("/agent/v1/usage", take_usage, methods=["POST"]),
    Route("/agent/v1/attempts/{attempt_id}/log", append_log, methods=["POST"]),
    Route("/agent/v1/attempts/{attempt_id}/report", take_report, methods=["POST"]),
    Route("/agent/v1/attempts/{attempt_id}/blobs/{sha256}", put_output, methods=["PUT"]),
    Route("/agent/v1/blobs/{sha256}", get_input, methods=["GET"]),
    Route("/api/v1/blobs/missing", missing_blobs, methods=["POST"]),
    Route("/api/v1/blobs/{sha256}", put_blob, methods=["PUT"]),
    *reading_routes("/api/v1", stream_door("run.read")),
]
