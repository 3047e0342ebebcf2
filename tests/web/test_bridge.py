"""Django under the one port: what goes in, what comes out, and from which thread."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

from mosu.web.bridge import Threads, environ_of

SCOPE: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "path": "/orders/é",
    "query_string": b"a=%20",
    "headers": [
        (b"host", b"hub.example"),
        (b"content-type", b"text/plain"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-several", b"1"),
        (b"x-several", b"2"),
        (b"remote_addr", b"6.6.6.6"),
        (b"x_forwarded_for", b"6.6.6.6"),
    ],
    "server": ("127.0.0.1", 8000),
    "client": ("10.0.0.1", 5),
}


def asked(app: Any, body: bytes = b"") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Threads(app, count=1)(SCOPE, body, send))
    return sent


def test_the_request_is_as_wsgi_has_it() -> None:
    environ = environ_of(SCOPE, b"body")
    assert environ["PATH_INFO"].encode("latin1").decode() == "/orders/é"
    assert (environ["REQUEST_METHOD"], environ["QUERY_STRING"]) == ("POST", "a=%20")
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "4")
    assert (environ["HTTP_COOKIE"], environ["HTTP_X_SEVERAL"]) == ("a=1; b=2", "1,2")
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("10.0.0.1", "127.0.0.1")
    assert environ["wsgi.input"].read() == b"body"


def test_a_header_with_an_underscore_is_not_taken_for_another() -> None:
    environ = environ_of(SCOPE, b"")
    assert "6.6.6.6" not in environ.values()
    assert "HTTP_X_FORWARDED_FOR" not in environ


def test_a_length_that_was_announced_stays() -> None:
    scope = {**SCOPE, "headers": [(b"content-length", b"9")]}
    assert environ_of(scope, b"cut")["CONTENT_LENGTH"] == "9"


class Parts:
    """An answer that notes where it was made and that it was closed."""

    def __init__(self, *, streaming: bool) -> None:
        self.streaming, self.closed, self.threads = streaming, False, set[str]()

    def __iter__(self) -> Iterator[bytes]:
        for part in (b"one ", b"two"):
            self.threads.add(threading.current_thread().name)
            yield part

    def close(self) -> None:
        self.closed = True
        self.threads.add(threading.current_thread().name)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> "Parts":
        start_response("201 Created", [("X-Made", "by hand")])
        return self


def test_a_whole_answer_is_sent_at_once_and_one_that_streams_in_its_parts() -> None:
    start = {"type": "http.response.start", "status": 201, "headers": [(b"x-made", b"by hand")]}
    whole, streamed = Parts(streaming=False), Parts(streaming=True)
    assert asked(whole) == [start, {"type": "http.response.body", "body": b"one two"}]
    assert asked(streamed) == [
        start,
        {"type": "http.response.body", "body": b"one ", "more_body": True},
        {"type": "http.response.body", "body": b"two", "more_body": True},
        {"type": "http.response.body", "body": b""},
    ]
    for parts in (whole, streamed):
        assert parts.closed
        assert [name[:6] for name in parts.threads] == ["django"]


def test_who_reads_slowly_holds_no_thread() -> None:
    """Eight readers of a document who stop reading would else hold all of Django."""
    threads = Threads(Parts(streaming=True), count=1)
    sent: list[bytes] = []
    reading = asyncio.Semaphore(0)

    async def slow(message: Any) -> None:
        if message.get("more_body"):
            reading.release()
            await asyncio.Event().wait()

    async def quick(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def both() -> None:
        readers = [asyncio.create_task(threads(SCOPE, b"", slow)) for _ in range(3)]
        for _ in readers:
            await asyncio.wait_for(reading.acquire(), 60)
        await asyncio.wait_for(threads(SCOPE, b"", quick), 60)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(both())
    assert b"".join(sent) == b"one two"
