"""The matrix of roles x doors: every door is listed with its action, and the policy alone decides who enters.

`docs/reference/doors.md` is the list, for people; `python tools/doors.py` writes it anew.
"""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.test import Client

from mosu.platform.actors import HubRole, Role, Scope
from mosu.platform.models import User
from mosu.platform.policy import POLICY
from tests.architecture.doors import Door, Persona, all_doors, as_table, personas

DOORS = all_doors()
BY_LIBRARIES = ("/account/", "/admin/", "/api/")
"""Pages that name no action themselves; tests/web/test_admin.py and tests/journeys try them."""
API_DOORS = [door for door in DOORS if door.kind == "api"]
LISTED = Path(__file__).parents[2] / "docs" / "reference" / "doors.md"


def word_of(door: Door) -> str:
    """`offers` of `/api/v1/offers/{offer_id}`: doors of one word are tried by the same people."""
    return door.path.split("/")[3]


def test_every_door_names_an_action_of_the_policy() -> None:
    assert [door for door in DOORS if door.action not in POLICY] == []


def test_every_action_of_the_policy_has_a_door() -> None:
    assert sorted(set(POLICY) - {door.action for door in DOORS}) == []


def test_the_list_for_people_is_current() -> None:
    assert LISTED.read_text(encoding="utf-8") == as_table(DOORS), "run: python tools/doors.py"


@pytest.mark.django_db
@pytest.mark.parametrize("under", sorted({word_of(door) for door in API_DOORS}))
def test_the_api_lets_in_whom_the_policy_allows(under: str, client: Client) -> None:
    """401 or 403 exactly where the policy says no; anything but those (and no 500) where it says yes."""
    people = personas()
    wrong = []
    for door in [door for door in API_DOORS if word_of(door) == under]:
        for persona in people:
            response = client.generic(
                door.method,
                door.example,
                data=b"{}",
                content_type="application/json",
                headers=persona.headers,
            )
            refused = response.status_code in (401, 403)
            if refused is persona.may(door.action) or response.status_code >= 500:
                wrong.append(f"{persona} at {door}: {response.status_code} {response.content!r}")
    assert wrong == []


@pytest.mark.django_db
def test_pages_let_in_whom_the_policy_allows(settings: Any) -> None:
    """403, or the way to the sign-in, exactly where the policy says no. Sessions have all scopes. An id that exists
    nowhere answers to whom the policy lets in."""
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    doors = [door for door in DOORS if door.kind == "page" and "^" not in door.path]
    doors = [
        door for door in doors if not door.path.startswith(BY_LIBRARIES) and not POLICY[door.action].public
    ]
    assert len(doors) > 60
    wrong = []
    for persona in personas():
        if "only" in persona.name:
            continue
        client = Client(raise_request_exception=False)
        if persona.actor is not None:
            client.force_login(User.objects.get(id=persona.actor.id))
        for door in doors:
            answer = client.get(door.example)
            if answer.status_code == 405:
                answer = client.post(door.example)
            to_sign_in = answer.status_code == 302 and answer["Location"].startswith("/account/login/")
            if (answer.status_code == 403 or to_sign_in) is persona.may(
                door.action
            ) or answer.status_code >= 500:
                wrong.append(f"{persona} at {door.path}: {answer.status_code}")
    assert wrong == []


@pytest.mark.django_db
def test_the_personas_are_all_roles_and_scopes() -> None:
    names = {persona.name for persona in personas()}
    assert names >= {role.value for role in Role} | {role.value for role in HubRole} | {"anonymous"}
    assert {f"owner, {scope.value} only" for scope in Scope} <= names


def test_a_persona_is_what_it_says() -> None:
    assert Persona(name="anonymous", headers={}, actor=None).may("offer.read")
    assert not Persona(name="anonymous", headers={}, actor=None).may("order.place")
