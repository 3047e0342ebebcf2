"""A pool that keeps volumes and sells them by the GB-month, and who buys some."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from mosu.compute import services
from mosu.compute.models import Volume
from mosu.kernel.ids import uuid7
from mosu.market.models import Offer, Quote
from mosu.market.services import OfferSpec, PriceSpec, accept_quote, create_offer
from mosu.platform.actors import SYSTEM
from mosu.platform.models import Project
from mosu.wire.agent import Heartbeat, HeartbeatAnswer
from tests.compute.world import World, deposit, developer_of, make_organisation, make_world, pool_of, register
from tests.conftest import NOW

DAY = timedelta(days=1)
GB_MONTH = 300_000
"""CNY 0.30: 0.01 for each GB and day."""
ROOM_GB = 100


def make_volume_world(**asked: Any) -> World:
    world = make_world(balance=100_000_000, **asked)
    keep_volumes(world)
    offer_volumes(world)
    return world


def keep_volumes(world: World, *, now: datetime = NOW, room_gb: int = ROOM_GB, copies: bool = True) -> None:
    register(world, now=now, volumes_gb=room_gb, copies_volumes=copies)


def offer_volumes(world: World, **changes: Any) -> Offer:
    pool = pool_of(world)
    facts: dict[str, Any] = {
        "supplier_id": pool.organisation_id,
        "shelf": "storage",
        "subject_id": pool.id,
        "title_zh": "存储卷",
        "title_en": "Volumes",
        "max_units": 80,
        "wall_s_max": 90 * 86_400,
        "prices": [PriceSpec(meter="gb_second", unit="gb_month", per=2_592_000, unit_price_micros=GB_MONTH)],
        "attributes": {"region": pool.region, "mode": "on_demand", "kind": "storage"},
    }
    return create_offer(actor=SYSTEM, spec=OfferSpec(**(facts | changes)), now=NOW)


def stranger_to(world: World) -> World:
    """Another organisation with money that buys of the same pool."""
    other = make_organisation("stranger")
    project = Project.objects.create(organisation=other, name="p", created_at=NOW)
    deposit(other.id, 100_000_000)
    return replace(world, buyer=other, project=project, actor=developer_of(other))


def quote_volume(
    world: World, name: str = "data", *, gb: int = 10, days: int = 30, now: datetime = NOW, **asked: Any
) -> Quote:
    return services.quote_volume(
        actor=world.actor,
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        name=name,
        size_gb=gb,
        days=days,
        choice="none",
        now=now,
        **asked,
    )


def quote_time(world: World, volume: Volume, *, days: int = 30, now: datetime = NOW) -> Quote:
    return services.quote_volume_time(
        actor=world.actor, volume_id=volume.id, days=days, choice="none", now=now, until_at_least=now
    )


def take(world: World, quote: Quote, *, now: datetime = NOW) -> Volume:
    order = accept_quote(actor=world.actor, quote_id=quote.id, idempotency_key=uuid7().hex, now=now)
    return Volume.objects.get(terms__order=order)


def buy_volume(world: World, name: str = "data", *, now: datetime = NOW, **asked: Any) -> Volume:
    return take(world, quote_volume(world, name, now=now, **asked), now=now)


def delete(world: World, volume: Volume, *, now: datetime) -> Volume:
    return services.delete_volume(actor=world.actor, volume_id=volume.id, now=now)


def say(world: World, *, now: datetime, deleted: tuple[str, ...] = ()) -> HeartbeatAnswer:
    message = Heartbeat(clock_at=now, volumes_deleted=deleted)
    return services.heartbeat(actor=world.agent, message=message, now=now)


def task_with(mounts: str, *, wall: str = "60s") -> str:
    return f"name: t\nrun: train\nvolumes: {{{mounts}}}\nmosu: {{wall_limit: {wall}}}\n"
