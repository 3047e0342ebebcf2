"""More time for a run over HTTP: asked, bought, seen; nobody else's."""

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Run
from tests.compute.test_api import post
from tests.compute.test_streams import make_token
from tests.compute.world import make_organisation, make_world, register, started

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]


def test_more_time_is_asked_bought_and_seen(client: Client) -> None:
    now = timezone.now()
    world = make_world(now=now)
    register(world, now=now, extends=True)
    run, _ = started(world, now=now, wall="10m")
    headers, path = make_token(world), f"/runs/{run.public_id}"
    before = client.get(f"/api/v1{path}", headers=headers).json()
    assert (before["wall_limit_s"], before["extension_order_ids"]) == (600, [])
    assert post(client, f"{path}/quotes", headers, {"seconds": 0}).status_code == 422
    assert post(client, f"{path}/quotes", headers, {"seconds": 59}).json()["field"] == "seconds"
    stranger = make_token(world, organisation=make_organisation("other"))
    assert post(client, f"{path}/quotes", stranger, {"seconds": 300}).status_code == 404
    quote = post(client, f"{path}/quotes", headers, {"seconds": 300})
    assert quote.status_code == 201, quote.content
    assert quote.json()["starts_at"] == before["ends_at"] and quote.json()["wall_limit_s"] == 300
    order = post(client, "/orders", headers, {"quote_id": quote.json()["id"]}, **{"Idempotency-Key": "k"})
    assert (order.status_code, order.json()["run_id"]) == (201, run.public_id)
    after = client.get(f"/api/v1{path}", headers=headers).json()
    assert (after["wall_limit_s"], after["extension_order_ids"]) == (900, [order.json()["id"]])
    refused = post(client, f"/orders/{order.json()['id']}/cancel", headers, {})
    assert refused.status_code == 409 and "extension_kept" in refused.json()["type"]
    assert Run.objects.get(id=run.id).cancel_asked_at is None
    [listed] = client.get("/api/v1/runs", headers=headers).json()["items"]
    assert listed == after | {"cost_so_far": listed["cost_so_far"]}
