"""Pages of endpoints: the list with its health, one of them, keys shown once, terms, the end, the log."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from mosu.compute import services
from mosu.compute.models import Endpoint, EndpointKey, EndpointMinute, EndpointRequest, Replica
from mosu.kernel.ids import uuid7
from mosu.platform.actors import Role
from mosu.platform.queries import actor_for_user
from mosu.wire.task import parse_task
from tests.compute.endpoints import SERVICE
from tests.compute.world import make_organisation, register
from tests.web.conftest import Hub, page, queries

LIST_QUERIES_MAX = 12


@pytest.fixture(autouse=True)
def addresses(settings: Any) -> None:
    settings.MOSU_APPS_HOST = "apps.hub.example"
    settings.MOSU_RELAY_URL = "https://hub.example"


def made(hub: Hub, name: str = "chat", terms: str = "") -> Endpoint:
    register(hub.world, cores=64, now=hub.now, reaches=True)
    endpoint = services.make_endpoint(
        actor=actor_for_user(hub.user(role=Role.DEVELOPER)),
        organisation_id=hub.world.buyer.id,
        project_id=hub.world.project.id,
        name=name,
        task=parse_task(SERVICE % terms),
        workdir=(),
        idempotency_key=uuid7().hex,
        now=hub.now,
    )
    services.keep_endpoint(endpoint_id=endpoint.id, now=hub.now)
    return endpoint


def asked(hub: Hub, endpoint: Endpoint) -> None:
    EndpointMinute.objects.create(
        endpoint=endpoint,
        minute=(hub.now - timedelta(minutes=2)).replace(second=0, microsecond=0),
        requests=41,
        refused=0,
        failed=3,
        in_flight_max=2,
        latencies=[0, 0, 38] + [0] * 10,
    )
    EndpointRequest.objects.create(
        endpoint=endpoint,
        at=hub.now,
        method="POST",
        path="/v1/chat/completions",
        status=200,
        waited_ms=0,
        took_ms=21,
        bytes_in=10,
        bytes_out=20,
    )


def test_an_empty_list_says_how_one_is_made(hub: Hub, owner: Client) -> None:
    assert "mosu serve task.yaml" in page(owner.get("/endpoints/"))
    zh = page(hub.client(hub.user(role=Role.VIEWER), language="zh-hans").get("/endpoints/"))
    assert "还没有服务端点" in zh


def test_the_list_shows_health_and_the_last_hour(hub: Hub, owner: Client) -> None:
    endpoint = made(hub)
    asked(hub, endpoint)
    text = page(owner.get("/endpoints/"))
    for what in (endpoint.label, "0/1", "41", "≤ 25 ms"):
        assert what in text
    csv = owner.get("/endpoints/?format=csv")
    assert "chat" in csv.content.decode()


def test_a_list_asks_as_often_however_many_there_are(hub: Hub, owner: Client) -> None:
    made(hub)
    few = queries(owner, "/endpoints/")
    for number in range(4):
        made(hub, f"chat-{number}")
    assert queries(owner, "/endpoints/") == few <= LIST_QUERIES_MAX


def test_its_page_shows_address_examples_replicas_curves_and_its_log(hub: Hub, owner: Client) -> None:
    endpoint = made(hub)
    asked(hub, endpoint)
    path = f"/endpoints/{endpoint.public_id}/"
    text = page(owner.get(path))
    url = f"https://{endpoint.label}.apps.hub.example"
    for what in (url, f"base_url=&quot;{url}/v1&quot;", "Requests in a minute", "0 of 1 replicas well"):
        assert what in text
    assert Replica.objects.get().run.public_id in text
    log = page(owner.get(f"{path}requests/"))
    assert "/v1/chat/completions" in log
    zh = page(hub.client(hub.user(role=Role.VIEWER), language="zh-hans").get(path))
    assert "副本" in zh and "新建密钥" not in zh


def test_a_key_is_shown_once_and_revoked(hub: Hub, owner: Client) -> None:
    endpoint = made(hub)
    path = f"/endpoints/{endpoint.public_id}/"
    assert owner.post(f"{path}keys/", {"name": ""}).status_code == 422
    shown = page(owner.post(f"{path}keys/", {"name": "app"}))
    assert "sk-mosu-" in shown
    again = page(owner.get(path))
    assert "sk-mosu-" not in again and "YOUR_KEY" in again
    key = EndpointKey.objects.get()
    assert owner.post(f"{path}keys/", {"revoke": key.public_id}).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_terms_are_changed_and_wrong_ones_are_said(hub: Hub, owner: Client) -> None:
    endpoint = made(hub)
    path = f"/endpoints/{endpoint.public_id}/terms/"
    terms = {"auth": "public", "least": 0, "most": 3, "requests": 4, "idle_s": 60}
    assert owner.post(path, terms | {"least": 4}).status_code == 422
    assert owner.post(path, terms | {"most": 21}).status_code == 422
    assert owner.post(path, terms).status_code == 302
    endpoint.refresh_from_db()
    assert (endpoint.auth, endpoint.replicas_min, endpoint.replicas_max) == ("public", 0, 3)


def test_ended_it_says_so_and_offers_nothing(hub: Hub, owner: Client) -> None:
    endpoint = made(hub)
    path = f"/endpoints/{endpoint.public_id}/"
    assert owner.post(f"{path}end/").status_code == 302
    text = page(owner.get(path))
    assert "Ended" in text and "terms/" not in text and "Yes, end it" not in text


def test_another_house_finds_none(hub: Hub) -> None:
    endpoint = made(hub)
    stranger = hub.client(hub.user(role=Role.OWNER, at=make_organisation("other")))
    for below in ("", "requests/"):
        assert stranger.get(f"/endpoints/{endpoint.public_id}/{below}").status_code == 404
    for below in ("keys/", "end/"):
        assert stranger.post(f"/endpoints/{endpoint.public_id}/{below}", {"name": "k"}).status_code == 404
    endpoint.refresh_from_db()
    assert endpoint.state == "open" and not EndpointKey.objects.exists()


def test_the_hubs_reason_is_said_in_the_readers_language(hub: Hub) -> None:
    endpoint = made(hub)
    Endpoint.objects.filter(id=endpoint.id).update(reason="No offer is on the shelf for it now.")
    viewer = hub.client(hub.user(role=Role.VIEWER), language="zh-hans")
    assert "目前没有适合它的商品" in page(viewer.get(f"/endpoints/{endpoint.public_id}/"))
