"""Tiered prices in the browser: the supplier says who is a partner and what they pay; a buyer's label says so."""

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.market.models import Offer, OfferPrice, Relation, TierRate
from mosu.market.services import PriceSpec, set_price
from mosu.platform.actors import SYSTEM, HubRole, Role
from tests.compute import world as compute
from tests.web.conftest import Hub, page, queries

BOTH = ("en", "zh-hans")


@pytest.fixture
def manager(hub: Hub) -> Client:
    return hub.client(hub.user(role=Role.OWNER, at=compute.pool_of(hub.world).organisation))


def offered(hub: Hub) -> Offer:
    return Offer.objects.get(supplier=compute.pool_of(hub.world).organisation)


def partnered(hub: Hub, manager: Client, *, percent: str = "80") -> None:
    said = manager.post("/partners/", {"buyer": hub.world.buyer.public_id, "tier": "partner", "why": "C-7"})
    assert said.status_code == 302
    path = f"/my-offers/{offered(hub).public_id}/tiers/"
    assert manager.post(path, {"tier": "partner", "percent": percent}).status_code == 302


@pytest.mark.parametrize(("language", "word"), [("en", "partner price"), ("zh-hans", "合作价")])
def test_a_partners_label_says_its_price_and_the_list_price(
    hub: Hub, manager: Client, language: str, word: str
) -> None:
    said = {"Accept-Language": language}
    buyer, stranger = hub.client(hub.user(role=Role.OWNER)), hub.client()
    address = f"/offers/{offered(hub).public_id}/"
    assert word not in page(buyer.get(address, headers=said))
    partnered(hub, manager)
    for path in (address, "/compute/"):
        seen = page(buyer.get(path, headers=said))
        assert word in seen and "¥0.12" in seen and "<s>¥0.15</s>" in seen
        other = page(stranger.get(path, headers=said))
        assert word not in other and "¥0.12" not in other
    assert "80%" in page(manager.get(f"/my-offers/{offered(hub).public_id}/", headers=said))
    assert hub.world.buyer.public_id in page(manager.get("/partners/", headers=said))
    assert hub.world.buyer.name not in page(manager.get("/partners/", headers=said))


def test_the_shelf_of_a_partner_is_in_the_order_of_its_own_prices(hub: Hub, manager: Client) -> None:
    buyer, stranger = hub.client(hub.user(role=Role.OWNER)), hub.client()
    theirs = offered(hub)
    hub.offer("A card", accelerator="nvidia-h100-sxm")  # 12.80: between the partner's price and everyone's
    other = Offer.objects.exclude(id=theirs.id).get()
    set_price(
        actor=SYSTEM,
        offer_id=theirs.id,
        price=PriceSpec("core_second", "core_hour", 15_000_000),
        confirmed=True,
        now=timezone.now(),
    )
    change = OfferPrice.objects.filter(offer=other)
    assert change.get().unit_price_micros == 12_800_000
    partnered(hub, manager, percent="50")

    def order(client: Client, query: str = "") -> list[str]:
        text = page(client.get(f"/compute/?sort=price{query}"))
        return [key for key in re.findall(r'href="/offers/(offer_[0-9a-z]+)/"', text) if key]

    def firsts(client: Client, query: str = "") -> list[str]:
        return list(dict.fromkeys(order(client, query)))

    cheap, dear = theirs.public_id, other.public_id
    assert firsts(buyer) == [cheap, dear]
    assert firsts(stranger) == [dear, cheap]
    assert firsts(buyer, "&price_max=12.5") == [cheap]
    assert firsts(stranger, "&price_max=12.5") == []
    side_by_side = f"/compare/?offers={cheap},{dear}"
    seen = page(buyer.get(side_by_side))
    assert "¥7.50" in seen and "partner price" in seen and "everyone&#x27;s price" in seen
    assert "partner price" not in page(stranger.get(side_by_side))


def test_who_has_no_tiers_is_asked_about_once(hub: Hub, manager: Client) -> None:
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
    before = queries(stranger, "/compute/")
    partnered(hub, manager)
    assert queries(stranger, "/compute/") == before
    assert queries(hub.client(hub.user(role=Role.OWNER)), "/compute/") <= before + 1


@pytest.mark.parametrize(
    "wrong",
    [{"buyer": "org_nobody"}, {"tier": "friend"}, {"buyer": ""}],
)
def test_a_wrong_partner_changes_nothing(hub: Hub, manager: Client, wrong: dict[str, Any]) -> None:
    given = {"buyer": hub.world.buyer.public_id, "tier": "partner", **wrong}
    assert manager.post("/partners/", given).status_code == 422
    itself = compute.pool_of(hub.world).organisation.public_id
    assert manager.post("/partners/", {**given, "buyer": itself}).status_code in {409, 422}
    assert Relation.objects.count() == 0


@pytest.mark.parametrize(
    "wrong", [{"percent": "0"}, {"percent": "101"}, {"percent": "x"}, {"tier": "external"}]
)
def test_a_wrong_part_changes_nothing(hub: Hub, manager: Client, wrong: dict[str, str]) -> None:
    path = f"/my-offers/{offered(hub).public_id}/tiers/"
    assert manager.post(path, {"tier": "partner", "percent": "80", **wrong}).status_code == 422
    assert TierRate.objects.count() == 0


def test_only_who_manages_the_offer_sets_its_tiers(hub: Hub, manager: Client) -> None:
    path = f"/my-offers/{offered(hub).public_id}/tiers/"
    given = {"tier": "partner", "percent": "80"}
    stranger = hub.client(hub.user(role=Role.OWNER, at=compute.make_organisation("other")))
    viewer = hub.client(hub.user(role=Role.VIEWER, at=compute.pool_of(hub.world).organisation))
    for who in (stranger, viewer, hub.client(hub.user(hub=HubRole.AUDITOR))):
        assert who.post(path, given).status_code in {403, 404}
    assert viewer.get("/partners/").status_code == 403
    assert stranger.get("/partners/").status_code == 200
    assert TierRate.objects.count() == 0


def test_the_shelf_asks_as_often_with_tiers_as_without(hub: Hub, manager: Client) -> None:
    buyer = hub.client(hub.user(role=Role.OWNER))
    partnered(hub, manager)
    before = queries(buyer, "/compute/")
    for number in range(3):
        hub.offer(f"another {number}")
    assert queries(buyer, "/compute/") == before
