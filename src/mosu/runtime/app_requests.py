"""uvicorn's protocol for what browsers ask of apps: a head is short and comes soon, what follows may take its time."""

import asyncio
from typing import ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mosu.compute.app_hosts import is_apps_host
from mosu.compute.relay.app_doors import ABORT
from mosu.runtime.relay_protocols import REQUEST_BYTES_MAX, REQUEST_S_MAX, BoundedRequest

HALF_OPEN_MAX: Final = 1_000
"""Connections that have not brought a whole head; of more the oldest go."""

UPLOAD_S_MAX: Final = 5.0
"""So long what is left of a body is taken once it was answered: who is still sending must hear the answer first."""


class NotAsked(Exception):
    """What only a program sends that means no good; answered with 400, and the connection ends."""


class AppRequest(BoundedRequest):
    """Requests to apps, and the relay's own few with their stricter bound."""

    _waiting: ClassVar[dict["AppRequest", None]] = {}
    """Whose head is awaited, the longest waiting first."""
    _late: asyncio.TimerHandle | None = None
    _is_app = False
    _has_head = False
    _has_whole = True
    _head_bytes = _own_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_one()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        self._own_bytes += len(data)
        HttpToolsProtocol.data_received(self, data)
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket now, which has bounds of its own
        if not self._is_app and self._own_bytes > REQUEST_BYTES_MAX:
            self.transport.abort()
        if self.transport.is_closing() or self._has_head:
            return
        if self._head_bytes > REQUEST_BYTES_MAX:
            self.transport.abort()
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_head = self._has_whole = False

    def on_headers_complete(self) -> None:
        hosts = [value.decode("latin-1") for name, value in self.headers if name == b"host"]
        self._is_app = any(is_apps_host(host) for host in hosts)
        if self._is_app:
            self._check_app()
            self._own_bytes = 0
            self.scope["headers"] = list(
                self.headers
            )  # what comes after the body does not become part of the head
            self.scope["extensions"] = {ABORT: {"now": self.transport.abort}}
        self._has_one()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._has_whole = True
        self._has_head, self._head_bytes = False, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._has_whole:
            self.loop.call_later(UPLOAD_S_MAX, self._end_upload, self.cycle)

    def _end_upload(self, answered: object) -> None:
        if self.cycle is answered and not self._has_whole:
            self.transport.abort()

    def _check_app(self) -> None:
        if self.parser.get_http_version() != "1.1":
            raise NotAsked("an HTTP of before 1999")
        if not self.url.startswith(b"/"):
            raise NotAsked("the target is no path")
        if self.cycle is not None and not self.cycle.response_complete:
            raise NotAsked("a request before the answer to the one before it")
        if sum(len(name) + len(value) for name, value in self.headers) > REQUEST_BYTES_MAX:
            raise NotAsked("a head that is too long")

    def _await_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_S_MAX, self.transport.abort)
            self._waiting[self] = None
            if len(self._waiting) > HALF_OPEN_MAX:
                longest = next(iter(self._waiting))
                del self._waiting[longest]
                longest.transport.abort()

    def _has_one(self) -> None:
        self._has_head = True
        self._waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_if_late(self) -> None:
        """The relay's own requests alone have to be over by then."""
        if not self._is_app:
            super()._end_if_late()
