"""Volumes over HTTP: offered, quoted, bought, listed, renewed, deleted; nobody else's."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.models import Volume
from mosu.market.models import Offer
from mosu.market.services import delist_offer
from mosu.platform.actors import SYSTEM
from tests.compute.snapshots import done, hear, wanted
from tests.compute.test_api import post
from tests.compute.test_streams import make_token
from tests.compute.volumes import GB_MONTH, keep_volumes, make_volume_world, stranger_to
from tests.compute.world import World, make_world, pool_of
from tests.conftest import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]


@pytest.fixture
def world() -> World:
    world = make_volume_world()
    keep_volumes(world, now=timezone.now())
    return world


def bought(client: Client, headers: dict[str, Any], **asked: Any) -> dict[str, Any]:
    body = {"name": "data", "gb": 10, "days": 30, **asked}
    quote = post(client, "/volumes/quotes", headers, body)
    assert quote.status_code == 201, quote.content
    assert quote.json()["total_max"] == "3.00"
    order = post(client, "/orders", headers, {"quote_id": quote.json()["id"]}, **{"Idempotency-Key": "k"})
    assert order.status_code == 201, order.content
    [found] = client.get(f"/api/v1/volumes?order_id={order.json()['id']}", headers=headers).json()["items"]
    return dict(found)


def test_a_supplier_offers_it_as_anything_else(client: Client) -> None:
    world = make_world()
    keep_volumes(world, now=timezone.now())
    pool = pool_of(world)
    headers = make_token(world)
    assert client.get("/api/v1/offers?shelf=storage", headers=headers).json()["items"] == []
    assert pool.volumes_gb == 100


def test_a_volume_is_bought_listed_renewed_and_deleted(client: Client, world: World) -> None:
    headers = make_token(world)
    found = bought(client, headers, pool="local")
    assert (found["name"], found["gb"], found["state"], found["pool"]) == ("data", 10, "kept", "local")
    assert (found["held"], found["used_by"], found["renews_days"]) == ("3.00", [], 0)
    path = f"/api/v1/volumes/{found['id']}"
    assert client.get(path, headers=headers).json() == found
    changed = client.patch(path, {"renews_days": 30}, content_type="application/json", headers=headers)
    assert changed.json()["renews_days"] == 30
    more = post(client, f"/volumes/{found['id']}/quotes", headers, {"days": 10})
    assert (more.status_code, more.json()["total_max"]) == (201, "1.00")
    assert more.json()["starts_at"][:16] == found["kept_until"][:16]
    gone = client.delete(path, headers=headers).json()
    assert (gone["state"], gone["held"]) == ("deleting", "0.00")
    [listed] = client.get("/api/v1/volumes", headers=headers).json()["items"]
    assert listed["state"] == "deleting"
    assert post(client, f"/volumes/{found['id']}/quotes", headers, {"days": 10}).status_code == 409


def test_a_stranger_finds_none(client: Client, world: World) -> None:
    found = bought(client, make_token(world))
    theirs = make_token(stranger_to(world))
    path = f"/api/v1/volumes/{found['id']}"
    assert client.get("/api/v1/volumes", headers=theirs).json()["items"] == []
    for answer in (
        client.get(path, headers=theirs),
        client.delete(path, headers=theirs),
        client.patch(path, {"renews_days": 1}, content_type="application/json", headers=theirs),
        post(client, f"/volumes/{found['id']}/quotes", theirs, {"days": 1}),
    ):
        assert answer.status_code == 404, answer.content
    assert Volume.objects.get().state == "kept"


def test_the_order_is_not_cancelled_and_says_how_it_ends(client: Client, world: World) -> None:
    headers = make_token(world)
    found = bought(client, headers)
    refused = post(client, f"/orders/{found['order_ids'][0]}/cancel", headers, {})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:mosu:volume_kept")


@pytest.mark.parametrize(
    "body", [{"name": "a", "gb": 0}, {"name": "a", "gb": 1, "days": 0}, {"gb": 1}, {"name": "A", "gb": 1}]
)
def test_what_makes_no_sense_is_refused(client: Client, world: World, body: dict[str, Any]) -> None:
    assert post(client, "/volumes/quotes", make_token(world), body).status_code == 422


def test_the_shelf_lists_what_there_is(client: Client, world: World) -> None:
    [found] = client.get("/api/v1/offers?shelf=storage", headers=make_token(world)).json()["items"]
    assert found["prices"][0]["unit_price"] == "0.30"
    assert (found["stock"]["free"], found["stock"]["total"]) == (100, 100)
    assert Offer.objects.get(shelf="storage").prices.get().unit_price_micros == GB_MONTH


def test_the_hubs_own_pool_offers_room_once() -> None:
    world = make_world()
    for _ in range(2):
        services.ensure_local_volumes(pool_id=world.pool_id, now=NOW)
    offer = Offer.objects.get(shelf="storage")
    assert (offer.subject_id, offer.prices.get().unit_price_micros) == (world.pool_id, 150_000)
    delist_offer(actor=SYSTEM, offer_id=offer.id, why="we sell none", now=NOW)
    services.ensure_local_volumes(pool_id=world.pool_id, now=NOW)
    assert [one.state for one in Offer.objects.filter(shelf="storage")] == ["delisted"]


def test_a_snapshot_is_bought_and_restored(client: Client, world: World) -> None:
    headers, now = make_token(world), timezone.now()
    volume = bought(client, headers)
    assert volume["snapshot_of"] is None and volume["last_copy"] is None
    path = f"/volumes/{volume['id']}/snapshots/quotes"
    assert post(client, path, headers, {"label": "a@b"}).status_code == 422
    asked = post(client, path, headers, {"label": "clean", "days": 30})
    assert (asked.status_code, asked.json()["total_max"]) == (201, "3.00")
    order = post(client, "/orders", headers, {"quote_id": asked.json()["id"]}, **{"Idempotency-Key": "s"})
    assert order.status_code == 201
    listed = f"/api/v1/volumes?snapshot_of={volume['id']}"
    [made] = client.get(listed, headers=headers).json()["items"]
    assert (made["name"], made["state"], made["last_copy"]["state"]) == ("data@clean", "making", "copying")
    hear(world, done(wanted(world, now=now)), now=now)
    made = client.get(f"/api/v1/volumes/{made['id']}", headers=headers).json()
    assert (made["state"], made["gb"], made["last_copy"]["took_s"]) == ("kept", 2, 2.5)
    back, body = f"/volumes/{volume['id']}/restore", {"snapshot_id": made["id"]}
    theirs = make_token(stranger_to(world))
    assert post(client, path, theirs, {"label": "mine"}).status_code == 404
    assert post(client, back, theirs, body).status_code == 404
    assert post(client, back, headers, {"snapshot_id": volume["id"]}).status_code == 422
    restored = post(client, back, headers, body)
    assert (restored.status_code, restored.json()["last_copy"]["restores"]) == (200, True), restored.content
    again = post(client, back, headers, body)
    assert (again.status_code, again.json()["type"]) == (409, "urn:mosu:volume_in_use")


def test_a_quota_of_volumes_is_set_listed_and_lifted(client: Client, world: World) -> None:
    headers = make_token(world, role="owner", scopes=("read", "buy", "manage"))
    volume = bought(client, headers)
    body = {
        "organisation_id": volume["organisation_id"],
        "project_id": volume["project_id"],
        "volumes": True,
        "units_max": 12,
    }
    assert _put(client, headers, body).status_code == 204
    [found] = client.get("/api/v1/quotas", headers=headers).json()["items"]
    assert (found["volumes"], found["units_max"], found["kept_gb"]) == (True, 12, 10)
    refused = post(client, "/volumes/quotes", headers, {"name": "b", "gb": 3})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:mosu:quota_reached")
    assert _put(client, headers, body | {"units_max": None}).status_code == 204
    assert post(client, "/volumes/quotes", headers, {"name": "b", "gb": 3}).status_code == 201
    theirs = make_token(stranger_to(world), role="owner", scopes=("read", "buy", "manage"))
    assert _put(client, theirs, body).status_code in (403, 404)


def _put(client: Client, headers: dict[str, Any], body: dict[str, Any]) -> Any:
    return client.put("/api/v1/quotas", body, content_type="application/json", headers=headers)
