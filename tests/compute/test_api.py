"""The compute shelf over HTTP, as the CLI and scripts use it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import MeterSample, Run
from tests.compute.test_streams import make_token
from tests.compute.world import World, make_organisation, make_world, started, task_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]


@pytest.fixture
def world() -> World:
    return make_world(now=timezone.now())


def post(client: Client, path: str, headers: dict[str, str], body: dict[str, Any], **more: str) -> Any:
    return client.post(
        f"/api/v1{path}", data=body, content_type="application/json", headers={**headers, **more}
    )


def test_quote_order_run_cancel(client: Client, world: World) -> None:
    headers = make_token(world)
    asked = post(client, "/quotes", headers, {"task": task_of(cores=2, wall="1h"), "vouchers": "none"})
    assert asked.status_code == 201, asked.content
    first = asked.json()["quotes"][0]
    assert (first["total_max"], first["currency"]) == ("0.30", "CNY")
    order = post(client, "/orders", headers, {"quote_id": first["id"]}, **{"Idempotency-Key": "k"}).json()
    run = client.get(f"/api/v1/runs/{order['run_id']}", headers=headers).json()
    assert (run["state"], run["cores"], run["order_id"]) == ("queued", 2, order["id"])
    assert run["why_waiting"] == "the supplier's agent takes it next"
    assert run["attempts"][0]["node"] == "n1"
    cancelled = post(client, f"/runs/{run['id']}/cancel", headers, {}).json()
    assert (cancelled["state"], cancelled["cost_so_far"]) == ("cancelled", "0.00")
    assert [one["id"] for one in client.get("/api/v1/runs", headers=headers).json()["items"]] == [run["id"]]


def test_what_a_run_waits_for_and_why_an_offer_was_refused_are_said_as_asked(
    client: Client, world: World
) -> None:
    headers = make_token(world)
    zh = {"Accept-Language": "zh-CN"}
    quoted = post(client, "/quotes", headers, {"task": task_of()}).json()["quotes"][0]
    order = post(client, "/orders", headers, {"quote_id": quoted["id"]}, **{"Idempotency-Key": "k"}).json()
    path = f"/api/v1/runs/{order['run_id']}"
    assert client.get(path, headers={**headers, **zh}).json()["why_waiting"] == "接入代理即将领取"
    assert client.get(path, headers=headers).json()["why_waiting"] == "the supplier's agent takes it next"
    large = {"task": task_of(cores=64)}
    refused = post(client, "/quotes", headers, large).json()["refused"][0]["reasons"]
    said = post(client, "/quotes", headers, large, **zh).json()["refused"][0]["reasons"]
    assert [one["code"] for one in said] == [one["code"] for one in refused]
    for one, english in zip(said, refused, strict=True):
        assert one["message"] != english["message"] and not one["message"].isascii()


def test_a_bad_task_names_its_line(client: Client, world: World) -> None:
    answer = post(client, "/quotes", make_token(world), {"task": "run: x\nresources: {cpu: 1}\n"})
    assert answer.status_code == 422
    assert (answer.json()["type"], answer.json()["line"], answer.json()["nearest"]) == (
        "urn:mosu:task_refused",
        2,
        "cpus",
    )
    assert Run.objects.count() == 0


def test_strangers_get_404(client: Client, world: World) -> None:
    headers = make_token(world)
    quoted = post(client, "/quotes", headers, {"task": task_of()}).json()["quotes"][0]
    order = post(client, "/orders", headers, {"quote_id": quoted["id"]}, **{"Idempotency-Key": "k"}).json()
    stranger = make_token(world, organisation=make_organisation("stranger"))
    assert client.get(f"/api/v1/runs/{order['run_id']}", headers=stranger).status_code == 404
    assert post(client, f"/runs/{order['run_id']}/cancel", stranger, {}).status_code == 404
    assert client.get("/api/v1/runs", headers=stranger).json()["items"] == []
    assert Run.objects.get().state == "queued"


def test_the_shelf_shows_stock_and_liveness(client: Client, world: World) -> None:
    offer = client.get("/api/v1/offers?shelf=compute").json()["items"][0]
    assert offer["live"] is True
    assert offer["stock"] == {"free": 4, "reserved": 0, "taken": 0, "total": 4}
    headers = make_token(world)
    quoted = post(client, "/quotes", headers, {"task": task_of(cores=3)}).json()["quotes"][0]
    post(client, "/orders", headers, {"quote_id": quoted["id"]}, **{"Idempotency-Key": "k"})
    offer = client.get("/api/v1/offers?shelf=compute").json()["items"][0]
    assert offer["stock"] == {"free": 1, "reserved": 3, "taken": 0, "total": 4}


def test_accelerators_tell_source_and_confidence(client: Client) -> None:
    found = {one["id"]: one for one in client.get("/api/v1/accelerators").json()}
    assert found["nvidia-h100-sxm"]["memory_gb"]["confidence"] == "vendor"
    assert found["kunlunxin-p800"]["memory_gb"] is None
    assert found["thead-ppu"]["compute"][0]["confidence"] == "contract"


def test_the_curve_of_a_run_is_its_buyers(client: Client, world: World) -> None:
    now = timezone.now()
    run, attempt = started(world, now=now, cores=2)
    headers = make_token(world)
    path = f"/api/v1/runs/{run.public_id}/samples"
    assert client.get(path, headers=headers).json()["points"] == []
    assert attempt.started_at is not None
    for second, cpu_s in ((2, 1.0), (4, 4.0)):
        MeterSample.objects.create(
            attempt=attempt, at=attempt.started_at + timedelta(seconds=second), cpu_s=cpu_s, memory_bytes=7
        )
    answer = client.get(path, headers=headers).json()
    assert [(point["seconds"], point["cores"]) for point in answer["points"]] == [(2.0, 0.5), (4.0, 1.5)]
    assert (answer["cores_max"], answer["memory_bytes_max"]) == (2, 2 << 30)
    stranger = make_token(world, organisation=make_organisation("stranger"))
    assert client.get(path, headers=stranger).status_code == 404
