"""The data plane as an agent and a person see it: real requests, real transactions, real notifications."""

import asyncio
import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from starlette.applications import Starlette

from mosu.compute import services, streams
from mosu.compute.models import Run
from mosu.compute.streams import listener, routes
from mosu.kernel.ids import uuid7
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.models import ApiToken, Membership, User
from mosu.platform.policy import POLICY
from mosu.store.services import ManifestEntry
from tests.compute.world import (
    World,
    accept,
    attempt_of,
    buy,
    make_organisation,
    make_world,
    pool_of,
    quote,
    sha256,
    task_of,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for httpx2, which nothing else here needs
    from starlette.testclient import TestClient


@asynccontextmanager
async def _lifespan(app: Starlette) -> Any:
    async with listener:
        yield


@pytest.fixture
def client(fresh_db, settings, tmp_path) -> Iterator[TestClient]:
    settings.DATA_DIR = tmp_path
    with TestClient(Starlette(routes=routes, lifespan=_lifespan), raise_server_exceptions=False) as client:
        yield client


def make_token(
    world: World,
    *,
    organisation: Any = None,
    role: str = "developer",
    scopes: Sequence[str] = ("read", "buy"),
) -> dict[str, str]:
    """A developer's token, if no other role is named."""
    organisation = organisation or world.buyer
    now = timezone.now()
    user = User.objects.create_user(email=f"{uuid7().hex}@example.org")
    Membership.objects.create(organisation=organisation, user=user, role=role, created_at=now)
    secret = f"mosu_{uuid7().hex}"
    ApiToken.objects.create(
        user=user,
        organisation=organisation,
        name="t",
        secret_sha256=sha256(secret.encode()),
        scopes=list(scopes),
        created_at=now,
        expires_at=now + timedelta(days=365),
    )
    return {"Authorization": f"Bearer {secret}"}


def agent_of(world: World) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.token}"}


def now_text() -> str:
    return timezone.now().isoformat()


def test_every_stream_names_an_action_of_the_policy() -> None:
    assert [route.path for route in routes if getattr(route.endpoint, ATTRIBUTE, "") not in POLICY] == []


