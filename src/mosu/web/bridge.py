"""A WSGI application under ASGI: one hop to a thread and back per request.

An answer that is whole comes back from the thread with its status. One that streams takes a thread for each part it
makes and none while that part is sent: a handful of slow readers would hold them all.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO, Final

from starlette.types import Message, Scope, Send

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_PLAIN_NAMES: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Threads:
    """`app` in a pool of threads."""

    def __init__(self, app: WsgiApp, *, count: int) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="django")

    async def __call__(self, scope: Scope, body: bytes | BinaryIO, send: Send) -> None:
        """Answer the request whose whole body is `body`, in memory or in a file."""
        start, parts = await self._in_thread(answered, self._app, environ_of(scope, body))
        if isinstance(parts, bytes):
            await send(start)
            await send({"type": "http.response.body", "body": parts})
            return
        try:
            await send(start)
            following = iter(parts)
            while (part := await self._in_thread(next, following, None)) is not None:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await asyncio.shield(self._in_thread(_close, parts))

    def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


def answered(app: WsgiApp, environ: dict[str, Any]) -> tuple[Message, bytes | Iterable[bytes]]:
    """How the answer starts, and all of it; or what makes its parts, where it streams."""
    start: Message = {}

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        start.update(
            type="http.response.start",
            status=int(status[:3]),
            headers=[(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers],
        )

    parts = app(environ, start_response)
    if getattr(parts, "streaming", False):
        return start, parts
    try:
        return start, b"".join(parts)
    finally:
        _close(parts)


def _close(parts: Iterable[bytes]) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()


def environ_of(scope: Scope, body: bytes | BinaryIO) -> dict[str, Any]:
    """The request as WSGI has it (PEP 3333): text is bytes read as latin-1.

    A body that came in chunks, without a length, has the length that it turned out to have. A header with an
    underscore is dropped: WSGI could not tell it from one with a hyphen.
    """
    given = BytesIO(body) if isinstance(body, bytes) else body
    length = given.seek(0, SEEK_END)
    given.seek(0)
    server, client = scope.get("server") or ("localhost", 80), scope.get("client") or ("", 0)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin1"),
        "QUERY_STRING": scope["query_string"].decode("latin1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": given,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if length:
        environ["CONTENT_LENGTH"] = str(length)
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = _PLAIN_NAMES.get(name) or "HTTP_" + name.decode("latin1").upper().replace("-", "_")
        text = value.decode("latin1")
        if key.startswith("HTTP_") and key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ
