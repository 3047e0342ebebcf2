"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from django.conf import settings
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from mosu.web.bridge import Threads

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as django_application  # isort: skip
from mosu.compute.streams import listener
from mosu.compute.streams import routes as compute_routes
from mosu.web.health import routes as health_routes
from mosu.web.sessions import routes as page_routes
from mosu.web.views.documents import DOCUMENT_BODY_BYTES_MAX, DOCUMENTS_PATH
from mosu.web.warming import begin, warm_up

BODY_S_MAX = 30
DOCUMENT_S_MAX = 120
BODIES_BYTES_MAX: Final = 256 << 20
"""Held in memory of one process at once, of all who send; as much again of documents."""
SMALL_BODY_BYTES: Final = 64 << 10
"""What is smaller always finds room: a form is taken while others send slowly what is large."""
_ANNOUNCING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Without one of them, a request of HTTP/1 has no body (RFC 9112, 6.3)."""
THREADS = int(os.environ.get("MOSU_THREADS", "8"))

threads = Threads(django_application, count=THREADS)


class TooManyBodies(Exception):
    """Others' bodies fill the memory that there is for them."""


class Room:
    """Memory for bodies that are on their way, so that many large ones at once are refused instead of the process."""

    def __init__(self, bytes_max: int) -> None:
        self.used = 0
        self._bytes_max = bytes_max

    @contextmanager
    def part(self) -> Iterator[Callable[[int], None]]:
        """What to call with the size of a body whenever it has grown; all of it is given back at the end.

        Raises:
            TooManyBodies: there is no room for so much.
        """
        own = 0

        def take(size: int) -> None:
            nonlocal own
            more = size - own
            if self.used + more > self._bytes_max:
                raise TooManyBodies
            own += more
            self.used += more

        try:
            yield take
        finally:
            self.used -= own


_bodies, _documents = Room(BODIES_BYTES_MAX), Room(BODIES_BYTES_MAX)


async def control_plane(scope: Scope, receive: Receive, send: Send) -> None:
    """Django. A thread is taken only once the whole body is here: a handful of slow senders would hold them all.

    A body that is too large goes on as far as it came, and Django refuses it by its length.
    """
    if scope["type"] != "http":
        return
    brings = scope.get("path") == DOCUMENTS_PATH
    with (_documents if brings else _bodies).part() as take:
        try:
            body = await _body_of(scope, receive, take, brings=brings)
        except TimeoutError:
            await _refuse(send, 408)
        except TooManyBodies:
            await _refuse(send, 503, (b"retry-after", b"10"))
        else:
            if body is not None:
                await threads(scope, body, send)


async def _refuse(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    headers = (*headers, (b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _body_of(
    scope: Scope, receive: Receive, take: Callable[[int], None], *, brings: bool
) -> bytes | None:
    """The request's body, cut where it is too large; None if who sent it went away meanwhile.

    Raises:
        TimeoutError: it did not come in `BODY_S_MAX`, or a document in `DOCUMENT_S_MAX`.
        TooManyBodies: `take` has no room for it.
    """
    if not any(name in _ANNOUNCING for name, _ in scope["headers"]) and scope["http_version"] != "2":
        return b""
    body = bytearray()
    size_max = DOCUMENT_BODY_BYTES_MAX if brings else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    async with asyncio.timeout(DOCUMENT_S_MAX if brings else BODY_S_MAX):
        more = True
        while more and len(body) <= size_max:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > SMALL_BODY_BYTES:
                take(len(body))
            more = message.get("more_body", False)
    return bytes(body)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    begin()
    warming = asyncio.create_task(asyncio.to_thread(warm_up))
    async with listener:
        yield
    await warming


application = Starlette(
    routes=[*health_routes, *compute_routes, *page_routes, Mount("/", app=control_plane)],
    lifespan=_lifespan,
)
