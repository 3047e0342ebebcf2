"""Requests' bodies on their way: how long they may take, how much room they fill, where they are kept meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from django.conf import settings
from starlette.types import Receive, Scope

BODY_S_MAX: Final = 30
UPLOAD_S_MAX: Final = 300
SMALL_BODY_BYTES: Final = 64 << 10
"""What is smaller always finds room: a form is taken while others send slowly what is large."""
DROPPED_BYTES_MAX: Final = 64 << 20
"""Of what is too large: who sends more than this beyond the limit is cut off."""
_BUFFER_BYTES: Final = 1 << 20
_ANNOUNCING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Without one of them, a request of HTTP/1 has no body (RFC 9112, 6.3)."""


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


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body."""
    return scope["http_version"] == "2" or any(name in _ANNOUNCING for name, _ in scope["headers"])


async def body_of(scope: Scope, receive: Receive, take: Callable[[int], None]) -> bytes:
    """The request's body, cut where it is too large.

    Raises:
        TimeoutError: it did not come in `BODY_S_MAX`.
        TooManyBodies: `take` has no room for it.
        Gone: who sent it went away meanwhile.
    """
    if not has_body(scope):
        return b""
    body = bytearray()
    async with asyncio.timeout(BODY_S_MAX):
        async for part in _parts(receive, take, size_max=settings.DATA_UPLOAD_MAX_MEMORY_SIZE):
            body += part
    return bytes(body)


async def spool(receive: Receive, take: Callable[[int], None], file: BinaryIO, *, size_max: int) -> None:
    """Write the request's body to `file`, a megabyte of it in memory; cut where it is too large.

    Raises:
        TimeoutError: it did not come in `UPLOAD_S_MAX`.
        TooManyBodies, Gone: as `body_of`.
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
    """What fits, and the part by which it is too large. The rest is read and dropped, within bounds: a browser shows
    an answer only once it has sent everything.
    """
    size, more = 0, True
    while more and size <= size_max + DROPPED_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        if size <= size_max:
            if size + len(part) > SMALL_BODY_BYTES:
                take(size + len(part))
            yield part
        size += len(part)
        more = message.get("more_body", False)
