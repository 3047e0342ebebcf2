"""What a supplier sold and is owed, in the browser."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from mosu.ledger.models import Account
from mosu.market.models import Offer
from mosu.platform.actors import HubRole, Role
from tests.compute import world as compute
from tests.web.conftest import Hub, page, queries

BOTH = ("en", "zh-hans")


@pytest.fixture
def seller(hub: Hub) -> Client:
    return hub.client(hub.user(role=Role.FINANCE, at=compute.pool_of(hub.world).organisation))


def sold(hub: Hub) -> str:
    """A run that used an hour of one core, settled: 0.15."""
    run, attempt = compute.started(hub.world, now=hub.now, wall="2h")
    later = hub.now + timedelta(hours=1)
    compute.beat(hub.world, attempt, "running", now=later)
    compute.use(hub.world, attempt, 3600, since=hub.now, now=later)
    compute.report(hub.world, attempt, now=later)
    return hub.order_of(run).number


@pytest.mark.parametrize("language", BOTH)
def test_sales_tell_the_charge_and_not_the_buyer(hub: Hub, seller: Client, language: str) -> None:
    number, said = sold(hub), {"Accept-Language": language}
    text = page(seller.get("/sales/", headers=said))
    assert number in text and "0.15" in text
    assert hub.world.buyer.name not in text
    month = f"{timezone.localtime(hub.now):%Y-%m}"
    assert number in page(seller.get(f"/sales/?month={month}", headers=said))
    assert number in page(seller.get("/sales/?format=csv", headers=said))
    assert number not in page(seller.get("/sales/?state=active", headers=said))
    assert number not in page(hub.client(hub.user(role=Role.OWNER)).get("/sales/", headers=said))
    assert hub.world.buyer.name in page(
        hub.client(hub.user(hub=HubRole.AUDITOR)).get("/sales/", headers=said)
    )
    assert hub.client().get("/sales/").status_code == 302


@pytest.mark.parametrize("language", BOTH)
def test_what_is_owed_is_the_ledgers_figure(hub: Hub, seller: Client, language: str) -> None:
    said = {"Accept-Language": language}
    assert seller.get("/owed/", headers=said).status_code == 200
    sold(hub)
    supplier = compute.pool_of(hub.world).organisation
    assert Account.objects.get(kind="payable", owner_id=supplier.id).balance_micros == 150_000
    text = page(seller.get("/owed/", headers=said))
    month = f"{timezone.localtime(hub.now):%Y-%m}"
    assert "¥0.15" in text and f"?month={month}" in text
    assert seller.get(f"/owed/?month={month}", headers=said).status_code == 200
    assert "0.15" in page(seller.get("/owed/?format=csv", headers=said))
    assert seller.get("/owed/?month=never", headers=said).status_code == 422
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    assert f"/owed/{supplier.public_id}/" in page(operator.get("/owed/", headers=said))
    assert "¥0.15" in page(operator.get(f"/owed/{supplier.public_id}/", headers=said))
    buyer = hub.client(hub.user(role=Role.OWNER))
    assert buyer.get(f"/owed/{supplier.public_id}/", headers=said).status_code == 404
    assert "¥0.15" not in page(buyer.get("/owed/", headers=said))


def test_sales_ask_as_often_for_many_as_for_one(hub: Hub, seller: Client) -> None:
    sold(hub)
    before = [queries(seller, path) for path in ("/sales/", "/owed/")]
    for _ in range(3):
        sold(hub)
    assert [queries(seller, path) for path in ("/sales/", "/owed/")] == before
    assert max(before) <= 12
    assert Offer.objects.count() == 1
