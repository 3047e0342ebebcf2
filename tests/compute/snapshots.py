"""Snapshots asked for, and what the pool's agent says of them."""

from datetime import datetime
from typing import Any

from mosu.compute import services
from mosu.compute.models import Volume
from mosu.market.models import Quote
from mosu.wire.agent import CopyFault, CopySpec, CopyStatus, Heartbeat, HeartbeatAnswer
from tests.compute.volumes import take
from tests.compute.world import World
from tests.conftest import NOW

GIB = 1 << 30


def quote_snapshot(
    world: World, volume: Volume, label: str = "clean", *, days: int = 30, now: datetime = NOW
) -> Quote:
    return services.quote_snapshot(
        actor=world.actor, volume_id=volume.id, label=label, days=days, choice="none", now=now
    )


def take_snapshot(world: World, volume: Volume, label: str = "clean", **asked: Any) -> Volume:
    return take(world, quote_snapshot(world, volume, label, **asked), now=asked.get("now", NOW))


def hear(world: World, *said: CopyStatus, now: datetime) -> HeartbeatAnswer:
    message = Heartbeat(clock_at=now, volume_copies=said)
    return services.heartbeat(actor=world.agent, message=message, now=now)


def wanted(world: World, *, now: datetime = NOW) -> CopySpec:
    [spec] = hear(world, now=now).volume_copies
    return spec


def done(spec: CopySpec, *, taken: int = GIB + 1, took_s: float = 2.5) -> CopyStatus:
    return CopyStatus(copy_id=spec.copy_id, phase="whole", bytes_done=taken, bytes_total=taken, took_s=took_s)


def failed(spec: CopySpec, fault: CopyFault = CopyFault.FULL) -> CopyStatus:
    return CopyStatus(copy_id=spec.copy_id, phase="failed", fault=fault)


def make_whole(world: World, volume: Volume, label: str = "clean", **asked: Any) -> Volume:
    made = take_snapshot(world, volume, label, **asked)
    now = asked.get("now", NOW)
    hear(world, done(wanted(world, now=now)), now=now)
    made.refresh_from_db()
    return made
