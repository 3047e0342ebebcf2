"""A pool of cards that is sold by the block, and who buys one."""

from datetime import datetime, timedelta
from typing import Any

from mosu.compute import services
from mosu.compute.models import Block
from mosu.kernel.ids import uuid7
from mosu.kernel.time import Period
from mosu.market.models import Offer, Order, Quote
from mosu.market.services import (
    BlockTerms,
    CancellationRule,
    OfferSpec,
    PriceSpec,
    accept_quote,
    create_offer,
)
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.models import Project
from tests.compute.world import World, make_world, pool_of
from tests.conftest import NOW

TERMS = BlockTerms(
    shortest_hours=1,
    ahead_days=60,
    cancellation=(CancellationRule(72, 100), CancellationRule(24, 50)),
    back_percent_after_start=25,
)
CARD_HOUR = 20_000_000
DAY = timedelta(days=1)


def make_block_world(*, cards: int = 4, cores: int = 32, **changes: Any) -> World:
    world = make_world(cores=cores, cards=cards, balance=100_000_000_000)
    offer_blocks(world, cards=cards, **changes)
    return world


def offer_blocks(world: World, *, cards: int = 4, **changes: Any) -> Offer:
    pool = pool_of(world)
    meter, unit = ("card_second", "card_hour") if cards else ("core_second", "core_hour")
    facts: dict[str, Any] = {
        "supplier_id": pool.organisation_id,
        "shelf": "compute",
        "subject_id": pool.id,
        "title_zh": "H100 预留",
        "title_en": "H100 by the block",
        "max_units": 64,
        "wall_s_max": 30 * 86_400,
        "prices": [PriceSpec(meter=meter, unit=unit, unit_price_micros=CARD_HOUR)],
        "attributes": {
            "accelerator": "nvidia-h100-sxm" if cards else None,
            "region": pool.region,
            "mode": "reserved",
        },
        "block": TERMS,
    }
    return create_offer(actor=SYSTEM, spec=OfferSpec(**(facts | changes)), now=NOW)


def block_offer() -> Offer:
    return Offer.objects.get(block__isnull=False)


def quote_block(
    world: World,
    *,
    start: datetime,
    hours: int = 24,
    nodes: int = 1,
    per_node: int | None = None,
    actor: Actor | None = None,
    now: datetime = NOW,
) -> Quote:
    buyer = actor or world.actor
    organisation_id = buyer.organisation_id or world.buyer.id
    return services.quote_block(
        actor=buyer,
        organisation_id=organisation_id,
        project_id=Project.objects.filter(organisation_id=organisation_id)[0].id,
        offer_id=block_offer().id,
        nodes=nodes,
        per_node=per_node,
        period=Period(start, start + timedelta(hours=hours)),
        choice="none",
        now=now,
    )


def buy_block(world: World, *, now: datetime = NOW, **asked: Any) -> Block:
    quote = quote_block(world, now=now, **asked)
    actor = asked.get("actor") or world.actor
    order = accept_quote(actor=actor, quote_id=quote.id, idempotency_key=uuid7().hex, now=now)
    return Block.objects.get(order_id=order.id)


def order_of_block(block: Block) -> Order:
    return Order.objects.get(id=block.order_id)


def task_in(block: Block, *, cards: int = 1, wall: str = "1h") -> str:
    return (
        f"name: t\nresources: {{accelerators: 'H100:{cards}', cpus: 2}}\nrun: train\n"
        f"mosu: {{wall_limit: {wall}, block: {block.public_id}}}\n"
    )
