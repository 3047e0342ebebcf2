"""Apps in the browser: HTTP through a real relay to a real server behind an agent's tunnel."""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from mosu.compute.models import Connection
from mosu.compute.stream_doors import in_thread
from tests.compute.browsing import Relay, answers, asgi_at, browsing, joined_to

MIB = 1 << 20


@pytest.fixture
def relay(fresh_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    with browsing(settings, monkeypatch) as relay:
        yield relay


def named(seen: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in seen["headers"]}


def test_a_request_comes_to_the_app_and_its_answer_back(relay: Relay) -> None:
    browser = relay.entered()

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            answer = await browser.ask(
                "GET", "/a%20b/c?x=1&y=%2F", headers={"X-Own": "mine", "Accept": "*/*"}
            )
            seen = answer.json()
            assert seen["line"] == "GET /a%20b/c?x=1&y=%2F HTTP/1.1"
            told = named(seen)
            assert told["host"] == told["x-forwarded-host"] == browser.app.netloc
            assert (told["x-forwarded-proto"], told["x-own"]) == ("http", "mine")
            assert answer.headers["x-app"] == "yes" and answer.headers["date"] != "old"
            assert answer.headers["set-cookie"] == "a=1; Path=/"
            assert [row.port for row in await in_thread(lambda: list(Connection.objects.all()))] == [8888]

    asyncio.run(tried())


@pytest.mark.parametrize("size", [0, 1, 70_000, 5 * MIB])
def test_bodies_go_whole_by_length_and_in_chunks(relay: Relay, size: int) -> None:
    browser, body = relay.entered(), bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def chunks() -> Any:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    async def tried() -> None:
        async with joined_to(relay, asgi_at):
            for content in (body, chunks()):
                seen = (await browser.ask("POST", "/", content=content)).json()
                assert (seen["bytes"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())

    asyncio.run(tried())
