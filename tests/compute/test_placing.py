"""Pack or spread: the supplier's choice of how single runs are placed changes where they go, and nothing else."""

import pytest
from django.test import Client

from mosu.compute import services
from mosu.compute.models import Allocation, Pool
from mosu.compute.placement import GIB
from mosu.compute.states import Placing
from mosu.kernel.refusals import Forbidden
from mosu.platform.actors import SYSTEM
from mosu.platform.models import AuditRecord
from mosu.wire.agent import NodeInfo
from tests.compute.test_api import post
from tests.compute.test_streams import make_token
from tests.compute.world import World, at, buy, make_world, pool_of, register

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]


@pytest.fixture
def world() -> World:
    world = make_world(cores=8)
    nodes = tuple(
        NodeInfo(name=f"n{number}", cores=8, memory_bytes=64 * GIB, disk_bytes=200 * GIB, devices=())
        for number in (1, 2, 3)
    )
    register(world, nodes=nodes)
    return world


def nodes_of_three_runs(world: World) -> int:
    """On how many nodes three small runs are put."""
    runs = [buy(world, cores=2, now=at(index)) for index in range(3)]
    rows = Allocation.objects.filter(attempt__run__in=runs)
    return len(set(rows.values_list("node", flat=True)))


def test_runs_are_packed_unless_the_supplier_spreads_them(world: World) -> None:
    assert pool_of(world).placing == Placing.PACK
    assert nodes_of_three_runs(world) == 1


def test_a_pool_that_spreads_puts_each_run_on_a_node_of_its_own(world: World) -> None:
    services.set_placing(actor=SYSTEM, pool_id=world.pool_id, to=Placing.SPREAD, now=at(0))
    services.set_placing(actor=SYSTEM, pool_id=world.pool_id, to=Placing.SPREAD, now=at(1))
    assert nodes_of_three_runs(world) == 3
    assert AuditRecord.objects.filter(action="pool.placing").count() == 1


def test_only_its_supplier_chooses(client: Client, world: World) -> None:
    with pytest.raises(Forbidden):
        services.set_placing(actor=world.actor, pool_id=world.pool_id, to=Placing.SPREAD, now=at(0))
    assert pool_of(world).placing == Placing.PACK
    path = f"/pools/{pool_of(world).public_id}/placing"
    stranger = make_token(world, role="owner", scopes=("read", "manage"))
    assert post(client, path, stranger, {"placing": "spread"}).status_code == 404
    supplier = pool_of(world).organisation
    headers = make_token(world, organisation=supplier, role="owner", scopes=("read", "manage"))
    assert post(client, path, headers, {"placing": "heap"}).status_code == 422
    answer = post(client, path, headers, {"placing": "spread"})
    assert (answer.status_code, answer.json()["placing"]) == (200, "spread")
    assert Pool.objects.get().placing == Placing.SPREAD
