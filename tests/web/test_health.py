"""What watches the hub asks: it lives, it can serve, and its figures are those of the database."""

import asyncio
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from starlette.applications import Starlette

from mosu.compute.models import Pool
from mosu.market.models import Receipt
from mosu.platform.actors import HubRole
from mosu.web import asgi, health, warming
from mosu.web.figures import FRESH_S, SERIES, Answer
from tests.compute.world import beat, buy, make_organisation, make_world, report, started, use
from tests.ledger.test_api import Caller

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for httpx2, which nothing else here needs
    from starlette.testclient import TestClient


@pytest.fixture
def client(
    fresh_db: Any, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(health, "_answer", Answer())
    with TestClient(
        Starlette(routes=health.routes), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000)
    ) as client:
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
    assert f'mosu_runs{{pool="{pool.public_id}",state="queued"}} 1.0' in answer.text
    assert f'mosu_queue_length{{pool="{pool.public_id}"}} 1.0' in answer.text
    assert f'mosu_queue_oldest_seconds{{pool="{pool.public_id}"}}' in answer.text
    assert re.search(r'^mosu_money\{account="balance",currency="CNY"\} [1-9]', answer.text, re.MULTILINE)


def test_use_and_money_are_those_of_the_receipts(client: TestClient) -> None:
    now = timezone.now()
    world = make_world(now=now)
    run, attempt = started(world, now=now, wall="2h")
    later = now + timedelta(hours=1)
    beat(world, attempt, "running", now=later)
    use(world, attempt, 3600, since=now, now=later)
    report(world, attempt, now=later)
    content = Receipt.objects.get(order_id=run.order_id).content
    text = client.get("/metrics").text
    assert figure(text, 'mosu_charged_use_today{meter="core_second"}') == sum(
        line["metered"] for line in content["lines"]
    )
    paid = figure(text, 'mosu_charged_today{currency="CNY",payer="buyer"}')
    vouchers = figure(text, 'mosu_charged_today{currency="CNY",payer="voucher"}')
    assert (paid, vouchers) == (float(content["paid"]), float(content["voucher_share"]))
    assert paid == figure(text, 'mosu_money{account="payable",currency="CNY"}') == 0.15


def figure(text: str, name: str) -> float:
    (found,) = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(found.removeprefix(name))


def test_no_series_names_who_buys(client: TestClient) -> None:
    world = make_world()
    buy(world)
    text = client.get("/metrics").text
    assert (
        world.buyer.public_id not in text and str(world.buyer.id) not in text and world.buyer.name not in text
    )


def test_figures_are_for_this_machine_and_the_hubs_people(client: TestClient) -> None:
    """Passed on by a proxy, or from elsewhere, they need a token of the hub's people."""
    far = TestClient(client.app, base_url="http://127.0.0.1", client=("192.0.2.7", 50_000))
    named, passed_on = {"Host": "localhost.example"}, {"X-Forwarded-For": "192.0.2.7"}
    assert client.get("/metrics", headers=named).status_code in {400, 401}
    assert client.get("/metrics").status_code == 200
    assert [far.get("/metrics").status_code, client.get("/metrics", headers=passed_on).status_code] == [
        401,
        401,
    ]
    auditor = Caller("auditor", hub_role=HubRole.AUDITOR)
    owner = Caller("owner", organisation=make_organisation("Buyer"))
    assert far.get("/metrics", headers=auditor.headers).status_code == 200
    for caller in (far, client):
        refused = caller.get("/metrics", headers=owner.headers)
        assert refused.status_code == 403 and "mosu_orders" not in refused.text


def test_who_asks_often_is_no_load(fresh_db: Any) -> None:
    now = 0.0
    answer = Answer(clock=lambda: now)
    with CaptureQueriesContext(connection) as captured:
        first = answer.text()
        assert len(captured) == len(SERIES)
        assert answer.text() is first
        assert len(captured) == len(SERIES)
        now = FRESH_S
        answer.text()
        assert len(captured) == 2 * len(SERIES)


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
