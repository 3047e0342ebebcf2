"""Whole cards: sold by the card, and never one of them twice, by placement and by the database."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from mosu.compute import services
from mosu.compute.models import Device, DeviceAllocation
from mosu.compute.placement import GIB, Need, Placement
from mosu.compute.services.capacity import allocate, find_place, release
from mosu.kernel.refusals import Invalid
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.wire.agent import DeviceInfo, NodeInfo
from tests.compute.world import (
    World,
    accept,
    at,
    attempt_of,
    buy,
    lease,
    make_world,
    pool_of,
    quote,
    register,
    report,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db

TASK = "resources: {accelerators: 'H100:3', cpus: 4}\nrun: train\nmosu: {wall_limit: 1h}\n"


def make_cards_world() -> World:
    world = make_world(cores=32, cards=4)
    pool = pool_of(world)
    create_offer(
        actor=SYSTEM,
        now=NOW,
        spec=OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=pool.id,
            title_zh="H100",
            title_en="H100",
            max_units=8,
            wall_s_max=86_400,
            prices=[PriceSpec(meter="card_second", unit="card_hour", unit_price_micros=20_000_000)],
            attributes={"accelerator": "nvidia-h100-sxm", "domestic": False},
        ),
    )
    return world


def test_cards_are_leased_by_index_and_priced_by_the_hour() -> None:
    world = make_cards_world()
    result = quote(world, TASK)
    assert [one.total_max_micros for one in result.quotes] == [60_000_000]
    assert [reason.code for reason in result.refused[0].reasons] == ["other_accelerator"]
    run = accept(world, result.quotes[0].id)
    found = lease(world, now=at(1))
    assert found is not None
    assert found.spec.devices == ((0, 1, 2),)
    again = quote(world, TASK, now=at(2)).quotes[0]
    assert again.starts_at > at(3600)
    report(world, attempt_of(run), now=at(10))
    assert quote(world, TASK, now=at(11)).quotes[0].starts_at == at(11)


def test_the_database_refuses_a_card_twice() -> None:
    world = make_cards_world()
    buy(world, TASK)
    held = DeviceAllocation.objects.filter(live=True)[0]
    with pytest.raises(IntegrityError, match="device_never_twice"), transaction.atomic():
        DeviceAllocation.objects.create(
            allocation=held.allocation, device=held.device, period=held.period, live=True
        )
    DeviceAllocation.objects.create(
        allocation=held.allocation, device=held.device, period=held.period, live=False
    )


def test_a_card_that_the_agent_no_longer_lists_is_not_sold() -> None:
    world = make_cards_world()
    register(world, cores=32, cards=2)
    assert Device.objects.filter(present=False).count() == 2
    refused = {one.title_en: one.reasons[0].code for one in quote(world, TASK).refused}
    assert refused["H100"] == "too_large"


@pytest.mark.parametrize(
    "devices",
    [
        (DeviceInfo(index=0, accelerator="abacus"),),
        (DeviceInfo(index=0, accelerator="nvidia-l20"), DeviceInfo(index=0, accelerator="nvidia-l20")),
    ],
)
def test_a_bad_inventory_changes_nothing(devices: tuple[DeviceInfo, ...]) -> None:
    world = make_cards_world()
    node = NodeInfo(name="n1", cores=1, memory_bytes=1, disk_bytes=1, devices=devices)
    with pytest.raises(Invalid):
        register(world, nodes=(node,))
    assert pool_of(world).nodes.get().cores == 32
    assert Device.objects.filter(present=True).count() == 4
    assert services.ensure_local_pool(now=NOW)[1] is None


def test_a_decision_asks_exactly_this_much(django_assert_num_queries: Callable[[int], Any]) -> None:
    """The pool's lock, its nodes, what is taken of them; then all rows of one kind in one statement, and back."""
    world = make_cards_world()
    run = accept(world, quote(world, TASK).quotes[0].id)
    attempt = attempt_of(run)
    assert attempt.run.id == run.id  # read beforehand, as whoever places it has done
    need = Need(cores=4, memory_bytes=GIB, disk_bytes=0, accelerator="nvidia-h100-sxm", cards=3)
    with django_assert_num_queries(1):
        assert release(attempt.id, now=at(1))
    assert not release(attempt.id, now=at(1))
    assert DeviceAllocation.objects.filter(live=True).count() == 0
    with django_assert_num_queries(3):
        found = find_place(
            pool_id=world.pool_id,
            need=need,
            earliest=at(1),
            latest=at(1),
            duration=timedelta(hours=1),
            now=at(1),
        )
    assert isinstance(found, Placement)
    with django_assert_num_queries(2):
        allocate(attempt=attempt, need=need, placement=found)
    taken = DeviceAllocation.objects.filter(live=True, allocation__attempt=attempt)
    assert taken.count() == 3
    assert {(one.period.lower, one.period.upper) for one in taken} == {(at(1), at(3601))}
