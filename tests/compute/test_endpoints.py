"""Making, changing and ending endpoints, and their keys: by services and over HTTP; whoever may not is refused."""

import hashlib
import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost, endpoint_at
from mosu.compute.endpoint_figures import figures_of, latency_ms
from mosu.compute.models import Endpoint, EndpointKey, EndpointMinute, EndpointRequest, Replica, Run
from mosu.compute.services import EndpointEnded, EndpointNameTaken, NoAppsHost, TooManyEndpoints
from mosu.compute.services import endpoints as rooms
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.market.models import Receipt
from mosu.market.papers import paper_of_receipt
from mosu.platform.actors import HubRole, Role
from mosu.platform.models import AuditRecord, User
from mosu.platform.services import KeyReused
from mosu.wire.agent import Measures
from mosu.wire.task import ReplicaNeed, parse_task
from tests.compute.endpoints import Hub, later, make_hub
from tests.compute.world import make_organisation, report
from tests.conftest import NOW
from tests.market.test_papers import text_of
from tests.platform.factories import bearer, make_member, make_staff

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.compute.urls")]


@pytest.fixture
def hub(settings: Any) -> Hub:
    return make_hub(settings)


def test_an_endpoint_has_its_address_and_what_its_task_says(hub: Hub) -> None:
    made = hub.make("health: /up, auth: public, replicas: {min: 2, max: 4, requests: 8, idle: 5m}")
    assert endpoint_at(EndpointHost(made.label).netloc) == EndpointHost(made.label)
    assert (made.port, made.health, made.auth, made.version) == (8000, "/up", "public", 1)
    assert (made.replicas_min, made.replicas_max, made.requests_per_replica, made.idle_s) == (2, 4, 8, 300)
    assert AuditRecord.objects.get(action="endpoint.made", subject_id=made.id).after == "open"


def test_made_again_with_the_same_key_it_is_one(hub: Hub) -> None:
    first = hub.make(idempotency_key="k")
    assert hub.make(idempotency_key="k").id == first.id
    with pytest.raises(KeyReused):
        hub.make(idempotency_key="k", name="other")
    assert Endpoint.objects.count() == 1


def test_a_name_is_taken_within_a_house_alone_and_free_again_after_its_end(hub: Hub) -> None:
    first = hub.make()
    with pytest.raises(EndpointNameTaken):
        hub.make()
    services.end_endpoint(actor=hub.person, endpoint_id=first.id, now=NOW)
    assert hub.make().label == first.label
    other = make_organisation("other")
    from_there = rooms.label_of("chat", other.id)
    assert from_there != first.label


