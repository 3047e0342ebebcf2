"""Blocks over HTTP: published, quoted, bought, run in, given back; and as a closed month and FOCUS see them."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.models import Block
from mosu.kernel.time import month_in
from mosu.market.bills import span_of
from mosu.market.closing import usage_behind
from mosu.market.focus import costs_of
from mosu.market.hub import hub_zone
from mosu.market.models import Bill, Offer, Statement
from mosu.market.services import close_month
from mosu.platform.models import Organisation
from tests.compute.blocks import CARD_HOUR, buy_block, make_block_world, task_in
from tests.compute.test_api import post
from tests.compute.test_streams import make_token
from tests.compute.world import OPERATOR, World, make_world, pool_of, register
from tests.conftest import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]
TERMS = {
    "shortest_hours": 1,
    "ahead_days": 60,
    "cancellation": [
        {"before_start_hours": 72, "back_percent": 100},
        {"before_start_hours": 24, "back_percent": 50},
    ],
    "back_percent_after_start": 25,
}


@pytest.fixture
def world() -> World:
    world = make_block_world()
    register(world, cores=32, cards=4, now=timezone.now())
    return world


def asked(start: datetime, *, hours: int = 24, **more: Any) -> dict[str, Any]:
    offer = Offer.objects.get(block__isnull=False).public_id
    end = start + timedelta(hours=hours)
    return {"offer_id": offer, "start": start.isoformat(), "end": end.isoformat(), **more}


def soon() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=2)


def test_a_block_is_quoted_bought_listed_run_in_and_given_back(client: Client, world: World) -> None:
    headers = make_token(world)
    offer = Offer.objects.get(block__isnull=False)
    shown = client.get(f"/api/v1/offers/{offer.public_id}").json()
    assert (shown["mode"], shown["block"]) == ("reserved", TERMS)
    found = post(client, "/blocks/quotes", headers, asked(soon(), per_node=2, vouchers="none"))
    assert found.status_code == 201, found.content
    quoted = found.json()
    assert (quoted["total_max"], quoted["wall_limit_s"], quoted["block"]) == ("960.00", 86_400, TERMS)
    order = post(client, "/orders", headers, {"quote_id": quoted["id"]}, **{"Idempotency-Key": "k"}).json()
    assert (order["state"], order["run_id"], order["total_max"]) == ("placed", None, "960.00")
    [block] = client.get(f"/api/v1/blocks?order_id={order['id']}", headers=headers).json()["items"]
    assert (block["state"], block["nodes"], block["cards"], block["cores"]) == ("held", ["n1"], 2, 16)
    assert block["if_cancelled"] == {"charged": "480.00", "back": "480.00", "back_percent": 50}
    assert client.get(f"/api/v1/blocks/{block['id']}", headers=headers).json()["terms"] == TERMS
    inside = post(client, "/quotes", headers, {"task": task_in(Block.objects.get())}).json()["quotes"]
    assert [(one["total_max"], one["block"], one["split"]) for one in inside] == [("0.00", None, [])]
    run = post(client, "/orders", headers, {"quote_id": inside[0]["id"]}, **{"Idempotency-Key": "r"}).json()
    assert run["run_id"] is not None
    cancelled = post(client, f"/orders/{order['id']}/cancel", headers, {}).json()
    assert (cancelled["state"], cancelled["total"]) == ("settled", "480.00")
    receipt = client.get(f"/api/v1/receipts/{cancelled['receipt_id']}", headers=headers).json()
    assert (receipt["total"], receipt["released"]) == ("480.00", "480.00")
    assert (
        client.get("/api/v1/blocks?state=cancelled", headers=headers).json()["items"][0]["total"] == "480.00"
    )
    services.turn_blocks(now=timezone.now())
    assert client.get(f"/api/v1/orders/{run['id']}", headers=headers).json()["state"] == "cancelled"


def test_what_cannot_be_is_refused_with_a_hint_in_the_persons_language(client: Client, world: World) -> None:
    headers = make_token(world)
    backwards = asked(soon(), hours=-1)
    assert (
        post(client, "/blocks/quotes", headers, backwards).json()["title"] == "A block ends after it starts."
    )
    said = post(client, "/blocks/quotes", headers, backwards, **{"Accept-Language": "zh-CN"}).json()
    assert said["title"] == "预留时段的结束须晚于开始。"
    full = post(client, "/blocks/quotes", headers, asked(soon(), nodes=2))
    assert (full.status_code, full.json()["type"]) == (409, "urn:mosu:sold_out")
    far = post(client, "/blocks/quotes", headers, asked(soon() + timedelta(days=90)))
    assert (far.status_code, far.json()["field"]) == (422, "start")
    assert not Block.objects.exists()


def test_another_organisation_finds_no_block(client: Client, world: World) -> None:
    block = buy_block(world, start=NOW + timedelta(days=4))
    stranger = make_token(world, organisation=Organisation.objects.exclude(id=world.buyer.id)[0])
    assert client.get(f"/api/v1/blocks/{block.public_id}", headers=stranger).status_code == 404
    assert client.get("/api/v1/blocks", headers=stranger).json()["items"] == []
    assert client.get(f"/api/v1/blocks/{block.public_id}").status_code == 401


def test_a_supplier_publishes_terms_that_are_in_order(client: Client) -> None:
    world = make_world(cards=4, now=timezone.now())
    pool = pool_of(world)
    headers = make_token(world, organisation=pool.organisation, role="owner", scopes=("read", "manage"))
    body = {
        "shelf": "compute",
        "subject_id": pool.public_id,
        "title": {"zh": "预留", "en": "By the block"},
        "accelerator": "nvidia-h100-sxm",
        "mode": "reserved",
        "prices": [{"meter": "card_second", "unit": "card_hour", "unit_price": "12.00"}],
        "max_units": 64,
        "wall_s_max": 86_400,
        "block": TERMS,
    }
    made = post(client, "/offers", headers, body)
    assert (made.status_code, made.json()["block"]) == (201, TERMS), made.content
    rising = {**TERMS, "cancellation": list(reversed(TERMS["cancellation"]))}  # type: ignore[call-overload]
    for change in ({"mode": "on_demand"}, {"block": None}, {"block": rising}):
        assert post(client, "/offers", headers, {**body, **change}).status_code == 422
    assert Offer.objects.filter(block__isnull=False).count() == 1


def test_a_closed_month_and_focus_see_a_block_as_any_charge() -> None:
    world = make_block_world()
    start = NOW + timedelta(days=1)
    block = buy_block(world, start=start, hours=10, per_node=2)
    register(world, cores=32, cards=4, now=start)
    services.turn_blocks(now=start)
    end = start + timedelta(hours=10)
    register(world, cores=32, cards=4, now=end)
    services.turn_blocks(now=end)
    month = month_in(hub_zone(), end)
    assert usage_behind(span_of(month, zone=hub_zone())) == (1, 0)
    [row] = costs_of(world.actor, world.buyer.id, month=month, version="1.2")
    assert (row["BilledCost"], row["ConsumedQuantity"]) == ("400.00", "72000")
    assert row["ResourceId"] == block.order.public_id
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate; set constraints all deferred")
    later = datetime.combine(date(2026, 4, 2), datetime.min.time(), tzinfo=hub_zone())
    close_month(actor=OPERATOR, month=month, now=later)
    assert Bill.objects.get(organisation=world.buyer).total_micros == 20 * CARD_HOUR
    assert Statement.objects.get().gross_micros == 20 * CARD_HOUR
