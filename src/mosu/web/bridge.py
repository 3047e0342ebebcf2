"""A WSGI application under ASGI: one hop to a thread and back per request.

An answer that is whole comes back from the thread with its status; one that streams is sent from the thread that
makes it, which waits for each part to be taken.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Final

from starlette.types import Message, Scope, Send

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_PLAIN_NAMES: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Threads:
    """`app` in a pool of threads."""

    def __init__(self, app: WsgiApp, *, count: int) -> None:
        self._app = app
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="django")

    async def __call__(self, scope: Scope, body: bytes, send: Send) -> None:
        """Answer the request whose whole body is `body`."""
        loop = asyncio.get_running_loop()

        async def sent(message: Message) -> None:
            await send(message)

        def send_from_thread(message: Message) -> None:
            asyncio.run_coroutine_threadsafe(sent(message), loop).result()

        whole = await loop.run_in_executor(
            self._pool, self._answered, environ_of(scope, body), send_from_thread
        )
        for message in whole:
            await send(message)

    def _answered(
        self, environ: dict[str, Any], send_from_thread: Callable[[Message], None]
    ) -> tuple[Message, ...]:
        """What is still to be sent: all of an answer that is whole, the end of one that streamed."""
        start: Message = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            start.update(
                type="http.response.start",
                status=int(status[:3]),
                headers=[(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers],
            )

        parts = self._app(environ, start_response)
        try:
            if not getattr(parts, "streaming", False):
                return start, {"type": "http.response.body", "body": b"".join(parts)}
            send_from_thread(start)
            for part in parts:
                send_from_thread({"type": "http.response.body", "body": part, "more_body": True})
            return ({"type": "http.response.body", "body": b""},)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()


def environ_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """The request as WSGI has it (PEP 3333): text is bytes read as latin-1.

    A body that came in chunks, without a length, has the length that it turned out to have. A header with an
    underscore is dropped: WSGI could not tell it from one with a hyphen.
    """
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
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = _PLAIN_NAMES.get(name) or "HTTP_" + name.decode("latin1").upper().replace("-", "_")
        text = value.decode("latin1")
        if key.startswith("HTTP_") and key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ
