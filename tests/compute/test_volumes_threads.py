"""Two at once, with real transactions: room and writers are never given twice."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection, transaction

from mosu.compute import services
from mosu.compute.models import Pool, Volume, VolumeUse
from mosu.compute.services import QuotaReached, SoldOut, VolumeInUse
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError
from mosu.market.services import accept_quote
from tests.compute.snapshots import make_whole, quote_snapshot
from tests.compute.volumes import buy_volume, make_volume_world, quote_volume, stranger_to, task_with
from tests.compute.world import OPERATOR, World, at, quote
from tests.conftest import NOW
from tests.patience import PATIENCE_S

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


def somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "select exists (select from pg_locks"
            " where not granted and pg_backend_pid() = any (pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.parametrize("restores", [True, False])
def test_who_copies_waits_for_a_heartbeat_without_what_that_will_lock(restores: bool) -> None:
    """A heartbeat has the pool and goes on to the volumes whose copies ended: whoever had those would wait for it."""
    world = make_volume_world()
    volume = buy_volume(world)
    snapshot = make_whole(world, volume)
    asked = quote_snapshot(world, volume, "second").id

    def copy() -> None:
        try:
            if restores:
                services.restore_volume(
                    actor=world.actor, volume_id=volume.id, snapshot_id=snapshot.id, now=NOW
                )
            else:
                accept_quote(actor=world.actor, quote_id=asked, idempotency_key="k", now=NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            list(Pool.objects.select_for_update(no_key=True).filter(id=volume.pool_id))
            copying = pool.submit(copy)
            until = time.monotonic() + PATIENCE_S
            while not somebody_waits_for_us():
                assert not copying.done() and time.monotonic() < until
                time.sleep(0.01)
            rows = Volume.objects.select_for_update(no_key=True, nowait=True)
            assert len(rows.filter(id__in=[volume.id, snapshot.id])) == 2
        copying.result()
