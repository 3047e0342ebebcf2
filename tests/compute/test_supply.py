"""What a supplier sees of its pools."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mosu.compute.models import Blackout, Node, Pool
from mosu.compute.queries import utilisation_of
from mosu.compute.services import set_blackout, set_node_state
from mosu.compute.states import NodeState
from mosu.compute.stocks import stocks_of
from mosu.compute.supply import Promised, attempts_at, nodes_now, pool_at_work, promised_of
from mosu.kernel.refusals import NotFound
from mosu.kernel.time import Period, last_days
from mosu.platform.actors import ALL_SCOPES, Actor, ActorKind, Role
from mosu.wire.agent import DeviceInfo, NodeInfo
from tests.compute.test_streams import make_token
from tests.compute.world import (
    OPERATOR,
    World,
    at,
    attempt_of,
    buy,
    developer_of,
    lease,
    make_organisation,
    make_world,
    pool_of,
    register,
    task_of,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> World:
    return make_world(cores=4, cards=2)


def owner_of(pool: Pool) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        label="s",
        roles={pool.organisation_id: Role.OWNER},
        scopes=ALL_SCOPES,
        organisation_id=pool.organisation_id,
    )


def test_days_of_a_span_begin_at_the_hubs_midnight() -> None:
    span = last_days(2, now=NOW, zone=ZoneInfo("Asia/Shanghai"))
    assert span.end == NOW
    assert span.start.astimezone(ZoneInfo("Asia/Shanghai")).time().hour == 0
    assert timedelta(days=1) <= span.duration < timedelta(days=2)


def test_what_was_promised_of_a_pool(world: World) -> None:
    run = buy(world, task_of(cores=2, wall="30m"))
    span = Period(NOW, NOW + 4 * HOUR)
    run.attempts.get().allocations.update(live=False, released_at=NOW + HOUR)
    other = make_organisation("empty").id
    with CaptureQueriesContext(connection) as asked:
        found = promised_of([world.pool_id, other], span=span)
    assert len(asked) == 1
    assert found == {world.pool_id: Promised(cores=2 / 16, cards=0.0), other: Promised()}


def test_what_was_released_before_it_began_counts_nothing(world: World) -> None:
    run = buy(world, task_of(cores=2, wall="30m"))
    allocation = run.attempts.get().allocations.get()
    allocation.period = type(allocation.period)(NOW + 2 * HOUR, NOW + 3 * HOUR)
    allocation.live, allocation.released_at = False, NOW + HOUR
    allocation.save()
    span = Period(NOW, NOW + 4 * HOUR)
    assert promised_of([world.pool_id], span=span)[world.pool_id].cores == 0.0
    days = utilisation_of(OPERATOR, world.pool_id, span=span, zone=ZoneInfo("UTC"))
    assert [one.promised for one in days] == [0.0]


def test_cards_are_counted_beside_cores(world: World) -> None:
    run = buy(world, task_of(cores=1, wall="30m"))
    allocation = run.attempts.get().allocations.get()
    card = Node.objects.get().devices.get(index=1)
    allocation.devices.create(device=card, period=allocation.period)
    span = Period(NOW, NOW + 2 * HOUR)
    [day] = utilisation_of(OPERATOR, world.pool_id, span=span, zone=ZoneInfo("UTC"))
    assert (day.cards_promised, day.cards_capacity) == (2.0, 4.0)
    assert promised_of([world.pool_id], span=span)[world.pool_id].cards == 0.5
    now_at = nodes_now(list(Node.objects.all()), now=NOW)[Node.objects.get().id]
    assert now_at.cards == {1: attempt_of(run).id}


def test_what_runs_on_a_node_and_when_it_is_kept(world: World) -> None:
    run = buy(world, task_of(cores=3, wall="30m"))
    node = Node.objects.get()
    span = Period(NOW + 5 * HOUR, NOW + 6 * HOUR)
    blackout = set_blackout(actor=OPERATOR, node_id=node.id, period=span, why="new fans", now=NOW)
    with CaptureQueriesContext(connection) as asked:
        found = nodes_now([node], now=NOW)[node.id]
    assert len(asked) == 2
    assert (found.cores, [one.id for one in found.attempts]) == (3, [attempt_of(run).id])
    assert found.blackouts == [blackout]
    assert (found.blackout_at(NOW), found.blackout_at(span.start)) == (None, blackout)


def test_attempts_are_for_the_supplier_and_the_hub(world: World) -> None:
    run = buy(world)
    pool = pool_of(world)
    assert [one.id for one in attempts_at(owner_of(pool), pool.id)] == [attempt_of(run).id]
    assert attempts_at(OPERATOR, pool.id).count() == 1
    with pytest.raises(NotFound):
        attempts_at(developer_of(world.buyer), pool.id)
    assert pool_at_work(OPERATOR, pool.id) == (pool, 0, 1)
    assert lease(world, now=at(1)) is not None
    assert pool_at_work(OPERATOR, pool.id) == (pool, 1, 0)
    with pytest.raises(NotFound):
        pool_at_work(developer_of(world.buyer), pool.id)


@pytest.mark.urls("tests.compute.urls")
def test_blackouts_and_utilisation_over_http(client: Client) -> None:
    now = timezone.now()
    world = make_world(now=now)
    pool = pool_of(world)
    headers = make_token(world, organisation=pool.organisation, role="owner", scopes=("read", "manage"))
    node = Node.objects.get()

    def post(path: str, body: dict[str, Any], who: dict[str, str] = headers) -> Any:
        return client.post(f"/api/v1{path}", data=body, content_type="application/json", headers=who)

    start, end = now + HOUR, now + 2 * HOUR
    body = {"starts_at": start.isoformat(), "ends_at": end.isoformat(), "why": "new fans"}
    for organisation in (world.buyer, make_organisation("other")):
        who = make_token(world, organisation=organisation, role="owner", scopes=("read", "manage"))
        assert post(f"/nodes/{node.public_id}/blackouts", body, who).status_code == 404
        assert client.get(f"/api/v1/pools/{pool.public_id}/utilisation", headers=who).status_code == 404
        assert client.get("/api/v1/blackouts", headers=who).json()["items"] == []
    backwards = body | {"ends_at": (start - HOUR / 2).isoformat()}
    assert post(f"/nodes/{node.public_id}/blackouts", backwards).status_code == 422
    naive = body | {"starts_at": "2026-03-01T00:00:00"}
    assert post(f"/nodes/{node.public_id}/blackouts", naive).status_code == 422
    assert not Blackout.objects.exists()
    made = post(f"/nodes/{node.public_id}/blackouts", body)
    assert made.status_code == 201, made.content
    assert (made.json()["node"], made.json()["why"], made.json()["state"]) == (node.name, "new fans", "set")
    again = post(f"/nodes/{node.public_id}/blackouts", body)
    assert again.status_code == 409
    assert again.json()["until"] == Blackout.objects.get().period.upper.isoformat()
    listed = client.get(f"/api/v1/blackouts?pool={pool.public_id}", headers=headers).json()["items"]
    assert [one["id"] for one in listed] == [made.json()["id"]]
    days = client.get(f"/api/v1/pools/{pool.public_id}/utilisation?days=3", headers=headers).json()
    assert len(days) == 3
    assert days[-1]["core_hours_max"] > 0
    path = f"/api/v1/blackouts/{made.json()['id']}"
    stranger = make_token(world, role="owner", scopes=("read", "manage"))
    assert client.delete(path, headers=stranger).status_code == 404
    assert client.delete(path, headers=headers).json()["state"] == "lifted"
    assert client.get("/api/v1/blackouts", headers=headers).json()["items"] == []


def test_a_node_that_is_kept_or_drained_is_not_free_and_its_work_hides_no_other_nodes(world: World) -> None:
    """Two nodes: one with work that is then drained, one that is then kept."""
    buy(world, task_of(cores=2, wall="30m"))
    card = DeviceInfo(index=0, accelerator="nvidia-h100-sxm")
    both = [
        NodeInfo(name=name, cores=cores, memory_bytes=2**36, disk_bytes=2**38, devices=cards)
        for name, cores, cards in (
            ("n1", 4, (card, DeviceInfo(index=1, accelerator=card.accelerator))),
            ("n2", 8, (card,)),
        )
    ]
    register(world, nodes=tuple(both))
    busy, idle = Node.objects.order_by("name")

    def figures(seconds: float = 0) -> tuple[object, object]:
        now = at(seconds)
        found = stocks_of([world.pool_id], now=now)
        assert found == stocks_of(None, now=now)
        return found.get((world.pool_id, "")), found.get((world.pool_id, "nvidia-h100-sxm"))

    assert figures() == ((12, 2, 0), (3, 0, 0))
    set_node_state(actor=OPERATOR, node_id=busy.id, to=NodeState.DRAINING, why="", now=NOW)
    assert figures() == ((8, 0, 0), (1, 0, 0))
    set_blackout(actor=OPERATOR, node_id=idle.id, period=Period(at(60), at(120)), why="fans", now=NOW)
    assert figures(59) == ((8, 0, 0), (1, 0, 0))
    assert figures(60) == (None, None)
    assert figures(120) == ((8, 0, 0), (1, 0, 0))
