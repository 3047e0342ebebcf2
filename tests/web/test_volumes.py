"""Volumes in the browser: the empty list, buying one, more time, deleting it by its name."""

from datetime import timedelta

import pytest
from django.utils import timezone

from mosu.compute.models import Volume
from mosu.market.models import Offer, Order, Quote
from mosu.platform.actors import Role
from mosu.web.audit.chain import chain_of
from mosu.wire.agent import CopyFault, CopyStatus
from tests.compute.snapshots import done, hear, wanted
from tests.compute.volumes import buy_volume, delete, keep_volumes, offer_volumes
from tests.compute.world import deposit, pool_of
from tests.web.conftest import Hub, page
from tests.web.test_chain import gathered


@pytest.fixture
def offer(hub: Hub) -> Offer:
    deposit(hub.world.buyer.id, 1_000_000_000)
    keep_volumes(hub.world, now=hub.now)
    return offer_volumes(hub.world)


def test_without_a_supplier_it_says_so(hub: Hub) -> None:
    shown = page(hub.client(hub.user(role=Role.DEVELOPER)).get("/volumes/"))
    assert "No volumes yet." in shown and "No supplier of this hub keeps volumes yet." in shown


def test_a_volume_is_bought_renewed_and_deleted(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    shown = page(client.get("/volumes/"))
    for text in ("No volumes yet.", "A new volume", "Who keeps volumes", "¥0.30", "GB-month"):
        assert text in shown
    answer = client.post("/volumes/", {"name": "data", "gb": 10, "days": 30})
    quote = Quote.objects.latest("created_at")
    assert (answer.status_code, answer["Location"]) == (302, f"/quotes/{quote.public_id}/")
    shown = page(client.get(answer["Location"]))
    for text in ("¥3.00", "It is kept to its end", "You delete it after", "GB-month"):
        assert text in shown
    assert "Your program fails" not in shown
    assert client.post(f"/quotes/{quote.public_id}/accept/").status_code == 302
    order, volume = Order.objects.get(quote=quote), Volume.objects.get()
    shown = page(client.get(f"/orders/{order.public_id}/"))
    assert f"/volumes/{volume.public_id}/" in shown and "Log" not in shown
    assert "data" in page(client.get("/volumes/"))
    own = f"/volumes/{volume.public_id}/"
    shown = page(client.get(own))
    for text in ("/data: data", "at most ¥3.00", "Delete it for good", "Renew it by itself"):
        assert text in shown
    more = client.post(f"{own}time/", {"days": "7"})
    assert Quote.objects.latest("created_at").total_max_micros == 700_000
    assert more.status_code == 302
    assert client.post(f"{own}renewal/", {"days": "30"}).status_code == 302
    assert "for 30 days" in page(client.get(own))
    assert client.post(f"{own}renewal/", {"days": "-1"}).status_code == 422
    assert client.post(f"{own}delete/", {"typed": "other"}).status_code == 422
    assert Volume.objects.get().state == "kept"
    assert client.post(f"{own}delete/", {"typed": "data"}).status_code == 302
    assert Volume.objects.get().state == "deleting"
    assert "Being deleted" in page(client.get("/volumes/"))
    receipt = Order.objects.get(id=order.id).receipt
    assert "GB-month" in page(client.get(f"/receipts/{receipt.public_id}/"))


def test_what_is_refused_stands_in_the_form(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    for body, said in (
        ({"name": "Data", "gb": 1, "days": 1}, "small letters"),
        ({"name": "data", "gb": 81, "days": 1}, "1 to 80 GB"),
        ({"name": "data", "gb": 1, "days": 91}, "up to 90 days"),
    ):
        assert said in page(client.post("/volumes/", body))
    assert not Quote.objects.filter(shelf="storage").exists()


def test_in_chinese(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans")
    buy_volume(hub.world, now=hub.now)
    volume = Volume.objects.get()
    for path in (
        "/volumes/",
        f"/volumes/{volume.public_id}/",
        f"/orders/{volume.terms.get().order.public_id}/",
    ):
        assert "存储卷" in page(client.get(path))
    Volume.objects.filter(id=volume.id).update(kept_until=timezone.now() + timedelta(days=1))


def test_others_do_not_see_it_and_who_looks_changes_nothing(hub: Hub, offer: Offer) -> None:
    buy_volume(hub.world, now=hub.now)
    own = f"/volumes/{Volume.objects.get().public_id}/"
    viewer = hub.client(hub.user(role=Role.VIEWER))
    shown = page(viewer.get(own))
    assert "Delete it for good" not in shown and "Renew it by itself" not in shown
    assert viewer.post(f"{own}delete/", {"typed": "data"}).status_code == 403
    assert viewer.post(f"{own}time/", {"days": "7"}).status_code == 403


def test_the_suppliers_and_the_auditors_pages_show_it(hub: Hub, offer: Offer) -> None:
    volume = buy_volume(hub.world, now=hub.now)
    delete(hub.world, volume, now=hub.now + timedelta(days=3))
    order = Order.objects.get()
    seller = hub.client(hub.user(role=Role.OWNER, at=pool_of(hub.world).organisation))
    for path in ("/my-offers/", f"/my-offers/{offer.public_id}/", f"/offers/{offer.public_id}/"):
        shown = page(seller.get(path))
        assert "Volumes" in shown and "0.30" in shown
    assert order.number in page(seller.get("/sales/"))
    assert [check for check in chain_of(gathered(order)).checks if check.holds is False] == []
    assert page(hub.client().get("/compute/")).count("GB-month") == 0


def test_a_snapshot_is_bought_seen_while_it_is_made_and_restored(hub: Hub, offer: Offer) -> None:
    client = hub.client(hub.user(role=Role.DEVELOPER))
    volume = buy_volume(hub.world, now=hub.now)
    own = f"/volumes/{volume.public_id}/"
    assert "A snapshot, its label" in page(client.get(own))
    assert client.post(f"{own}snapshot/", {"label": "Not So", "days": "30"}).status_code == 422
    asked = client.post(f"{own}snapshot/", {"label": "clean", "days": "30"})
    quote = Quote.objects.latest("created_at")
    assert asked["Location"] == f"/quotes/{quote.public_id}/"
    assert "data@clean" in page(client.get(asked["Location"]))
    assert client.post(f"/quotes/{quote.public_id}/accept/").status_code == 302
    made = Volume.objects.get(name="data@clean")
    spec = wanted(hub.world, now=hub.now)
    half = CopyStatus(copy_id=spec.copy_id, phase="copying", bytes_done=1 << 30, bytes_total=2 << 30)
    hear(hub.world, half, now=hub.now)
    shown = page(client.get(own))
    assert "data@clean" in shown and "50%" in shown
    its = f"/volumes/{made.public_id}/"
    shown = page(client.get(its))
    for text in ("Until it is whole no run may write data", "1.00 of 2.00 GB", "Being made"):
        assert text in shown
    assert "Restore it" not in shown and "See the price" not in shown
    hear(hub.world, done(spec), now=hub.now)
    shown = page(client.get(its))
    for text in ("/data: data@clean", "Snapshot of", "2.5", "Restore it", "is only read"):
        assert text in shown
    assert "A snapshot, its label" not in shown
    assert client.post(f"{its}restore/", {"typed": "nothing"}).status_code == 422
    assert client.post(f"{its}restore/", {"typed": "data"})["Location"] == own
    assert "being restored from data@clean" in page(client.get(own))
    chinese = hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans")
    assert "正在从 data@clean 恢复" in page(chinese.get(own))
    full = CopyStatus(copy_id=wanted(hub.world, now=hub.now).copy_id, phase="failed", fault=CopyFault.FULL)
    hear(hub.world, full, now=hub.now)
    shown = page(client.get(own))
    assert "holds what it held" in shown and "disk is full" in shown
    viewer = hub.client(hub.user(role=Role.VIEWER))
    assert viewer.post(f"{its}restore/", {"typed": "data"}).status_code == 403
    assert viewer.post(f"{own}snapshot/", {"label": "x", "days": "1"}).status_code == 403


def test_a_projects_quota_is_set_and_seen(hub: Hub, offer: Offer) -> None:
    owner = hub.client(hub.user(role=Role.OWNER))
    buy_volume(hub.world, now=hub.now)
    body = {"project": hub.world.project.public_id, "accelerator": "", "volumes": "on", "units_max": "12"}
    assert owner.post("/organisation/budgets/", body).status_code == 302
    assert "GB of volumes" in page(owner.get("/organisation/budgets/"))
    developer = hub.client(hub.user(role=Role.DEVELOPER))
    assert "10 of at most 12 GB kept" in page(developer.get("/volumes/"))
    refused = page(developer.post("/volumes/", {"name": "more", "gb": 3, "days": 1}))
    assert "may keep 12 GB of volumes; it keeps 10, and this takes 3 more" in refused
    assert "owners and administrators" in refused