@pytest.mark.parametrize("name", ["", "Chat", "8b", "a.b", "a--b", "x" * 41])
def test_a_name_that_cannot_stand_in_an_address_is_refused(hub: Hub, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        hub.make(name=name)
    assert not Endpoint.objects.exists()


@pytest.mark.parametrize(
    "text",
    [
        "run: ls",
        "run: ls\nmosu: {kind: session}",
        "run: ls\nmosu: {kind: service, port: 80, not_before: +2h}",
        "run: ls\nmosu: {kind: service, port: 80, deadline: '2026-12-01T18:00:00+08:00'}",
        "run: ls\nmosu: {kind: service, port: 80, inputs: [a]}",
    ],
)
def test_a_task_that_no_endpoint_can_answer_with_is_refused(hub: Hub, text: str) -> None:
    with pytest.raises(Invalid):
        hub.make(task=parse_task(text))
    assert not Endpoint.objects.exists()


def test_a_hub_without_addresses_makes_none(hub: Hub, settings: Any) -> None:
    settings.MOSU_APPS_HOST = ""
    with pytest.raises(NoAppsHost):
        hub.make()


def test_an_organisation_has_so_many_and_an_endpoint_so_many_keys(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "ENDPOINTS_MAX", 1)
    monkeypatch.setattr(rooms, "KEYS_MAX", 1)
    made = hub.make()
    with pytest.raises(TooManyEndpoints):
        hub.make(name="second")
    key = services.make_key(actor=hub.person, endpoint_id=made.id, name="a", now=NOW).key
    with pytest.raises(TooManyEndpoints):
        services.make_key(actor=hub.person, endpoint_id=made.id, name="b", now=NOW)
    services.revoke_key(actor=hub.person, endpoint_id=made.id, key_id=key.public_id, now=NOW)
    services.make_key(actor=hub.person, endpoint_id=made.id, name="b", now=NOW)


def test_who_may_do_what(hub: Hub) -> None:
    made = hub.make()
    stranger = make_member(make_organisation("other"), Role.OWNER)
    with pytest.raises(NotFound):
        services.end_endpoint(actor=stranger, endpoint_id=made.id, now=NOW)
    viewer = make_member(hub.world.buyer, Role.VIEWER)
    with pytest.raises(Forbidden):
        hub.make(actor=viewer, name="other")
    operator = make_staff(HubRole.OPERATOR)
    for who in (viewer, operator):
        with pytest.raises(Forbidden):
            services.change_endpoint(actor=who, endpoint_id=made.id, auth="public", now=NOW)
        with pytest.raises(Forbidden):
            services.make_key(actor=who, endpoint_id=made.id, name="k", now=NOW)
    with pytest.raises(Forbidden):
        services.end_endpoint(actor=viewer, endpoint_id=made.id, now=NOW)
    made.refresh_from_db()
    assert (made.state, made.auth) == ("open", "key")
    services.end_endpoint(actor=operator, endpoint_id=made.id, now=NOW)
    made.refresh_from_db()
    assert made.state == "ended"


def test_a_change_is_on_record_and_what_is_ended_does_not_change(hub: Hub) -> None:
    made = hub.make()
    need = ReplicaNeed(least=0, most=3, requests=2, idle_s=30)
    changed = services.change_endpoint(
        actor=hub.person, endpoint_id=made.id, auth="hub", replicas=need, now=NOW
    )
    assert (changed.auth, changed.replicas_min, changed.replicas_max, changed.version) == ("hub", 0, 3, 1)
    record = AuditRecord.objects.get(action="endpoint.change", subject_id=made.id)
    assert (record.facts["before"]["auth"], record.facts["after"]["auth"]) == ("key", "hub")
    with pytest.raises(Invalid):
        wrong = ReplicaNeed(least=3, most=2)
        services.change_endpoint(actor=hub.person, endpoint_id=made.id, replicas=wrong, now=NOW)
    services.end_endpoint(actor=hub.person, endpoint_id=made.id, now=NOW)
    with pytest.raises(EndpointEnded):
        services.change_endpoint(actor=hub.person, endpoint_id=made.id, auth="key", now=NOW)
    with pytest.raises(EndpointEnded):
        services.make_key(actor=hub.person, endpoint_id=made.id, name="k", now=NOW)


def test_a_change_leaves_what_the_relay_writes(hub: Hub) -> None:
    made = hub.make()
    hub.ask(made, in_flight=7)
    services.change_endpoint(actor=hub.person, endpoint_id=made.id, auth="public", now=NOW)
    made.refresh_from_db()
    assert (made.in_flight, made.asked_at) == (7, NOW)


def test_a_key_is_shown_once_and_kept_as_its_hash(hub: Hub) -> None:
    made = hub.make()
    key = services.make_key(actor=hub.person, endpoint_id=made.id, name=" app ", now=NOW)
    assert key.secret.startswith("sk-mosu-") and len(key.secret) > 45
    row = EndpointKey.objects.get()
    assert (row.name, row.secret_sha256) == ("app", hashlib.sha256(key.secret.encode()).hexdigest())
    with connection.cursor() as cursor:
        cursor.execute("select string_agg(t::text, '') from platform_auditrecord t")
        assert key.secret not in cursor.fetchone()[0]
    services.revoke_key(actor=hub.person, endpoint_id=made.id, key_id=row.public_id, now=later(seconds=1))
    services.revoke_key(actor=hub.person, endpoint_id=made.id, key_id=row.public_id, now=later(seconds=2))
    row.refresh_from_db()
    assert row.revoked_at == later(seconds=1)
    other = hub.make(name="other")
    with pytest.raises(NotFound):
        services.revoke_key(actor=hub.person, endpoint_id=other.id, key_id=row.public_id, now=NOW)


@pytest.mark.parametrize("name", ["", " ", "x" * 64, "a\nb"])
def test_a_key_has_a_name(hub: Hub, name: str) -> None:
    made = hub.make()
    with pytest.raises(Invalid):
        services.make_key(actor=hub.person, endpoint_id=made.id, name=name, now=NOW)


def test_latency_is_the_upper_bound_of_the_class_where_so_many_answers_had_begun() -> None:
    counted = [0] * 13
    assert latency_ms([counted], 0.95) is None
    counted[2], counted[8] = 95, 5
    assert latency_ms([counted], 0.95) == 25
    assert latency_ms([counted, [0] * 8 + [10] + [0] * 4], 0.95) == 2500
    assert latency_ms([[0] * 12 + [1]], 0.5) == 30_000


def test_figures_are_of_the_last_hour(hub: Hub) -> None:
    made = hub.make("replicas: 2")
    first, _ = hub.keep(made)
    hub.serve(first)
    for minutes, requests in ((5, 10), (61, 1000)):
        EndpointMinute.objects.create(
            endpoint=made,
            minute=later(minutes=-minutes),
            requests=requests,
            refused=1,
            failed=2,
            in_flight_max=1,
            latencies=[requests] + [0] * 12,
        )
    figures = figures_of([made], now=NOW)[made.id]
    assert (figures.well, figures.wanted, figures.requests) == (1, 2, 10)
    assert (figures.refused, figures.failed, figures.p95_ms) == (1, 2, 5)


@pytest.mark.urls("mosu.web.urls")
def test_the_receipt_of_a_service_says_how_long_it_was_up(hub: Hub, client: Client) -> None:
    """As data, on paper and on its page."""
    made = hub.make()
    (replica,) = hub.keep(made)
    attempt = hub.serve(replica)
    measures = Measures(
        wall_s=50, cpu_s=1, memory_peak_bytes=1, memory_source="sampled", uptime_s=47.6, restarts=2
    )
    report(hub.world, attempt, now=later(seconds=50), measures=measures)
    receipt = Receipt.objects.get(order_id=Run.objects.get(id=replica.run_id).order_id)
    assert receipt.content["claimed"] == {"uptime_s": 47, "restarts": 2}
    paper = text_of(paper_of_receipt(receipt, language="en"))
    assert "Up, as measured where it ran" in paper and "\n47 s\n" in paper
    client.force_login(User.objects.get(id=hub.person.id))
    page = client.get(f"/receipts/{receipt.public_id}/", headers={"accept-language": "en"}).content.decode()
    assert "<dd>47 s</dd>" in page and "Started again, as counted where it ran" in page


@pytest.mark.urls("mosu.web.urls")
def test_the_page_of_a_service_says_what_its_engine_could_measure(hub: Hub, client: Client) -> None:
    """On Kubernetes neither the processor's time nor memory."""
    made = hub.make()
    (replica,) = hub.keep(made)
    attempt = hub.serve(replica)
    report(hub.world, attempt, now=later(seconds=50), measures=Measures(wall_s=50, uptime_s=47.6, restarts=2))
    client.force_login(User.objects.get(id=hub.person.id))
    run = Run.objects.get(id=replica.run_id)
    page = client.get(f"/orders/{run.order.public_id}/", headers={"accept-language": "en"}).content.decode()
    assert "95.20 % (started again 2 times)" in page
    assert "CPU time" not in page and "Peak memory" not in page


def post(client: Client, path: str, headers: dict[str, str], body: Any, **more: str) -> Any:
    return client.post(
        f"/api/v1{path}", data=body, content_type="application/json", headers={**headers, **more}
    )


def test_over_http_from_task_to_end(client: Client, hub: Hub) -> None:
    headers = bearer(hub.person, organisation=hub.world.buyer)
    body = {"name": "chat", "task": hub.task()}
    assert post(client, "/endpoints", headers, body).status_code == 422  # no key
    once = {"Idempotency-Key": "k"}
    made = post(client, "/endpoints", headers, body, **once)
    assert made.status_code == 201, made.content
    endpoint = made.json()
    assert post(client, "/endpoints", headers, body, **once).json()["id"] == endpoint["id"]
    assert endpoint["url"] == f"https://{Endpoint.objects.get().label}.apps.hub.example"
    path = f"/api/v1/endpoints/{endpoint['id']}"
    row = Endpoint.objects.get()
    hub.keep(row)
    replicas = client.get(f"{path}/replicas", headers=headers).json()["items"]
    assert [one["run_id"] for one in replicas] == [Replica.objects.get().run.public_id]
    key = post(client, f"/endpoints/{endpoint['id']}/keys", headers, {"name": "app"}).json()
    listed = client.get(f"{path}/keys", headers=headers)
    assert key["secret"].startswith("sk-mosu-") and key["secret"] not in listed.content.decode()
    gone = client.delete(f"{path}/keys/{key['id']}", headers=headers).json()
    assert gone["revoked_at"] is not None
    for number in range(3):
        EndpointRequest.objects.create(
            endpoint=row,
            at=later(seconds=number),
            method="GET",
            path=f"/{number}",
            status=200,
            waited_ms=0,
            took_ms=5,
            bytes_in=1,
            bytes_out=2,
        )
    first = client.get(f"{path}/requests", {"limit": 2}, headers=headers).json()
    rest = client.get(f"{path}/requests", {"cursor": first["next"]}, headers=headers).json()
    assert [one["path"] for one in first["items"] + rest["items"]] == ["/2", "/1", "/0"]
    assert client.get(f"{path}/minutes", headers=headers).json() == []
    replicas_in = {"min": 0, "max": 2, "requests": 4, "idle_s": 60}
    changed = client.patch(
        path,
        data=json.dumps({"auth": "public", "replicas": replicas_in}),
        content_type="application/json",
        headers=headers,
    ).json()
    assert (changed["auth"], changed["replicas"]) == ("public", replicas_in)
    assert [one["name"] for one in client.get("/api/v1/endpoints", headers=headers).json()["items"]] == [
        "chat"
    ]
    ended = post(client, f"/endpoints/{endpoint['id']}/end", headers, {}).json()
    assert (ended["state"], ended["wanted"]) == ("ended", 0)
    assert client.get("/api/v1/endpoints?state=open", headers=headers).json()["items"] == []


def test_over_http_another_house_sees_nothing(client: Client, hub: Hub) -> None:
    made = hub.make()
    other = make_organisation("other")
    headers = bearer(make_member(other, Role.OWNER), organisation=other)
    path = f"/api/v1/endpoints/{made.public_id}"
    assert client.get("/api/v1/endpoints", headers=headers).json()["items"] == []
    for below in ("", "/replicas", "/keys", "/requests", "/minutes"):
        assert client.get(path + below, headers=headers).status_code == 404
    assert post(client, f"/endpoints/{made.public_id}/keys", headers, {"name": "k"}).status_code == 404
    assert post(client, f"/endpoints/{made.public_id}/end", headers, {}).status_code == 404
