"""A quote over many offers: the best are priced, the rest is counted, and nobody's private price is quoted."""

import pytest

from mosu.compute.services.quoting import PLANS_MAX, REFUSED_MAX
from mosu.market.models import Offer
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from tests.compute.world import World, at, make_world, quote, task_of
from tests.conftest import NOW

pytestmark = pytest.mark.django_db


def hang(world: World, title: str, *, price: int, buyer: object = None, **attributes: object) -> Offer:
    own = Offer.objects.filter(subject_id=world.pool_id).order_by("id")[0]
    meter, unit = (
        ("card_second", "card_hour") if "accelerator" in attributes else ("core_second", "core_hour")
    )
    spec = OfferSpec(
        supplier_id=own.supplier_id,
        shelf="compute",
        subject_id=world.pool_id,
        title_zh=title,
        title_en=title,
        max_units=64,
        wall_s_max=86_400,
        prices=[PriceSpec(meter, unit, price)],
        attributes={"accelerator": None, **attributes},
        buyer_organisation_id=buyer,  # type: ignore[arg-type]
    )
    return create_offer(actor=SYSTEM, spec=spec, now=NOW)


def test_the_best_are_priced_and_the_rest_is_counted() -> None:
    world = make_world(cores=8)
    for number in range(15):
        hang(world, f"cores {number}", price=1_000 + number)
    for number in range(40):
        hang(world, f"cards {number}", price=9_000 + number, accelerator="metax-c500")
    result = quote(world, task_of(cores=2), now=at(1))
    assert len(result.quotes) == PLANS_MAX
    titles = {one.terms["title"]["en"] for one in result.quotes}
    assert {f"cores {number}" for number in range(PLANS_MAX - 1)} <= titles
    assert result.not_priced == 16 - PLANS_MAX
    assert [(set(group.codes), group.count) for group in result.refused_groups] == [({"sells_cards"}, 40)]
    assert 0 < len(result.refused) <= REFUSED_MAX
    assert {reason.code for one in result.refused for reason in one.reasons} == {"sells_cards"}


def test_the_cheapest_that_a_voucher_tells_apart_is_always_priced() -> None:
    world = make_world(cores=8)
    for number in range(15):
        hang(world, f"cores {number}", price=1_000 + number)
    hang(world, "domestic", price=50_000, domestic=True)
    titles = {one.terms["title"]["en"] for one in quote(world, task_of(cores=2), now=at(1)).quotes}
    assert {"cores 0", "domestic"} <= titles


def test_a_full_pool_is_tried_once_for_each_kind_of_card() -> None:
    world = make_world(cores=8)
    for number in range(15):
        hang(world, f"cores {number}", price=1_000 + number)
    result = quote(world, task_of(cores=64), now=at(1))
    assert result.quotes == []
    assert {code for group in result.refused_groups for code in group.codes} == {"too_large"}


def test_a_private_price_is_quoted_to_its_buyer_alone() -> None:
    world = make_world(cores=8)
    seller = Offer.objects.get(subject_id=world.pool_id).supplier_id
    hang(world, "mine", price=1_000, buyer=world.buyer.id)
    hang(world, "another's", price=1, buyer=seller)
    result = quote(world, task_of(cores=2), now=at(1))
    said = {one.terms["title"]["en"] for one in result.quotes} | {one.title_en for one in result.refused}
    assert "mine" in said
    assert "another's" not in said
    assert sum(group.count for group in result.refused_groups) == 0
