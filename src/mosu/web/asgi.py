"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import BinaryIO, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mosu.web.bodies import Gone, Room, TooManyBodies, body_of, has_body, spool
from mosu.web.bridge import Threads

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as django_application  # isort: skip
from mosu.compute.stream_doors import in_thread, problem
from mosu.compute.streams import listener
from mosu.compute.streams import routes as compute_routes
from mosu.platform.problems import INERT, wrong_method
from mosu.store.services import NotStored, temporary_file
from mosu.web.health import routes as health_routes
from mosu.web.sessions import is_signed_in
from mosu.web.sessions import routes as page_routes
from mosu.web.uploads import BODY_BYTES_MAX
from mosu.web.warming import warm_up

BODIES_BYTES_MAX: Final = 256 << 20
"""Held in memory of one process at once, of all who send."""
UPLOADS_BYTES_MAX: Final = 2 << 30
"""Held on disk at once, of all who send files by this process."""
_SAID: Final = {
    400: "请求格式有误，没有任何改动。\nThe request is malformed. Nothing was changed.\n",
    408: "传输超时，没有任何改动，请重试。\nIt took too long to arrive. Nothing was changed: send it again.\n",
    503: "上传过多，没有任何改动，请稍后重试。\nToo much is being sent. Nothing was changed: send it again in 10 s.\n",
    507: "存储空间不足，没有任何改动，请告知运营方。\nThe disk is full. Nothing was changed: tell the operator.\n",
}
"""To whom Django never gets: in both languages, since nobody looked at theirs."""
_INERT: Final = tuple((name.lower().encode(), value.encode()) for name, value in INERT.items())
THREADS = int(os.environ.get("MOSU_THREADS", "8"))

threads = Threads(django_application, count=THREADS)
_bodies, _uploads = Room(BODIES_BYTES_MAX), Room(UPLOADS_BYTES_MAX)


async def control_plane(scope: Scope, receive: Receive, send: Send) -> None:
    """Django. A thread is taken only once the whole body is here: a handful of slow senders would hold them all.

    A body that is too large goes on as far as it came, and Django refuses it by its length. Files are taken from
    those who are signed in: anybody else could fill the room that there is for them, and send nothing of it on.
    """
    if scope["type"] != "http":
        return
    size_max = BODY_BYTES_MAX.get(scope.get("path", ""))
    if size_max is not None and not (has_body(scope) and await in_thread(is_signed_in, scope=scope)):
        size_max = None
    with (_bodies if size_max is None else _uploads).part() as take, ExitStack() as closing:
        try:
            if size_max is None:
                body: bytes | BinaryIO = await body_of(scope, receive, take)
            else:
                body = closing.enter_context(await asyncio.to_thread(temporary_file))
                await spool(receive, take, body, size_max=size_max)
        except TimeoutError:
            await _refuse(send, 408)
        except TooManyBodies:
            await _refuse(send, 503, (b"retry-after", b"10"))
        except (NotStored, OSError):
            await _refuse(send, 507)
        except Gone:  # or what came as a body was none, and then somebody still listens
            await _refuse(send, 400)
        else:
            await threads(scope, body, send)


async def _refuse(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    headers = (*headers, (b"connection", b"close"), (b"content-type", b"text/plain; charset=utf-8"), *_INERT)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _SAID[status].encode()})


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """A process listens once this yields: at a start or after a crash, nobody meets one that still reads the offers."""
    await asyncio.to_thread(warm_up, django_application)
    async with listener:
        yield


async def _wrong_method(request: Request, error: Exception) -> Response:
    """What an address of the data plane answers to a method that it does not take."""
    allowed = ", ".join(sorted(getattr(error, "headers", {})["Allow"].split(", ")))
    response = problem(request, wrong_method(allowed))
    response.headers.update({**INERT, "Allow": allowed})
    return response


application = Starlette(
    routes=[*health_routes, *compute_routes, *page_routes],
    exception_handlers={405: _wrong_method},
    lifespan=_lifespan,
)
application.router.redirect_slashes = False
application.router.default = control_plane
