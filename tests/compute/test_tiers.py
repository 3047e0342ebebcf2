"""Tiered prices: partners and a supplier's own pay their part of the list price, frozen at the quote."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Run
from mosu.kernel.refusals import Forbidden, Invalid
from mosu.market.models import Offer, Quote, Relation, Tier, TierRate
from mosu.market.services import set_relation, set_tier_rate
from tests.compute.test_streams import make_token
from tests.compute.world import (
    OPERATOR,
    World,
    accept,
    at,
    attempt_of,
    beat,
    lease,
    make_organisation,
    make_world,
    order_of,
    quote,
    report,
    task_of,
    use,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world(cores=4)


def quoted(world: World, seconds: float) -> Quote:
    [one] = quote(world, task_of(cores=2, wall="1h"), now=at(seconds)).quotes
    return Quote.objects.get(id=one.id)


def price_of(found: Quote) -> int:
    [line] = found.lines
    return int(line["unit_price_micros"])


def make_partner(world: World, offer: Offer, tier: Tier, seconds: float) -> None:
    set_relation(
        actor=OPERATOR, supplier_id=offer.supplier_id, buyer_id=world.buyer.id, tier=tier, now=at(seconds)
    )


def test_a_partner_pays_its_part_and_the_quote_freezes_it(world: World) -> None:
    offer = Offer.objects.get()
    full = price_of(quoted(world, 1))
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.PARTNER, rate_bp=8_000, now=at(2))
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.INTERNAL, rate_bp=5_000, now=at(2))
    assert price_of(quoted(world, 3)) == full  # to nobody in particular
    make_partner(world, offer, Tier.PARTNER, 4)
    frozen = quoted(world, 5)
    assert (price_of(frozen), frozen.terms["tier"]) == (full * 8 // 10, {"name": "partner", "rate_bp": 8_000})
    make_partner(world, offer, Tier.INTERNAL, 6)
    assert price_of(quoted(world, 7)) == full // 2
    make_partner(world, offer, Tier.EXTERNAL, 8)
    assert price_of(quoted(world, 9)) == full
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.PARTNER, rate_bp=10_000, now=at(9))
    run = accept(world, frozen.id, now=at(10))
    assert lease(world, now=at(11)) is not None
    attempt = attempt_of(run)
    beat(world, attempt, "running", now=at(11))
    beat(world, attempt, "running", now=at(25))
    use(world, attempt, 20, since=at(11), now=at(25))
    report(world, attempt, now=at(26))
    assert order_of(Run.objects.get(id=run.id)).total_micros == round(20 * full * 0.8 / 3600, -4)


def test_a_suppliers_own_organisation_is_internal(world: World) -> None:
    offer = Offer.objects.get()
    full = price_of(quoted(world, 1))
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.INTERNAL, rate_bp=1, now=at(2))
    Offer.objects.filter(id=offer.id).update(supplier_id=world.buyer.id)
    assert price_of(quoted(world, 3)) == round(full / 10_000)


def test_what_cannot_be_set_changes_nothing(world: World) -> None:
    offer = Offer.objects.get()
    for tier, rate_bp in ((Tier.EXTERNAL, 5_000), (Tier.PARTNER, 0), (Tier.PARTNER, 10_001)):
        with pytest.raises(Invalid):
            set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=tier, rate_bp=rate_bp, now=at(1))
    with pytest.raises(Forbidden):
        set_tier_rate(actor=world.actor, offer_id=offer.id, tier=Tier.PARTNER, rate_bp=1, now=at(1))
    with pytest.raises(Forbidden):
        set_relation(
            actor=world.actor,
            supplier_id=offer.supplier_id,
            buyer_id=world.buyer.id,
            tier=Tier.INTERNAL,
            now=at(1),
        )
    with pytest.raises(Invalid):
        set_relation(
            actor=OPERATOR,
            supplier_id=offer.supplier_id,
            buyer_id=offer.supplier_id,
            tier=Tier.PARTNER,
            now=at(1),
        )
    assert not TierRate.objects.exists() and not Relation.objects.exists()


def test_tiers_are_history(world: World) -> None:
    offer = Offer.objects.get()
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.PARTNER, rate_bp=9_000, now=at(1))
    make_partner(world, offer, Tier.PARTNER, 1)
    for change in ("update market_tierrate set rate_bp = 1", "delete from market_relation"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_a_budget_is_of_what_the_buyer_would_pay(world: World) -> None:
    offer = Offer.objects.get()
    full = price_of(quoted(world, 1))
    text = task_of(cores=2, wall=f"1h, budget: {full * 2 * 9 // 10 / 1e6}")
    [refused] = quote(world, text, now=at(2)).refused
    assert [reason.code for reason in refused.reasons] == ["over_budget"]
    set_tier_rate(actor=OPERATOR, offer_id=offer.id, tier=Tier.PARTNER, rate_bp=9_000, now=at(3))
    make_partner(world, offer, Tier.PARTNER, 3)
    [found] = quote(world, text, now=at(4)).quotes
    assert price_of(found) == full * 9 // 10
    make_partner(world, offer, Tier.EXTERNAL, 5)
    assert quote(world, text, now=at(6)).quotes == []


@pytest.mark.urls("tests.compute.urls")
def test_tiers_over_http(client: Client) -> None:
    world = make_world(now=timezone.now())
    offer = Offer.objects.get()
    seller = make_token(world, organisation=offer.supplier, role="owner", scopes=("read", "manage"))
    stranger = make_token(
        world, organisation=make_organisation("other"), role="owner", scopes=("read", "manage")
    )

    def post(path: str, body: dict[str, Any], who: dict[str, str]) -> Any:
        return client.post(f"/api/v1{path}", data=body, content_type="application/json", headers=who)

    tiers = f"/offers/{offer.public_id}/tiers"
    assert post(tiers, {"tier": "partner", "rate_bp": 8000}, stranger).status_code == 403
    assert post(tiers, {"tier": "partner", "rate_bp": 10001}, seller).status_code == 422
    assert not TierRate.objects.exists()
    assert post(tiers, {"tier": "partner", "rate_bp": 8000}, seller).status_code == 201
    made = post("/relations", {"organisation_id": world.buyer.public_id, "tier": "partner"}, seller)
    assert made.status_code == 201, made.content
    listed = client.get("/api/v1/relations", headers=seller).json()["items"]
    assert [one["organisation_id"] for one in listed] == [world.buyer.public_id]
    assert client.get("/api/v1/relations", headers=stranger).json()["items"] == []
    buyer = make_token(world, role="developer", scopes=("read",))
    for path, pick in (
        (f"/offers/{offer.public_id}", lambda said: said),
        ("/offers", lambda said: said["items"][0]),
    ):
        mine = pick(client.get(f"/api/v1{path}", headers=buyer).json())
        theirs = pick(client.get(f"/api/v1{path}", headers=stranger).json())
        [price], [everyones] = mine["prices"], theirs["prices"]
        assert (mine["tier"], theirs["tier"], everyones["list_price"]) == ("partner", None, None)
        assert price["list_price"] == everyones["unit_price"]
        assert Decimal(price["unit_price"]) == Decimal(everyones["unit_price"]) * 8 / 10
    assert client.get(f"/api/v1{tiers}", headers=stranger).json() == []
    assert [one["rate_bp"] for one in client.get(f"/api/v1{tiers}", headers=seller).json()] == [8000]
