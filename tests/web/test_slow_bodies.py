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
        await asyncio.Event().wait()

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
    monkeypatch.setattr(asgi, "BODY_S_MAX", 60)
    asyncio.run(asgi.control_plane(chunked, whole, send))
    assert entered == [b"ab"]


def test_many_large_bodies_at_once_are_refused_and_small_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mosu.web import asgi  # noqa: PLC0415 - sets Django up

    entered: list[int] = []
    statuses: list[int] = []
    room = asgi.Room(250_000)
    monkeypatch.setattr(asgi, "_bodies", room)

    async def threads(scope: Any, body: bytes, send: Any) -> None:
        entered.append(len(body))
        while len(entered) + len(statuses) < 5:  # it is held until all have come
            await asyncio.sleep(0)

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    async def asked(size: int) -> None:
        parts = [{"body": b"a" * size, "more_body": True}, {"body": b"", "more_body": False}]
        scope = {"type": "http", "http_version": "1.1", "headers": [(b"transfer-encoding", b"chunked")]}

        async def receive() -> Any:
            return {"type": "http.request", **parts.pop(0)}

        await asgi.control_plane(scope, receive, send)

    async def together() -> None:
        await asyncio.gather(*[asked(100_000) for _ in range(4)], asked(1_000))

    monkeypatch.setattr(asgi, "threads", threads)
    asyncio.run(together())
    assert (sorted(entered), statuses) == ([1_000, 100_000, 100_000], [503, 503])
    assert room.used == 0
