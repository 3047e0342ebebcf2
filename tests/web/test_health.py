"""What watches the hub asks: it lives, it can serve, and its figures are those of the database."""

import asyncio
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from starlette.applications import Starlette

from mosu.compute.models import Pool
from mosu.web import asgi, health, warming
from tests.compute.world import buy, make_world

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for httpx2, which nothing else here needs
    from starlette.testclient import TestClient


@pytest.fixture
def client(fresh_db: Any, settings: Any, tmp_path: Path) -> Iterator[TestClient]:
    settings.DATA_DIR = tmp_path
    with TestClient(Starlette(routes=health.routes)) as client:
        yield client


def test_the_hub_is_alive_and_counts(client: TestClient) -> None:
    world = make_world()
    buy(world)
    pool = Pool.objects.get(id=world.pool_id)
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").json() == {"ready": True}
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert re.search(r'^mosu_orders\{state="placed"\} 1\.0$', answer.text, re.MULTILINE)
    assert re.search(r'^mosu_attempts\{state="waiting"\} 1\.0$', answer.text, re.MULTILINE)
    assert f'mosu_pool_silence_seconds{{pool="{pool.public_id}"}}' in answer.text


def test_a_hub_that_cannot_serve_says_why(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ROOM_BYTES", 1 << 62)
    full = client.get("/readyz")
    assert (full.status_code, full.json()["why"]) == (503, "the disk is full")

    def away() -> None:
        raise OSError

    monkeypatch.setattr(health, "_ask_database", away)
    gone = client.get("/readyz")
    assert (gone.status_code, gone.json()["why"]) == (503, "the database does not answer")
    assert client.get("/healthz").status_code == 200


def test_a_process_is_warm_before_it_listens(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server opens its socket once the lifespan says that the start is complete."""
    done: list[object] = []
    monkeypatch.setattr(asgi, "warm_up", done.append)

    async def started() -> None:
        async with asgi._lifespan(asgi.application):
            assert done == [asgi.django_application]

    asyncio.run(started())


def test_warming_up_draws_what_a_stranger_opens_first(client: TestClient) -> None:
    drawn: list[tuple[str, int]] = []

    def noted(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, headers: Any, exc_info: Any = None) -> None:
            drawn.append((environ["PATH_INFO"], int(status[:3])))
            start_response(status, headers, exc_info)

        return asgi.django_application(environ, start)

    warming.warm_up(noted)
    assert drawn == [(reverse("home"), 200), (reverse("shelf"), 200)]


def test_a_process_that_could_not_read_the_offers_listens_all_the_same(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one failure would keep it from everything that needs no catalogue; the next visitor tries again."""
    monkeypatch.setattr(warming, "catalogue_at", lambda now: 1 // 0)
    warming.warm_up(asgi.django_application)
    assert "the catalogue was not read" in caplog.text
    assert client.get("/readyz").json() == {"ready": True}