def test_a_run_through_the_agents_messages(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    agent, person = agent_of(world), make_token(world)
    source = b"print('hello')"
    assert client.post("/api/v1/blobs/missing", headers=person, json={"sha256": [sha256(source)]}).json() == {
        "missing": [sha256(source)]
    }
    sent = client.put(f"/api/v1/blobs/{sha256(source)}", headers=person, content=source)
    again = client.put(f"/api/v1/blobs/{sha256(source)}", headers=person, content=source)
    assert (sent.status_code, again.status_code) == (201, 200)
    entry = ManifestEntry(path="main.py", sha256=sha256(source), size_bytes=len(source))
    found = quote(world, task_of(), now=timezone.now(), workdir=[entry])
    run = accept(world, found.quotes[0].id, now=timezone.now())

    leased = client.post("/agent/v1/lease?wait_s=5", headers=agent, json={})
    assert leased.status_code == 200, leased.text
    spec = leased.json()["spec"]
    assert [file["path"] for file in spec["workdir"]] == ["main.py"]
    assert set(spec) & {"session", "service", "volumes", "accelerator", "secrets"} == set(), (
        "older agents read on"
    )
    assert client.get(f"/agent/v1/blobs/{sha256(source)}", headers=agent).content == source
    attempt = spec["attempt_id"]
    status = {"attempt_id": attempt, "epoch": 1, "phase": "running", "started_at": now_text()}
    beat = client.post(
        "/agent/v1/heartbeat", headers=agent, json={"clock_at": now_text(), "attempts": [status]}
    )
    assert beat.json() == {}
    log = client.post(
        f"/agent/v1/attempts/{attempt}/log", headers=agent, json={"offset": 0, "text": "你好\n"}
    )
    assert log.json() == {"next_offset": 7}
    weights = b"\x00\x01"
    put = client.put(f"/agent/v1/attempts/{attempt}/blobs/{sha256(weights)}", headers=agent, content=weights)
    assert put.status_code == 201, put.text
    report = {
        "epoch": 1,
        "phase": "succeeded",
        "exit_code": 0,
        "started_at": now_text(),
        "ended_at": now_text(),
        "measures": {"cpu_s": 1.0, "wall_s": 1.0, "memory_peak_bytes": 1, "memory_source": "sampled"},
        "log_bytes": 7,
        "outputs": [{"path": "out/w.bin", "sha256": sha256(weights), "size_bytes": 2}],
        "copied_out": {"size_bytes": 2_000_000, "took_ms": 10},
    }
    reported = client.post(f"/agent/v1/attempts/{attempt}/report", headers=agent, json=report)
    assert reported.json()["settled"] is True, reported.text
    assert (pool_of(world).copied_in, pool_of(world).copied_out) == ((0, 0), (2_000_000, 10))

    got = client.get(f"/api/v1/runs/{run.public_id}/log", headers=person)
    assert (got.text, got.headers["X-Next-Offset"], got.headers["X-Ended"]) == ("你好\n", "7", "true")
    output = client.get(f"/api/v1/runs/{run.public_id}/outputs/out/w.bin", headers=person)
    assert (output.content, output.headers["ETag"]) == (weights, f'"{sha256(weights)}"')
    stranger = make_token(world, organisation=make_organisation("stranger"))
    for path in ("log", "outputs/out/w.bin"):
        assert client.get(f"/api/v1/runs/{run.public_id}/{path}", headers=stranger).status_code == 404
    assert client.get(f"/agent/v1/blobs/{sha256(source)}", headers=agent).status_code == 404


def test_a_waiting_lease_hears_of_an_order_at_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks only when it is told: by itself it would not look again before its time is over."""
    monkeypatch.setattr(streams, "LOOK_AGAIN_S", 600)
    world = make_world(now=timezone.now())
    asleep = threading.Event()
    waited, answers = streams._waited, []

    async def falls_asleep(woken: asyncio.Event, limit_s: float) -> None:
        asleep.set()
        await waited(woken, limit_s)

    monkeypatch.setattr(streams, "_waited", falls_asleep)
    waiter = threading.Thread(
        target=lambda: answers.append(
            client.post("/agent/v1/lease?wait_s=55", headers=agent_of(world), json={})
        )
    )
    waiter.start()
    assert asleep.wait(60)
    run = buy(world, now=timezone.now())
    waiter.join(120)
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].json()["spec"]["run_id"] == run.public_id


def test_nothing_to_do_is_204(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    assert client.post("/agent/v1/lease?wait_s=0", headers=agent_of(world), json={}).status_code == 204


@pytest.mark.parametrize("said", ["\u00b2", "9" * 5000, "-1", "x"])
def test_a_last_event_id_that_is_none_of_ours_counts_as_none(client: TestClient, said: str) -> None:
    world = make_world(now=timezone.now())
    run = buy(world, now=timezone.now())
    headers = make_token(world) | {"Last-Event-ID": said.encode("latin-1")}
    answer = client.get(f"/api/v1/runs/{run.public_id}/log?offset=7", headers=headers)
    assert (answer.status_code, answer.headers["X-Next-Offset"]) == (200, "7")


def test_following_a_log_ends_with_the_run(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    person = make_token(world)
    run = buy(world, now=timezone.now())
    services.cancel_run(actor=world.actor, run_id=run.id, now=timezone.now())
    with client.stream("GET", f"/api/v1/runs/{run.public_id}/log?follow=true", headers=person) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[0] == "event: state"
    assert json.loads(lines[1].removeprefix("data: ")) == {"state": "cancelled"}
    assert lines[2] == "event: end"


def test_following_a_log_ends_with_what_let_its_reader_in(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on; the member who follows it is removed while they wait for more, and reads no more."""
    world = make_world(now=timezone.now())
    person, members, waits = make_token(world), Membership.objects.filter(role="developer"), []

    async def removed(woken: asyncio.Event, seconds: float) -> bool:
        waits.append(await streams.in_thread(members.delete))
        if len(waits) > 3:
            raise RuntimeError("it reads on")
        return False

    run = buy(world, now=timezone.now())
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0)
    monkeypatch.setattr(streams, "_waited", removed)
    with client.stream("GET", f"/api/v1/runs/{run.public_id}/log?follow=true", headers=person) as response:
        lines = [line for line in response.iter_lines() if line.startswith("event:")]
    assert (lines, len(waits)) == (["event: state"], 1)


