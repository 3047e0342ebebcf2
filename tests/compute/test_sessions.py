"""Sessions: sold where people can be joined to them alone, handed out as such, and reachable while they run."""

import json
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Run
from mosu.compute.queries import run_visible_to
from mosu.compute.requests import RunRequest
from mosu.compute.services import register_agent
from mosu.compute.shapes import RunOut
from mosu.platform.actors import Role
from mosu.wire.agent import NodeInfo, Registration
from tests.compute.blocks import DAY, buy_block, make_block_world
from tests.compute.sessions import SESSION, make_session
from tests.compute.world import (
    GIB,
    at,
    attempt_of,
    beat,
    buy,
    lease,
    make_organisation,
    make_world,
    pool_of,
    quote,
    register,
    report,
    started,
    task_of,
)
from tests.conftest import NOW
from tests.platform.factories import bearer, make_member

pytestmark = pytest.mark.django_db


def test_a_session_is_handed_out_as_one_and_a_batch_is_not() -> None:
    world = make_world()
    register(world, reaches=True)
    for text, is_session in ((SESSION, True), (task_of(), False)):
        run = buy(world, text)
        assert run.request["kind"] == ("session" if is_session else "batch")
        found = lease(world, now=at(1))
        assert found is not None
        assert found.spec.session is is_session
        assert len(found.spec.nodes) == 1
        beat(world, attempt_of(run), "running", now=at(1))


def test_what_was_bought_before_there_were_sessions_is_a_batch() -> None:
    run = buy(make_world())
    old = {key: value for key, value in run.request.items() if key != "kind"}
    assert not RunRequest.of_json(old).is_reached
    Run.objects.filter(id=run.id).update(request=old)
    seen = run_visible_to(make_member(run.organisation, Role.VIEWER), run.id)
    assert RunOut.all_of([seen], language="en", now=NOW)[0].kind == "batch"


def test_a_pool_that_joins_nobody_to_anything_sells_no_session() -> None:
    """As its agent says, which may come to say otherwise."""
    world = make_world()
    refused = quote(world, SESSION)
    assert not refused.quotes
    [reason] = refused.refused[0].reasons
    assert (reason.code, reason.message) == ("no_sessions", "has no way to the ports of a session or service")
    assert any(group.codes == frozenset({"no_sessions"}) for group in refused.refused_groups)
    assert quote(world, task_of()).quotes
    register(world, reaches=True)
    assert pool_of(world).reaches
    assert quote(world, SESSION).quotes
    register(world)
    assert not pool_of(world).reaches
    assert not quote(world, SESSION).quotes


