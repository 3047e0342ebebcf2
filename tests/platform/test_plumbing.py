"""Problems, cursors, idempotency keys: what every API operation stands on."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import Http404
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from ninja import NinjaAPI, Query, Schema

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Paging, page_of
from mosu.platform.doors import ATTRIBUTE, door
from mosu.platform.models import Event, Organisation
from mosu.platform.policy import Unauthenticated
from mosu.platform.problems import install, response_of
from mosu.platform.requests import key_of

api = NinjaAPI(urls_namespace="plumbing", docs_url=None)
install(api)


class Body(Schema):
    name: str
    size: int


@api.post("/things", auth=public_auth, operation_id="makeThing")
@door("hub.look")
def make_thing(request: Any, body: Body, paging: Query[Paging]) -> dict[str, Any]:
    if body.name == "gone":
        raise NotFound("No such thing.", hint="Look elsewhere.", found="gone", status=1)
    if body.name == "404":
        raise Http404
    if body.name == "bug":
        raise ZeroDivisionError("a secret")
    return {"name": body.name, "limit": paging.limit}


@api.get("/mine", auth=token_auth)
@door("self.read")
def mine(request: Any) -> dict[str, Any]:
    return {}


urlpatterns = [path("api/x/", api.urls)]


@pytest.fixture(autouse=True)
def _these_urls() -> Any:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def post(body: Any, query: str = "") -> Any:
    return Client().post(
        f"/api/x/things{query}", body if isinstance(body, str) else json.dumps(body), "application/json"
    )


def test_a_door_keeps_the_operation_as_ninja_reads_it() -> None:
    answer = post({"name": "a", "size": 1}, "?limit=7")
    assert (answer.status_code, answer.json()) == (200, {"name": "a", "limit": 7})
    assert getattr(make_thing, ATTRIBUTE) == "hub.look"


def test_a_refusal_is_a_problem_whose_facts_do_not_hide_the_standard_members() -> None:
    answer = post({"name": "gone", "size": 1})
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:mosu:not_found",
        "title": "No such thing.",
        "status": 404,
        "detail": "Look elsewhere.",
        "found": "gone",
    }


def test_a_wrong_field_is_named_and_what_was_sent_is_not_repeated() -> None:
    answer = post({"name": "a", "size": "sesame"})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["type"] == "urn:mosu:invalid"
    assert problem["errors"][0]["field"] == problem["field"] == "size"
    assert "sesame" not in answer.content.decode()


def test_a_wrong_query_parameter_is_named() -> None:
    answer = post({"name": "a", "size": 1}, "?limit=0")
    assert answer.status_code == 422
    assert answer.json()["errors"][0] | {"message": ""} == {
        "in": "query",
        "field": "limit",
        "message": "",
        "code": "greater_than_equal",
    }


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "malformed"),
        ({"name": "404", "size": 1}, 404, "not_found"),
        ({"name": "bug", "size": 1}, 500, "unexpected"),
    ],
)
def test_all_else_is_a_problem_too(body: Any, status: int, code: str) -> None:
    answer = post(body)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"urn:mosu:{code}"
    assert b"a secret" not in answer.content


def test_without_a_token_the_answer_says_how_to_sign_in() -> None:
    answer = Client().get("/api/x/mine")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="mosu"'
    assert answer.json()["type"] == "urn:mosu:unauthenticated"


@pytest.mark.django_db
def test_an_unknown_token_is_refused_even_where_anyone_may_look() -> None:
    answer = Client().post(
        "/api/x/things",
        json.dumps({"name": "a", "size": 1}),
        "application/json",
        headers={"Authorization": "Bearer mosu_nonsense"},
    )
    assert answer.status_code == 401


def test_a_refusal_of_401_asks_for_a_bearer_token() -> None:
    asked = RequestFactory().get("/")
    assert response_of(asked, Unauthenticated("Who?", hint="Say."))["WWW-Authenticate"].startswith("Bearer")
    assert "WWW-Authenticate" not in response_of(asked, NotFound("No.", hint="Look."))


@pytest.mark.parametrize("key", ["a", "0190c0de-7000-7000-8000-000000000000", "~" * 100])
def test_a_key_is_what_the_header_says(key: str) -> None:
    assert key_of(RequestFactory().post("/", headers={"Idempotency-Key": key})) == key


@pytest.mark.parametrize("key", ["", "two words", "x" * 101, "tab\t", "schlüssel"])
def test_what_is_not_a_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid):
        key_of(RequestFactory().post("/", headers={"Idempotency-Key": key}))


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        key_of(RequestFactory().post("/"))
    assert refused.value.facts["field"] == "Idempotency-Key"


def make_events(now: Any, count: int) -> list[Event]:
    # All at one instant: only the id tells them apart, as after a batch.
    return [Event.objects.create(name="x", subject_id=uuid7(), at=now) for _ in range(count)]


@pytest.mark.django_db
@pytest.mark.parametrize("order", [("-at", "-id"), ("at", "id"), ("-at", "id"), ("id",)])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_together_are_the_whole_list_once(now: Any, order: tuple[str, ...], limit: int) -> None:
    make_events(now, 7)
    rows = Event.objects.order_by(*order)
    seen: list[Event] = []
    cursor = None
    while True:
        items, cursor = page_of(rows, cursor, limit)
        assert len(items) <= limit
        seen += items
        if cursor is None:
            break
    assert seen == list(rows)


@pytest.mark.django_db
def test_what_is_added_meanwhile_shifts_no_page(now: Any) -> None:
    make_events(now, 4)
    rows = Event.objects.order_by("-at", "-id")
    old = list(rows)
    first, cursor = page_of(rows, None, 2)
    make_events(now + timedelta(seconds=1), 3)
    second, end = page_of(rows, cursor, 2)
    assert [*first, *second] == old
    assert end is None


@pytest.mark.django_db
def test_a_cursor_of_another_order_or_a_forged_one_is_refused(now: Any) -> None:
    make_events(now, 3)
    _, cursor = page_of(Event.objects.order_by("-id"), None, 2)
    assert cursor
    for bad in (cursor[:-2], "x", "a:b:c"):
        with pytest.raises(Invalid):
            page_of(Event.objects.order_by("-id"), bad, 2)
    with pytest.raises(DomainError):
        page_of(Event.objects.order_by("id"), cursor, 2)


def test_a_list_without_an_order_is_a_bug() -> None:
    with pytest.raises(ValueError, match="order"):
        page_of(Organisation.objects.all())
