"""Two at once, with real transactions: room and writers are never given twice."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection

from mosu.compute import services
from mosu.compute.models import Volume, VolumeUse
from mosu.compute.services import QuotaReached, SoldOut, VolumeInUse
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError
from mosu.market.services import accept_quote
from tests.compute.snapshots import quote_snapshot
from tests.compute.volumes import buy_volume, make_volume_world, quote_volume, stranger_to, task_with
from tests.compute.world import OPERATOR, World, at, quote
from tests.conftest import NOW

pytestmark = pytest.mark.usefixtures("fresh_db")


def both_accept(*orders: tuple[World, UUID]) -> list[type[DomainError] | None]:
    barrier = Barrier(len(orders))

    def accept(order: tuple[World, UUID]) -> type[DomainError] | None:
        world, quote_id = order
        try:
            barrier.wait()
            accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=NOW)
        except DomainError as refusal:
            return type(refusal)
        finally:
            connection.close()
        return None

    with ThreadPoolExecutor(len(orders)) as pool:
        return list(pool.map(accept, orders))


def test_two_buyers_of_one_room() -> None:
    world = make_volume_world()
    other = stranger_to(world)
    first, second = quote_volume(world, gb=60), quote_volume(other, gb=60)
    ended = both_accept((world, first.id), (other, second.id))
    assert sorted(map(str, ended)) == sorted(map(str, [None, SoldOut]))
    assert Volume.objects.count() == 1


def test_two_writers_of_one_volume() -> None:
    world = make_volume_world()
    buy_volume(world)
    first, second = (quote(world, task_with("/data: data")).quotes[0].id for _ in range(2))
    assert sorted(map(str, both_accept((world, first), (world, second)))) == sorted(
        map(str, [None, VolumeInUse])
    )
    assert VolumeUse.objects.filter(live=True).count() == 1


def test_two_volumes_of_one_quota() -> None:
    world = make_volume_world()
    services.set_quota(
        actor=OPERATOR,
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        accelerator="",
        volumes=True,
        units_max=50,
        now=NOW,
    )
    first, second = (quote_volume(world, name, gb=30) for name in ("a", "b"))
    ended = both_accept((world, first.id), (world, second.id))
    assert sorted(map(str, ended)) == sorted(map(str, [None, QuotaReached]))
    assert Volume.objects.count() == 1


def test_a_snapshot_and_a_writer() -> None:
    world = make_volume_world()
    volume = buy_volume(world)
    writer = quote(world, task_with("/data: data")).quotes[0].id
    snapshot = quote_snapshot(world, volume).id
    ended = both_accept((world, writer), (world, snapshot))
    assert sorted(map(str, ended)) == sorted(map(str, [None, VolumeInUse]))


def test_a_writer_and_a_deletion() -> None:
    world = make_volume_world()
    volume = buy_volume(world)
    key = quote(world, task_with("/data: data")).quotes[0].id
    barrier = Barrier(2)

    def delete() -> bool:
        try:
            barrier.wait()
            services.delete_volume(actor=world.actor, volume_id=volume.id, now=at(1))
        except VolumeInUse:
            return False
        finally:
            connection.close()
        return True

    def accept() -> bool:
        try:
            barrier.wait()
            accept_quote(actor=world.actor, quote_id=key, idempotency_key="k", now=at(1))
        except DomainError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        deleted, accepted = pool.submit(delete), pool.submit(accept)
    assert deleted.result() != accepted.result()
