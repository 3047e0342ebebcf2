"""A bad line between a site agent and its hub: requests come late, twice, out of order, or not at all."""

import random
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import httpx

FAULTS: Final = ("request lost", "answer lost", "sent twice", "late")
_LATE_S_MAX: Final = 2.0
_KEPT: Final = ("authorization", "content-type", "accept", "x-request-id")


class BadLink:
    """Passes requests on to `upstream`; each meets a fault with the chance `bad`, by a seed."""

    def __init__(self, upstream: str, *, bad: float, seed: int) -> None:
        self._upstream, self.bad = upstream, bad
        self._choice, self._guard = random.Random(seed), threading.Lock()  # noqa: S311 - faults, not secrets
        self.faults: Counter[str] = Counter()
        self._http = httpx.Client(timeout=90, limits=httpx.Limits(max_keepalive_connections=0))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    def carry(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        """The hub's answer; None if the line lost the request or the answer."""
        with self._guard:
            fault = self._choice.choice(FAULTS) if self._choice.random() < self.bad else ""
            late_s = self._choice.uniform(0.1, _LATE_S_MAX)
        if fault:
            self.faults[fault] += 1
        if fault == "request lost":
            return None
        if fault == "late":
            time.sleep(late_s)  # others overtake it
        try:
            if fault == "sent twice":
                self._http.request(method, self._upstream + path, headers=headers, content=body)
            answer = self._http.request(method, self._upstream + path, headers=headers, content=body)
        except (httpx.HTTPError, RuntimeError):
            return None  # the hub is down, or this link is being taken away
        return None if fault == "answer lost" else answer


def _handler_of(link: BadLink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() in _KEPT}
            answer = link.carry(self.command, self.path, headers, body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response_only(answer.status_code)
            for name in ("content-type", "retry-after"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            with suppress(ConnectionError):  # an agent that was killed meanwhile
                self.end_headers()
                self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = _carry  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
