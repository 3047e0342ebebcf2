"""Pools and nodes in the browser: the supplier's own, anyone's for the hub's operator, nobody else's."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Blackout, Node, Pool
from mosu.compute.services import create_pool
from mosu.compute.supply import drift_of_node
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import AuditRecord, Organisation
from mosu.wire.agent import NodeInfo
from tests.compute import world as compute
from tests.compute.volumes import buy_volume, keep_volumes, offer_volumes, task_with
from tests.web.conftest import Hub, page, queries

BOTH = ("en", "zh-hans")


def pool_of(hub: Hub) -> Pool:
    return compute.pool_of(hub.world)


@pytest.fixture
def seller(hub: Hub) -> Client:
    """The owner of the supplier whose pool it is."""
    return hub.client(hub.user(role=Role.OWNER, at=pool_of(hub).organisation))


def local(moment: Any) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%dT%H:%M")


def paths_of(hub: Hub) -> list[str]:
    pool, node = pool_of(hub).public_id, Node.objects.get().public_id
    return [f"/pools/{pool}/{part}" for part in ("", "nodes/", "work/", "blackouts/")] + [f"/nodes/{node}/"]


def test_who_sees_a_pool(hub: Hub, seller: Client) -> None:
    hub.run()
    stranger = hub.client(
        hub.user(role=Role.OWNER, at=compute.make_organisation("x", capabilities=["supplier"]))
    )
    for language in BOTH:
        said = {"Accept-Language": language}
        for path in paths_of(hub):
            assert seller.get(path, headers=said).status_code == 200, path
            for role in HubRole:
                assert hub.client(hub.user(hub=role)).get(path, headers=said).status_code == 200
            assert stranger.get(path, headers=said).status_code == 404
            assert hub.client(hub.user(role=Role.OWNER)).get(path, headers=said).status_code == 404
            assert hub.client().get(path, headers=said).status_code == 302
        assert pool_of(hub).name in page(seller.get("/pools/", headers=said))
        assert pool_of(hub).public_id not in page(stranger.get("/pools/", headers=said))


def test_its_page_says_how_much_room_for_volumes_is_sold(hub: Hub, seller: Client) -> None:
    path = paths_of(hub)[0]
    assert "GB for volumes" not in page(seller.get(path))
    compute.deposit(hub.world.buyer.id, 1_000_000_000)
    keep_volumes(hub.world, room_gb=50, now=hub.now)
    offer_volumes(hub.world)
    buy_volume(hub.world, gb=20, now=hub.now)
    text = page(seller.get(path))
    assert "GB for volumes" in text and "30 of 50 free" in text and "GB-month" in text
    assert "1 volume is kept here; runs use 0 now." in text
    compute.buy(hub.world, task_with("/data: data"), now=hub.now)
    assert "1 volume is kept here; runs use 1 now." in page(seller.get(path))
    keep_volumes(hub.world, room_gb=10, now=hub.now)  # fewer than are sold take nothing from anybody
    assert "all 20 taken" in page(seller.get(path))


def test_no_buyers_name_or_run_is_told_to_the_supplier(hub: Hub, seller: Client) -> None:
    run = hub.run()
    order = hub.order_of(run)
    for path in paths_of(hub)[2:]:
        text = page(seller.get(path, {"columns": "order,buyer,state"}))
        assert hub.world.buyer.name not in text
        assert f"/orders/{order.public_id}/" not in text
    assert order.number in page(seller.get(paths_of(hub)[2]))
    auditor = hub.client(hub.user(hub=HubRole.AUDITOR))
    text = page(auditor.get(paths_of(hub)[2], {"columns": "order,buyer"}))
    assert hub.world.buyer.name in text
    assert f"/orders/{order.public_id}/" in text


def test_lists_ask_as_often_for_many_as_for_one(hub: Hub, seller: Client) -> None:
    supplier = pool_of(hub).organisation
    hub.run()

    before = [queries(seller, path) for path in ("/pools/", *paths_of(hub))]
    for number in range(5):
        create_pool(actor=SYSTEM, organisation_id=supplier.id, name=f"p{number}", region="r", now=hub.now)
        hub.run()
    after = [queries(seller, path) for path in ("/pools/", *paths_of(hub))]
    assert after == before
    assert max(after) <= 13


def test_a_new_pool_shows_its_token_once_with_the_settings(hub: Hub) -> None:
    supplier = compute.make_organisation("cards", capabilities=["supplier"])
    client = hub.client(hub.user(role=Role.ADMIN, at=supplier))
    assert "mosu agent init" in page(client.get("/pools/"))
    given = {"supplier": supplier.public_id, "name": "hall-2", "region": "shanghai"}
    answer = client.post("/pools/new/", given)
    made = Pool.objects.get(organisation=supplier)
    text = page(answer)
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert "mosu_pool_" in text and "mosu agent init --hub" in text and "mosu agent unit" in text
    assert "mosu_pool_" not in page(client.get(f"/pools/{made.public_id}/"))
    again = client.post("/pools/new/", given)
    assert again.status_code == 422
    assert 'value="shanghai"' in page(again)
    assert Pool.objects.filter(organisation=supplier).count() == 1


def test_a_nodes_health_and_drift_are_shown_and_its_supplier_acts(hub: Hub, seller: Client) -> None:
    compute.register(hub.world, cores=4, cards=2, now=hub.now)
    compute.register(hub.world, cores=4, cards=1, now=hub.now)
    node, pool = Node.objects.get(), pool_of(hub)
    info = NodeInfo(name=node.name, cores=4, memory_bytes=node.memory_bytes, disk_bytes=node.disk_bytes)
    compute.checked(hub.world, info, now=hub.now, cores=3)
    text = page(seller.get(f"/nodes/{node.public_id}/"))
    assert "Cards are missing: 1." in text and "0 of its 1 card answer." in text and "GB/s" in text
    assert "Unfit" in text and "free</span>" not in text
    text = page(seller.get(f"/pools/{pool.public_id}/"))
    assert node.name in text and "0 of its 1 card answer." in text and "no orders in 90 days yet" in text
    stranger = hub.client(hub.user(role=Role.OWNER, at=hub.world.buyer))
    viewer = hub.client(hub.user(role=Role.VIEWER, at=pool.organisation))
    for path in ("check", "publish"):
        assert stranger.post(f"/nodes/{node.public_id}/{path}/").status_code in (403, 404)
        assert viewer.post(f"/nodes/{node.public_id}/{path}/").status_code == 403
    node.refresh_from_db()
    assert node.check_asked_at is None and drift_of_node(node)
    assert seller.post(f"/nodes/{node.public_id}/check/").status_code == 302
    assert seller.post(f"/nodes/{node.public_id}/publish/").status_code == 302
    node = Node.objects.get()
    assert node.check_asked_at is not None and drift_of_node(node) == []
    chinese = page(seller.get(f"/nodes/{node.public_id}/", headers={"accept-language": "zh-hans"}))
    assert "立即检查" in chinese or "Check now" in chinese


def test_nobody_makes_a_pool_for_another(hub: Hub, seller: Client) -> None:
    other = compute.make_organisation("other", capabilities=["supplier"])
    before = Pool.objects.count()
    given = {"supplier": other.public_id, "name": "x", "region": "r"}
    assert seller.post("/pools/new/", given).status_code == 422
    assert Pool.objects.count() == before
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert operator.post("/pools/new/", given).status_code == 200
    assert Pool.objects.filter(organisation=other).count() == 1


def test_a_viewer_reads_and_changes_nothing(hub: Hub) -> None:
    pool, node = pool_of(hub), Node.objects.get()
    viewer = hub.client(hub.user(role=Role.VIEWER, at=pool.organisation))
    text = page(viewer.get(f"/pools/{pool.public_id}/"))
    assert "/state/" not in text and "/token/" not in text
    assert "/state/" not in page(viewer.get(f"/nodes/{node.public_id}/"))
    soon = {
        "starts_at": local(hub.now + timedelta(days=1)),
        "ends_at": local(hub.now + timedelta(days=2)),
        "why": "x",
    }
    assert viewer.post(f"/pools/{pool.public_id}/state/", {"to": "draining"}).status_code == 403
    assert viewer.post(f"/pools/{pool.public_id}/token/").status_code == 403
    assert viewer.post(f"/nodes/{node.public_id}/state/", {"to": "down"}).status_code == 403
    assert viewer.post(f"/nodes/{node.public_id}/", soon).status_code in (403, 422)
    assert viewer.get("/pools/new/").status_code == 403
    pool.refresh_from_db()
    node.refresh_from_db()
    assert (pool.state, node.state, Blackout.objects.count()) == ("open", "up", 0)
    assert pool.token_sha256 == pool_of(hub).token_sha256


def test_drain_open_and_close_a_pool(hub: Hub, seller: Client) -> None:
    pool = pool_of(hub)
    path = f"/pools/{pool.public_id}/state/"
    for to in ("draining", "open"):
        assert seller.post(path, {"to": to, "why": "fans"}, follow=True).status_code == 200
        assert pool_of(hub).state == to
    assert AuditRecord.objects.filter(subject_id=pool.id, why="fans").count() == 2
    assert seller.post(path, {"to": "closed", "typed": "other", "why": "x"}).status_code == 422
    assert seller.post(path, {"to": "elsewhere"}).status_code == 422
    assert pool_of(hub).state == "open"
    closed = seller.post(path, {"to": "closed", "typed": pool.name, "why": "sold"}, follow=True)
    assert closed.status_code == 200
    assert pool_of(hub).state == "closed"
    assert f'action="{path}"' not in page(closed)


def test_a_reason_is_kept_as_it_can_be(hub: Hub, seller: Client) -> None:
    """Without the character that PostgreSQL cannot keep, without spaces around it, cut at its limit."""
    path = f"/pools/{pool_of(hub).public_id}/state/"
    for to, why in (("draining", "\x00"), ("open", " new\x00 fans " + "x" * 400)):
        assert seller.post(path, {"to": to, "why": why}).status_code == 302
    kept = AuditRecord.objects.filter(subject_id=pool_of(hub).id).order_by("id").values_list("why", flat=True)
    assert list(kept)[-2:] == ["", ("new fans " + "x" * 400)[:400]]


def test_a_new_token_ends_the_old_one(hub: Hub, seller: Client) -> None:
    pool = pool_of(hub)
    answer = seller.post(f"/pools/{pool.public_id}/token/")
    assert "mosu_pool_" in page(answer)
    assert pool_of(hub).token_sha256 != pool.token_sha256
    assert seller.get(f"/pools/{pool.public_id}/token/").status_code == 405


def test_drain_down_and_up_of_a_node(hub: Hub, seller: Client) -> None:
    node = Node.objects.get()
    for to in ("draining", "down", "up"):
        assert seller.post(f"/nodes/{node.public_id}/state/", {"to": to}, follow=True).status_code == 200
        node.refresh_from_db()
        assert node.state == to
    assert seller.post(f"/nodes/{node.public_id}/state/", {"to": "up"}).status_code == 409


def test_a_blackout_is_set_in_the_hubs_zone_and_lifted(hub: Hub, seller: Client) -> None:
    node = Node.objects.get()
    start = hub.now + timedelta(days=3)
    given = {"starts_at": local(start), "ends_at": local(start + timedelta(hours=2)), "why": "new fans"}
    shown = seller.post(f"/nodes/{node.public_id}/", given, follow=True)
    assert shown.status_code == 200
    made = Blackout.objects.get()
    assert made.period.lower == start.replace(second=0, microsecond=0)
    assert "new fans" in page(shown)
    assert "new fans" in page(seller.get(f"/pools/{pool_of(hub).public_id}/blackouts/"))
    assert seller.post(f"/blackouts/{made.public_id}/lift/", follow=True).status_code == 200
    made.refresh_from_db()
    assert made.state == "lifted"


@pytest.mark.parametrize("language", BOTH)
def test_what_holds_the_node_is_said_with_until_when(hub: Hub, seller: Client, language: str) -> None:
    run = hub.run()
    node = Node.objects.get()
    until = run.attempts.get().allocations.get().period.upper
    given = {"starts_at": local(hub.now), "ends_at": local(hub.now + timedelta(hours=2)), "why": "my fans"}
    answer = seller.post(f"/nodes/{node.public_id}/", given, headers={"Accept-Language": language})
    assert answer.status_code == 422
    assert timezone.localtime(until).strftime("%Y-%m-%d %H:%M") in page(answer)
    assert 'value="my fans"' in page(answer)
    backwards = given | {"ends_at": given["starts_at"]}
    assert seller.post(f"/nodes/{node.public_id}/", backwards).status_code == 422
    assert not Blackout.objects.exists()


def test_a_kept_node_counts_as_nothing_free(hub: Hub, seller: Client) -> None:
    node = Node.objects.get()
    listed = f"/pools/{pool_of(hub).public_id}/nodes/"
    assert "64 / 64" in page(seller.get(listed))
    assert "64 / 64" in page(seller.get("/pools/"))
    given = {"starts_at": local(hub.now), "ends_at": local(hub.now + timedelta(hours=2)), "why": "fans"}
    assert seller.post(f"/nodes/{node.public_id}/", given).status_code == 302
    assert "0 / 64" in page(seller.get(listed))
    assert "64 / 64" not in page(seller.get("/pools/"))


def test_an_organisation_that_sells_nothing_is_told_so(hub: Hub) -> None:
    client = hub.client(hub.user(role=Role.OWNER))
    assert "New pool" not in page(client.get("/pools/"))
    assert "You speak for no supplier" in page(client.get("/pools/new/"))
    assert Organisation.objects.filter(id=hub.world.buyer.id, capabilities=[]).exists()
