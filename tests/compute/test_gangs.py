"""Runs of several nodes: distinct nodes, all at one time, priced and bounded by all of them; and `A|B` at the hub."""

from datetime import timedelta

import pytest

from mosu.compute.models import Allocation, DeviceAllocation
from mosu.compute.placement import GIB
from mosu.market.models import OrderLine
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.wire.agent import DeviceInfo, NodeInfo
from tests.compute.world import (
    World,
    accept,
    at,
    attempt_of,
    beat,
    lease,
    make_world,
    pool_of,
    quote,
    register,
    report,
    use,
)

pytestmark = pytest.mark.django_db

TASK = "num_nodes: {nodes}\nresources: {{accelerators: {cards}, cpus: 4}}\nrun: train\nmosu: {{wall_limit: 1h}}\n"


def make_cluster(*kinds: str) -> World:
    """A pool with a node of four cards of each kind, and an offer for each kind."""
    world = make_world(cores=32, balance=10_000_000_000)
    nodes = tuple(
        NodeInfo(
            name=f"n{number}",
            cores=32,
            memory_bytes=64 * GIB,
            disk_bytes=200 * GIB,
            devices=tuple(DeviceInfo(index=index, accelerator=kind) for index in range(4)),
        )
        for number, kind in enumerate(kinds, 1)
    )
    register(world, nodes=nodes)
    pool = pool_of(world)
    for price, kind in enumerate(dict.fromkeys(kinds), 20):
        create_offer(
            actor=SYSTEM,
            now=at(0),
            spec=OfferSpec(
                supplier_id=pool.organisation_id,
                shelf="compute",
                subject_id=pool.id,
                title_zh=kind,
                title_en=kind,
                max_units=16,
                wall_s_max=86_400,
                prices=[
                    PriceSpec(meter="card_second", unit="card_hour", unit_price_micros=price * 1_000_000)
                ],
                attributes={"accelerator": kind, "domestic": False},
            ),
        )
    return world


def test_a_gang_has_a_share_of_each_of_its_nodes() -> None:
    world = make_cluster(*["nvidia-h100-sxm"] * 3)
    result = quote(world, TASK.format(nodes=2, cards="H100:4"))
    assert [one.total_max_micros for one in result.quotes] == [2 * 4 * 20_000_000]
    run = accept(world, result.quotes[0].id)
    held = list(Allocation.objects.filter(live=True).order_by("id"))
    assert len({one.node_id for one in held}) == 2
    assert {(one.cores, one.period) for one in held} == {(4, held[0].period)}
    assert DeviceAllocation.objects.filter(live=True).count() == 8
    assert OrderLine.objects.get(order_id=run.order_id).units == 8
    found = lease(world, now=at(1))
    assert found is not None
    assert len(set(found.spec.nodes)) == 2
    assert found.spec.devices == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert (found.spec.accelerator, found.spec.cores) == ("nvidia-h100-sxm", 4)
    report(world, attempt_of(run), now=at(10))
    assert not Allocation.objects.filter(live=True).exists()
    assert not DeviceAllocation.objects.filter(live=True).exists()


def test_a_gang_waits_until_all_its_nodes_are_free_at_one_time() -> None:
    world = make_cluster(*["nvidia-h100-sxm"] * 3)
    two = quote(world, TASK.format(nodes=2, cards="H100:4"))
    accept(world, two.quotes[0].id)
    again = quote(world, TASK.format(nodes=2, cards="H100:4"), now=at(2)).quotes[0]
    assert again.starts_at - at(0) > timedelta(hours=1)
    one = quote(world, TASK.format(nodes=1, cards="H100:4"), now=at(2)).quotes[0]
    assert one.starts_at == at(2)


def test_too_large_a_gang_is_refused_with_numbers_and_holds_nothing() -> None:
    world = make_cluster(*["nvidia-h100-sxm"] * 3)
    result = quote(world, TASK.format(nodes=4, cards="H100:4"))
    assert not result.quotes
    message = {one.title_en: one.reasons[0].message for one in result.refused}["nvidia-h100-sxm"]
    assert "on each of 4 nodes; 3 of this pool's 3 nodes are so large" in message
    assert not Allocation.objects.exists()


def test_a_pool_whose_nodes_share_no_network_sells_one_node_at_a_time() -> None:
    """As its agent says, which may come to say otherwise."""
    world = make_cluster(*["nvidia-h100-sxm"] * 3)
    nodes = tuple(
        NodeInfo(
            name=node.name,
            cores=node.cores,
            memory_bytes=node.memory_bytes,
            disk_bytes=node.disk_bytes,
            devices=tuple(DeviceInfo(index=card, accelerator="nvidia-h100-sxm") for card in range(4)),
        )
        for node in pool_of(world).nodes.order_by("name")
    )
    register(world, nodes=nodes, spans_nodes=False)
    apart = quote(world, TASK.format(nodes=2, cards="H100:4"))
    assert not apart.quotes
    [reason] = {one.title_en: one.reasons for one in apart.refused}["nvidia-h100-sxm"]
    assert (reason.code, reason.message) == ("no_network", "has no network between its nodes")
    assert any(group.codes == frozenset({"no_network"}) for group in apart.refused_groups)
    assert quote(world, TASK.format(nodes=1, cards="H100:4")).quotes
    assert not Allocation.objects.exists()
    register(world, nodes=nodes, spans_nodes=True)
    assert quote(world, TASK.format(nodes=2, cards="H100:4")).quotes


def test_usage_of_a_gang_is_bounded_by_all_its_cores() -> None:
    world = make_world(cores=4)
    node = NodeInfo(name="n1", cores=4, memory_bytes=64 * GIB, disk_bytes=200 * GIB)
    register(world, nodes=(node, node.model_copy(update={"name": "n2"})))
    run = accept(world, quote(world, "num_nodes: 2\nresources: {cpus: 3}\nrun: x\n").quotes[0].id)
    assert OrderLine.objects.get(order_id=run.order_id).units == 6
    assert lease(world, now=at(1)) is not None
    attempt = attempt_of(run)
    beat(world, attempt, "running", now=at(1))
    beat(world, attempt, "running", now=at(101))
    assert use(world, attempt, 6 * 100, since=at(1), now=at(101)).quarantined == 0
    assert use(world, attempt, 6 * 100, since=at(1), now=at(101), sequence=1).quarantined == 1


@pytest.mark.parametrize("cards", ["{H100: 2, A100: 4}", "['H100:2', 'A100:4']"])
def test_any_of_several_accelerators_will_do_each_with_its_own_count(cards: str) -> None:
    world = make_cluster("nvidia-h100-sxm", "nvidia-a100-80g")
    result = quote(world, TASK.format(nodes=1, cards=cards))
    prices = {one.offer.title_en: one.total_max_micros for one in result.quotes}
    assert prices == {"nvidia-h100-sxm": 40_000_000, "nvidia-a100-80g": 84_000_000}
    cheapest = next(one for one in result.quotes if one.offer.title_en == "nvidia-h100-sxm")
    run = accept(world, cheapest.id)
    assert (run.request["accelerator"], run.request["cards"]) == ("nvidia-h100-sxm", 2)
    refused = [one.reasons[0].code for one in result.refused]
    assert set(refused) <= {"other_accelerator"}