@pytest.mark.parametrize(
    ("method", "path"), [(method, route.path) for route in routes for method in route.methods - {"HEAD"}]
)
def test_without_a_token_nobody_enters(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path.replace("{path:path}", "x"))
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"


def test_a_persons_token_is_no_agents_and_the_other_way_round(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    asked = client.post("/agent/v1/lease", headers=make_token(world), json={})
    uploaded = client.put(f"/api/v1/blobs/{'0' * 64}", headers=agent_of(world), content=b"")
    assert (asked.status_code, uploaded.status_code) == (401, 401)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/agent/v1/lease?wait_s=x", "{}"),
        ("/agent/v1/lease", "{"),
        ("/agent/v1/lease", '{"colour": 1}'),
        ("/agent/v1/heartbeat", "{}"),
        ("/agent/v1/usage", '{"records": [{}]}'),
        ("/agent/v1/attempts/nonsense/log", '{"offset": 0, "text": ""}'),
        ("/agent/v1/attempts/nonsense/log", '{"offset": -1, "text": ""}'),
    ],
)
def test_bad_messages_are_problems(client: TestClient, path: str, body: str) -> None:
    world = make_world(now=timezone.now())
    response = client.post(path, headers=agent_of(world), content=body)
    assert response.status_code in (404, 422)
    assert response.json()["type"].startswith("urn:mosu:")


def test_what_is_too_large_or_not_what_it_says_is_not_kept(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    person = make_token(world)
    wrong = client.put(f"/api/v1/blobs/{'0' * 64}", headers=person, content=b"other")
    bad = client.put("/api/v1/blobs/..%2f..%2fetc", headers=person, content=b"x")
    large = client.post("/agent/v1/lease", headers=agent_of(world), content=b" " * (5 << 20))
    assert (wrong.status_code, bad.status_code, large.status_code) == (422, 404, 413)
    missing = client.post("/api/v1/blobs/missing", headers=person, json={"sha256": ["0" * 64]})
    assert missing.json() == {"missing": ["0" * 64]}


def test_what_another_organisation_uploaded_is_missing_here(client: TestClient) -> None:
    world = make_world(now=timezone.now())
    client.put(f"/api/v1/blobs/{sha256(b'secret')}", headers=make_token(world), content=b"secret")
    stranger = make_token(world, organisation=make_organisation("stranger"))
    asked = client.post("/api/v1/blobs/missing", headers=stranger, json={"sha256": [sha256(b"secret")]})
    assert asked.json() == {"missing": [sha256(b"secret")]}


def test_no_core_is_sold_twice_to_those_who_come_together(client: TestClient) -> None:
    """Ten buyers with ready quotes for two cores each, on a node of six: three get them."""
    world = make_world(cores=6, now=timezone.now())
    quotes = [quote(world, task_of(cores=2), now=timezone.now()).quotes[0].id for _ in range(10)]
    outcomes: list[str] = []

    def take(quote_id: Any) -> None:
        try:
            accept(world, quote_id, now=timezone.now())
            outcomes.append("bought")
        except services.SoldOut:
            outcomes.append("sold out")
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=(quote_id,)) for quote_id in quotes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(outcomes) == ["bought"] * 3 + ["sold out"] * 7
    assert Run.objects.count() == 3
    assert sum(attempt_of(run).allocations.get().cores for run in Run.objects.all()) == 6
