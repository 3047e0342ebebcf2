"""One port: the data plane's routes first, everything else is Django as WSGI in a pool of threads.

Django under its own ASGI handler costs two to three times the CPU per request (docs/adr/0003-serving.md).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import BinaryIO, Final

from django.conf import settings
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from mosu.web.bridge import Threads

# Django is set up by importing this; the data plane below uses its models.
from mosu.web.wsgi import application as django_application  # isort: skip
from mosu.compute.stream_doors import in_thread
from mosu.compute.streams import listener
from mosu.compute.streams import routes as compute_routes
from mosu.store.services import NotStored, temporary_file
from mosu.web.health import routes as health_routes
from mosu.web.sessions import is_signed_in
from mosu.web.sessions import routes as page_routes
from mosu.web.uploads import BODY_BYTES_MAX
from mosu.web.warming import warm_up

BODY_S_MAX = 30
UPLOAD_S_MAX = 300
BODIES_BYTES_MAX: Final = 256 << 20
"""Held in memory of one process at once, of all who send."""
UPLOADS_BYTES_MAX: Final = 2 << 30
"""Held on disk at once, of all who send files by this process."""
SMALL_BODY_BYTES: Final = 64 << 10
"""What is smaller always finds room: a form is taken while others send slowly what is large."""
_SAID: Final = {
    400: "请求格式有误，没有任何改动。\nThe request is malformed. Nothing was changed.\n",
    408: "传输超时，没有任何改动，请重试。\nIt took too long to arrive. Nothing was changed: send it again.\n",
    503: "上传过多，没有任何改动，请稍后重试。\nToo much is being sent. Nothing was changed: send it again in 10 s.\n",
    507: "存储空间不足，没有任何改动，请告知运营方。\nThe disk is full. Nothing was changed: tell the operator.\n",
}
"""To whom Django never gets: in both languages, since nobody looked at theirs."""
_BUFFER_BYTES: Final = 1 << 20
_ANNOUNCING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Without one of them, a request of HTTP/1 has no body (RFC 9112, 6.3)."""
THREADS = int(os.environ.get("MOSU_THREADS", "8"))

threads = Threads(django_application, count=THREADS)


class TooManyBodies(Exception):
    """Others' bodies fill the room that there is for them."""


class Gone(Exception):
    """Who sent the body went away."""


class Room:
    """What bodies on their way may take, so that many large ones at once are refused instead of the process."""

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


_bodies, _uploads = Room(BODIES_BYTES_MAX), Room(UPLOADS_BYTES_MAX)


async def control_plane(scope: Scope, receive: Receive, send: Send) -> None:
    """Django. A thread is taken only once the whole body is here: a handful of slow senders would hold them all.

    A body that is too large goes on as far as it came, and Django refuses it by its length. Files are taken from
    those who are signed in: anybody else could fill the room that there is for them, and send nothing of it on.
    """
    if scope["type"] != "http":
        return
    size_max = BODY_BYTES_MAX.get(scope.get("path", ""))
    if size_max is not None and not (_has_body(scope) and await in_thread(is_signed_in, scope=scope)):
        size_max = None
    with (_bodies if size_max is None else _uploads).part() as take, ExitStack() as closing:
        try:
            if size_max is None:
                body: bytes | BinaryIO = await _body_of(scope, receive, take)
            else:
                body = closing.enter_context(await asyncio.to_thread(temporary_file))
                await _spool(receive, take, body, size_max=size_max)
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
    headers = (*headers, (b"connection", b"close"), (b"content-type", b"text/plain; charset=utf-8"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _SAID[status].encode()})


def _has_body(scope: Scope) -> bool:
    return scope["http_version"] == "2" or any(name in _ANNOUNCING for name, _ in scope["headers"])


async def _body_of(scope: Scope, receive: Receive, take: Callable[[int], None]) -> bytes:
    """The request's body, cut where it is too large.

    Raises:
        TimeoutError: it did not come in `BODY_S_MAX`.
        TooManyBodies: `take` has no room for it.
        Gone: who sent it went away meanwhile.
    """
    if not _has_body(scope):
        return b""
    body = bytearray()
    async with asyncio.timeout(BODY_S_MAX):
        async for part in _parts(receive, take, size_max=settings.DATA_UPLOAD_MAX_MEMORY_SIZE):
            body += part
    return bytes(body)


async def _spool(receive: Receive, take: Callable[[int], None], file: BinaryIO, *, size_max: int) -> None:
    """Write the request's body to `file`, a megabyte of it in memory; cut where it is too large.

    Raises:
        TimeoutError: it did not come in `UPLOAD_S_MAX`.
        TooManyBodies, Gone: as `_body_of`.
        OSError: the disk refused it.
    """
    buffer = bytearray()
    async with asyncio.timeout(UPLOAD_S_MAX):
        async for part in _parts(receive, take, size_max=size_max):
            buffer += part
            if len(buffer) >= _BUFFER_BYTES:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(file.write, bytes(buffer))


async def _parts(receive: Receive, take: Callable[[int], None], *, size_max: int) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more and size <= size_max:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > SMALL_BODY_BYTES:
            take(size)
        yield part
        more = message.get("more_body", False)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """A process listens once this yields: at a start or after a crash, nobody meets one that still reads the offers."""
    await asyncio.to_thread(warm_up, django_application)
    async with listener:
        yield


application = Starlette(
    routes=[*health_routes, *compute_routes, *page_routes, Mount("/", app=control_plane)],
    lifespan=_lifespan,
)
