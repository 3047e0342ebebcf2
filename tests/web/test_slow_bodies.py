"""Slow senders hold no thread of Django's."""

import asyncio
from typing import Any

import pytest


def test_a_body_that_does_not_come_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    entered: list[bytes] = []
    sent: list[Any] = []

    async def threads(scope: Any, body: bytes, send: Any) -> None:
        entered.append(body)

    async def send(message: Any) -> None:
        sent.append(message)

    async def never() -> Any:
        await asyncio.sleep(60)

    parts = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b", "more_body": False},
    ]

    async def whole() -> Any:
        return parts.pop(0)

    chunked = {"type": "http", "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}
    monkeypatch.setattr(asgi, "threads", threads)
    monkeypatch.setattr(asgi, "BODY_S_MAX", 0.05)
    asyncio.run(asgi.control_plane(chunked, never, send))
    assert (entered, sent[0]["status"]) == ([], 408)
    asyncio.run(asgi.control_plane(chunked, whole, send))
    assert entered == [b"ab"]
