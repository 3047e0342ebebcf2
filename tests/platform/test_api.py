"""The platform's operations over HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import path
from ninja import NinjaAPI
from tests.platform.factories import NOW, bearer, make_founder, make_member, make_staff, make_user

from mosu.platform.actors import SYSTEM, Actor, ActorKind, HubRole, Role, Scope
from mosu.platform.api import routers
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.models import (
    ApiToken,
    AuditRecord,
    Fact,
    Invitation,
    Membership,
    Organisation,
    Project,
)
from mosu.platform.problems import install
from mosu.platform.services import found_organisation, grant_hub_role, invite, notify

api = NinjaAPI(urls_namespace="platform-test", docs_url=None)
install(api)
for prefix, router in routers:
    api.add_router(prefix, router)
urlpatterns = [path("api/v1/", api.urls)]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _these_urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def call(method: str, address: str, body: Any = None, *, by: dict[str, str] | None = None) -> Any:
    answer = Client().generic(
        method,
        f"/api/v1{address}",
        b"" if body is None else json.dumps(body),
        "application/json",
        headers=by or {},
    )
    if answer.status_code >= 400:
        problem = answer.json()
        assert answer["Content-Type"] == "application/problem+json"
        assert problem["status"] == answer.status_code
        assert problem["type"].startswith("urn:mosu:")
        assert problem["title"] and problem["detail"]
    return answer


def operations() -> list[Any]:
    return [
        operation
        for _, one in routers
        for view in one.path_operations.values()
        for operation in view.operations
    ]


def test_every_operation_names_its_action_and_itself() -> None:
    ids = [operation.operation_id for operation in operations()]
    assert all(ids)
    assert len(set(ids)) == len(ids) >= 25
    assert all(hasattr(operation.view_func, ATTRIBUTE) for operation in operations())


def test_the_description_of_the_api_can_be_made() -> None:
    schema = api.get_openapi_schema()
    assert schema["openapi"].startswith("3.1")
    assert schema["paths"]["/api/v1/me"]["get"]["security"] == [{"TokenAuth": []}]


def test_without_a_token_only_signing_in_is_open() -> None:
    for operation in operations():
        for method in operation.methods:
            address = operation.path.replace("{", "").replace("}", "")
            answer = call(method, address, None if method == "GET" else {})
            expected = 422 if operation.operation_id == "createToken" else 401
            assert answer.status_code == expected, operation.operation_id


def test_signing_in_gives_a_token_once_and_it_can_be_listed_and_revoked() -> None:
    user = make_user("li@example.org", password="right enough")
    found_organisation(
        actor=Actor(kind=ActorKind.USER, id=user.id, scopes=frozenset(Scope)),
        name="Li's",
        kind="team",
        now=NOW,
    )
    facts = {"email": "li@example.org", "password": "right enough", "name": "laptop"}
    assert call("POST", "/tokens", {**facts, "password": "wrong"}).status_code == 401
    assert call("POST", "/tokens", {**facts, "scope": ["read"]}).status_code == 422
    assert call("POST", "/tokens", {**facts, "email": "a\x00@b.cn"}).status_code == 422
    assert not ApiToken.objects.exists()
    answer = call("POST", "/tokens", {**facts, "scopes": ["read", "manage"]})
    assert answer.status_code == 201
    made = answer.json()
    assert made["scopes"] == ["read", "manage"]
    assert made["expires_at"].endswith("Z")
    by = {"Authorization": f"Bearer {made['token']}"}
    listed = call("GET", "/tokens", by=by).json()
    assert [item["id"] for item in listed["items"]] == [made["id"]]
    assert made["token"] not in json.dumps(listed)
    assert call("DELETE", f"/tokens/{made['id']}", by=by).status_code == 204
    assert call("GET", "/tokens", by=by).status_code == 401


def test_guessing_over_http_ends_in_429() -> None:
    facts = {"email": "li@example.org", "password": "guess", "name": "laptop"}
    statuses = [call("POST", "/tokens", facts).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


def test_me_says_who_and_on_whose_behalf() -> None:
    owner, organisation = make_founder("Ding Wei")
    me = call("GET", "/me", by=bearer(owner, organisation=organisation)).json()
    assert me == {
        "user": {"id": me["user"]["id"], "email": owner.label, "name": ""},
        "language": "",
        "organisation": {
            "id": organisation.public_id,
            "name": "Ding Wei",
            "kind": "company",
            "capabilities": [],
            "state": "active",
            "created_at": "2026-03-02T02:00:00Z",
        },
        "organisations": [{"id": organisation.public_id, "name": "Ding Wei", "role": "owner"}],
        "hub_roles": [],
        "scopes": ["read", "buy", "manage"],
        "currency": "CNY",
        "zone": "Asia/Shanghai",
    }
    auditor = make_staff(HubRole.AUDITOR, HubRole.CHECKER)
    me = call("GET", "/me", by=bearer(auditor)).json()
    assert (me["organisation"], me["organisations"], me["hub_roles"]) == (None, [], ["auditor", "checker"])


def test_an_organisation_is_founded_once_by_name() -> None:
    by = bearer(Actor(kind=ActorKind.USER, id=make_user().id, scopes=frozenset(Scope)))
    answer = call("POST", "/organisations", {"name": "Ding Wei", "kind": "team"}, by=by)
    assert answer.status_code == 201
    found = answer.json()
    assert call("GET", f"/organisations/{found['id']}", by=by).json() == found
    answer = call("POST", "/organisations", {"name": "ding wei"}, by=by)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:mosu:name_taken")
    assert Organisation.objects.count() == 1


@pytest.mark.parametrize(
    "listing", ["organisations", "memberships", "invitations", "projects", "facts", "audit"]
)
def test_nobody_sees_into_anothers_organisation(listing: str) -> None:
    actors = [make_founder(f"Number {number}") for number in range(2)]
    for owner, organisation in actors:
        invite(actor=owner, organisation_id=organisation.id, email="a@b.cn", role=Role.VIEWER, now=NOW)
        by = bearer(owner)
        fact = {"organisation_id": organisation.public_id, "name": "staff", "value": 7, "source": "payroll"}
        assert call("POST", "/facts", fact, by=by).status_code == 201
    for owner, organisation in actors:
        items = call("GET", f"/{listing}?limit=200", by=bearer(owner)).json()["items"]
        key = "id" if listing == "organisations" else "organisation_id"
        # A person's own tokens are audited without an organisation and are not an organisation's to see.
        assert {item[key] for item in items} == {organisation.public_id}
    everything = call("GET", f"/{listing}?limit=200", by=bearer(make_staff(HubRole.AUDITOR))).json()["items"]
    assert len(everything) >= 2


def test_an_id_of_anothers_is_as_unknown_as_none() -> None:
    _, others = make_founder("Theirs")
    own, _ = make_founder("Own")
    by = bearer(own)
    membership = Membership.objects.get(organisation=others)
    for address in (f"/organisations/{others.public_id}", "/organisations/org_x", "/organisations/%00"):
        assert call("GET", address, by=by).status_code == 404
    for address in (f"/memberships/{membership.public_id}", "/memberships/member_x"):
        assert call("DELETE", address, by=by).status_code == 404
        assert call("PATCH", address, {"role": "viewer"}, by=by).status_code == 404
    assert Membership.objects.filter(id=membership.id, role=Role.OWNER).exists()


def test_a_token_without_manage_changes_nothing() -> None:
    owner, organisation = make_founder()
    by = bearer(owner, scopes=(Scope.READ, Scope.BUY))
    bodies = {
        "/organisations": {"name": "More"},
        "/projects": {"organisation_id": organisation.public_id, "name": "More"},
        "/invitations": {"organisation_id": organisation.public_id, "email": "a@b.cn", "role": "viewer"},
    }
    for address, body in bodies.items():
        answer = call("POST", address, body, by=by)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:mosu:forbidden")
    assert (Organisation.objects.count(), Project.objects.count(), Invitation.objects.count()) == (1, 1, 0)


def test_from_invitation_to_member_to_leaving() -> None:
    owner, organisation = make_founder()
    li = Actor(
        kind=ActorKind.USER,
        id=make_user("li@example.org").id,
        label="li@example.org",
        scopes=frozenset(Scope),
    )
    by, li_by = bearer(owner), bearer(li)
    answer = call(
        "POST",
        "/invitations",
        {"organisation_id": organisation.public_id, "email": "li@example.org", "role": "developer"},
        by=by,
    )
    assert answer.status_code == 201
    made = answer.json()
    assert made["mailed"] is False
    assert "link" not in call("GET", "/invitations", by=by).json()["items"][0]
    secret = made["link"].rpartition("/")[2]
    member = call("POST", "/invitations/accept", {"secret": secret}, by=li_by).json()
    assert member["role"] == "developer"
    assert call("DELETE", f"/invitations/{made['id']}", by=by).status_code == 409
    assert call("PATCH", f"/memberships/{member['id']}", {"role": "king"}, by=by).status_code == 422
    changed = call("PATCH", f"/memberships/{member['id']}", {"role": "viewer"}, by=by).json()
    assert changed["role"] == "viewer"
    address = f"/memberships?organisation_id={organisation.public_id}"
    assert len(call("GET", address, by=li_by).json()["items"]) == 2
    assert call("DELETE", f"/memberships/{member['id']}", by=li_by).status_code == 204
    assert call("GET", address, by=li_by).status_code == 403
    assert set(
        AuditRecord.objects.filter(organisation_id=organisation.id).values_list("action", flat=True)
    ) == {
        "organisation.found",
        "membership.begin",
        "membership.change",
        "membership.end",
        "invitation.make",
        "invitation.close",
    }


def test_the_operator_admits_verifies_and_suspends() -> None:
    owner, organisation = make_founder()
    by, operator_by = bearer(owner), bearer(make_staff(HubRole.OPERATOR))
    home = f"/organisations/{organisation.public_id}"
    body = {"capability": "supplier", "why": "visited"}
    assert call("POST", f"{home}/capabilities", body, by=by).status_code == 403
    assert call("POST", f"{home}/capabilities", body, by=operator_by).json()["capabilities"] == ["supplier"]
    fact = call(
        "POST",
        "/facts",
        {"organisation_id": organisation.public_id, "name": "staff", "value": 7, "source": "payroll"},
        by=by,
    ).json()
    assert call("POST", f"/facts/{fact['id']}/verify", by=by).status_code == 403
    assert call("POST", f"/facts/{fact['id']}/verify", by=operator_by).json()["verified_by"]
    answer = call("POST", f"{home}/state", {"state": "suspended", "why": "papers"}, by=operator_by)
    assert answer.json()["state"] == "suspended"
    assert call("GET", home, by=by).status_code == 403
    answer = call("POST", f"{home}/state", {"state": "suspended", "why": "papers"}, by=operator_by)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:mosu:illegal_move")
    subject = call("GET", f"/audit?subject_id={fact['id']}", by=operator_by).json()["items"]
    assert [item["action"] for item in subject] == ["fact.verify", "fact.record"]


@pytest.mark.parametrize("value", [1.5, None, {"a": 1}, "a\x00b", ["a", "\x00"], [1]])
def test_a_fact_holds_what_can_be_kept(value: Any) -> None:
    owner, organisation = make_founder()
    body = {"organisation_id": organisation.public_id, "name": "staff", "value": value, "source": "payroll"}
    assert call("POST", "/facts", body, by=bearer(owner)).status_code == 422
    assert not Fact.objects.exists()


def test_the_inbox_is_ones_own() -> None:
    owner, _ = make_founder()
    texts = {"zh": "您好", "en": "Hello"}
    for number in range(3):
        notify(user_ids=[owner.id], kind=f"k{number}", title=texts, body=texts, now=NOW)
    by = bearer(owner)
    first = call("GET", "/notices?limit=2", by=by).json()
    second = call("GET", f"/notices?limit=2&cursor={first['next']}", by=by).json()
    items = first["items"] + second["items"]
    assert {item["kind"] for item in items} == {"k0", "k1", "k2"}
    assert second["next"] is None
    assert items[0]["title"] == texts
    read = f"/notices/{items[0]['id']}/read"
    assert call("POST", read, by=bearer(make_founder()[0])).status_code == 404
    looking = bearer(owner, scopes=(Scope.READ,))
    for changing in (read, "/notices/read"):
        assert call("POST", changing, by=looking).status_code == 403
    assert not any(item["read_at"] for item in call("GET", "/notices", by=looking).json()["items"])
    assert call("POST", read, by=by).json()["read_at"]


def test_letters_that_wait_are_the_operators_to_pass_on() -> None:
    owner, organisation = make_founder()
    _, link = invite(actor=owner, organisation_id=organisation.id, email="a@b.cn", role=Role.VIEWER, now=NOW)
    by = bearer(make_staff(HubRole.OPERATOR))
    (letter,) = [one for one in call("GET", "/mails", by=by).json()["items"] if one["email"] == "a@b.cn"]
    assert link not in json.dumps(letter)
    assert call("POST", f"/mails/{letter['id']}/link", by=by).json() == {"link": link}
    for other in (owner, make_staff(HubRole.AUDITOR)):
        assert call("GET", "/mails", by=bearer(other)).status_code == 403
        assert call("POST", f"/mails/{letter['id']}/link", by=bearer(other)).status_code == 403


def test_staff_is_taken_in_by_another() -> None:
    operator = make_staff(HubRole.OPERATOR)
    user = make_user()
    by = bearer(operator)
    assert (
        call("POST", "/hub-roles", {"user_id": user.public_id, "role": "checker"}, by=by).status_code == 204
    )
    me = call("GET", "/me", by=by).json()["user"]["id"]
    answer = call("POST", "/hub-roles", {"user_id": me, "role": "checker"}, by=by)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:mosu:same_person")


def test_a_token_of_one_organisation_is_blind_to_the_other_and_to_the_hub() -> None:
    owner, first = make_founder("The first")
    second = found_organisation(actor=owner, name="The second", kind="team", now=NOW)
    grant_hub_role(actor=SYSTEM, user_id=owner.id, role=HubRole.OPERATOR, now=NOW)
    owner = Actor(
        kind=ActorKind.USER,
        id=owner.id,
        label=owner.label,
        roles={second.id: Role.OWNER},
        scopes=frozenset(Scope),
    )
    by = bearer(owner, organisation=second)
    assert [item["name"] for item in call("GET", "/organisations", by=by).json()["items"]] == ["The second"]
    assert call("GET", f"/organisations/{first.public_id}", by=by).status_code == 404
    assert call("GET", "/mails", by=by).status_code == 403


def test_a_viewer_reads_and_a_finance_clerk_makes_no_project() -> None:
    _, organisation = make_founder()
    body = {"organisation_id": organisation.public_id, "name": "Voice"}
    for role, status in ((Role.VIEWER, 403), (Role.FINANCE, 403), (Role.DEVELOPER, 201)):
        by = bearer(make_member(organisation, role))
        assert call("GET", "/projects", by=by).status_code == 200
        assert call("POST", "/projects", body, by=by).status_code == status
    assert Project.objects.filter(name="Voice").count() == 1


def test_a_body_that_is_too_large_is_413(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    facts = {"email": "li@example.org", "password": "x" * 2000, "name": "laptop"}
    answer = call("POST", "/tokens", facts)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:mosu:too_large")