def test_sessions_go_to_the_nodes_where_people_come_and_no_other_ends_them(settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    world = make_world()
    first, second = (
        NodeInfo(name=name, cores=1, memory_bytes=64 * GIB, disk_bytes=200 * GIB, reached=name == "n2")
        for name in ("n1", "n2")
    )
    register(world, reaches=True, nodes=(first, second))
    run, next_one, batch = buy(world, SESSION), buy(world, SESSION), buy(world, task_of(cores=1))
    assert [one.attempts.get().allocations.get().node.name for one in (run, next_one, batch)] == [
        "n2",
        "n2",
        "n1",
    ]
    assert lease(world, now=NOW) is not None
    beat(world, attempt_of(run), "running", now=NOW)
    assert url_of(run, now=NOW) is not None
    register(world, reaches=True, nodes=(first, second.model_copy(update={"reached": False})))
    assert url_of(run, now=NOW) is not None, "as long as its agent joins anybody"
    refused = quote(world, SESSION)
    assert [
        (reason.code, "people come to a session" in reason.message)
        for one in refused.refused
        for reason in one.reasons
    ] == [("no_nodes", True)]
    register(world, reaches=True, nodes=(first.model_copy(update={"reached": True}), second))
    assert quote(world, SESSION).quotes, "once it is met"


def test_so_it_is_inside_a_block_of_such_a_pool() -> None:
    world = make_block_world(cards=0)
    block = buy_block(world, start=NOW + DAY, hours=24, per_node=8)
    inside = SESSION.replace("kind: session", f"kind: session, block: {block.public_id}")
    refused = quote(world, inside)
    assert not refused.quotes
    assert [reason.code for one in refused.refused for reason in one.reasons] == ["no_sessions"]
    register(world, cores=32, reaches=True)
    assert buy(world, inside).request["kind"] == "session"


@pytest.mark.parametrize(
    ("relay", "tunnel"),
    [
        ("", ""),
        ("https://relay.example.org", "wss://relay.example.org/agent/v1/tunnel"),
        ("http://127.0.0.1:8001/", "ws://127.0.0.1:8001/agent/v1/tunnel"),
    ],
)
def test_an_agent_hears_where_its_tunnel_goes(relay: str, tunnel: str, settings: Any) -> None:
    settings.MOSU_RELAY_URL = relay
    world = make_world()
    registration = Registration(
        agent_version="1", engine="local", clock_at=NOW, nodes=(), sandbox="x", sandbox_ok=True
    )
    told = register_agent(actor=world.agent, registration=registration, now=NOW)
    assert told.tunnel_url == tunnel


def url_of(run: Run, *, now: datetime) -> str | None:
    row = run_visible_to(make_member(run.organisation, Role.VIEWER), run.id)
    return RunOut.all_of([row], language="en", now=now)[0].connect_url


def test_a_run_says_where_it_is_connected_to_while_it_can_be(settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    world = make_world()
    register(world, reaches=True)
    run = buy(world, SESSION)
    assert url_of(run, now=NOW) is None  # it waits
    assert lease(world, now=NOW) is not None
    assert url_of(run, now=NOW) is None  # it is made ready
    beat(world, attempt_of(run), "running", now=NOW)
    assert url_of(run, now=NOW) == f"wss://relay.example.org/api/v1/runs/{run.public_id}/connect"
    assert url_of(run, now=at(60)) is None  # nobody has heard of its pool
    register(world)
    assert url_of(run, now=NOW) is None  # its agent joins nobody any more
    register(world, reaches=True)
    assert url_of(run, now=NOW) is not None
    settings.MOSU_RELAY_URL = ""
    assert url_of(run, now=NOW) is None
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    report(world, attempt_of(run), now=at(1))
    assert url_of(run, now=at(1)) is None  # it has ended


def test_nobody_connects_to_a_batch(settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    world = make_world()
    register(world, reaches=True)
    run, _ = started(world)
    assert url_of(run, now=NOW) is None


@pytest.mark.urls("tests.compute.urls")
def test_runs_and_their_connections_over_http(client: Client, settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    now = timezone.now()
    session = make_session(now=now)
    headers = bearer(session.person)
    path = f"/api/v1/runs/{session.run.public_id}"
    run = client.get(path, headers=headers).json()
    assert (run["kind"], run["connect_url"]) == ("session", f"wss://relay.example.org{path}/connect")
    assert client.get("/api/v1/runs", headers=headers).json()["items"] == [run]
    assert client.get(f"{path}/connections", headers=headers).json() == {"items": [], "next": None}
    ports = [8888, 6006, 22]
    for port in ports:
        session.join(port=port, now=now)
    first = client.get(f"{path}/connections?limit=2", headers=headers).json()
    rest = client.get(f"{path}/connections?limit=2&cursor={first['next']}", headers=headers).json()
    assert [one["port"] for one in [*first["items"], *rest["items"]]] == ports[::-1]
    assert rest["next"] is None
    shown = rest["items"][0]
    assert (shown["user"], shown["closed_at"], shown["why"]) == (session.person.label, None, "")
    assert (shown["bytes_in"], shown["bytes_out"]) == (0, 0)
    assert "secret" not in json.dumps(shown)


@pytest.mark.urls("tests.compute.urls")
def test_another_organisation_sees_no_connections(client: Client) -> None:
    session = make_session(now=timezone.now())
    session.join(now=timezone.now())
    stranger = make_member(make_organisation("stranger"), Role.OWNER)
    path = f"/api/v1/runs/{session.run.public_id}/connections"
    assert client.get(path, headers=bearer(stranger)).status_code == 404
    assert client.get(path, headers=bearer(session.person)).status_code == 200
