"""All tables, read-only: for operators alone, without secrets, under the same policy for scripts."""

import re
from typing import Any

import pytest
from django.apps import apps
from django.urls import reverse

from mosu.platform.actors import HubRole, Role
from mosu.platform.models import ApiToken, Invitation, Organisation, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import invite, make_token
from mosu.web import admin_site
from mosu.web.admin_site import site
from tests.web.conftest import Hub, page, queries
from tests.web.test_chain import settled

TABLES = sorted(site._registry, key=lambda model: model._meta.label)


def address(model: Any, *args: Any) -> str:
    return reverse(
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{'change' if args else 'changelist'}",
        args=args,
    )


@pytest.fixture
def busy(hub: Hub) -> Hub:
    """A hub with a row in most tables."""
    settled(hub)
    owner = hub.user(role=Role.OWNER)
    actor = actor_for_user(owner)
    make_token(actor=actor, name="laptop", scopes=["read"], now=hub.now)
    invite(
        actor=actor,
        organisation_id=hub.world.buyer.id,
        email="new@example.org",
        role=Role.VIEWER,
        now=hub.now,
    )
    return hub


def test_operators_see_every_table_and_row_in_both_languages_without_inline_scripts(busy: Hub) -> None:
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    shown = 0
    for language in ("en", "zh-hans"):
        for model in TABLES:
            paths = [address(model)]
            row = model._default_manager.order_by("pk").first()
            if row is not None:
                paths.append(address(model, row.pk))
                shown += 1
            for path in paths:
                response = operator.get(path, headers={"Accept-Language": language})
                text = response.content.decode()
                assert response.status_code == 200, (path, response.get("Location"))
                assert "unsafe" not in response["Content-Security-Policy"]
                assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=\"", text), path
                assert not re.search(
                    r'type="submit" (value="Save|name="_save)|class="addlink"|deletelink', text
                ), path
    assert shown > 40
    assert "所有数据表" in operator.get("/admin/", headers={"Accept-Language": "zh-hans"}).content.decode()


def test_a_list_asks_as_much_for_many_rows_as_for_one(busy: Hub) -> None:
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    for number in range(3):
        user = busy.user(role=Role.VIEWER)
        make_token(actor=actor_for_user(user), name=f"laptop {number}", scopes=["read"], now=busy.now)
    # the session, the user, the person, how many rows, the rows
    assert {model._meta.label: queries(operator, address(model)) for model in TABLES} == {
        model._meta.label: 5 for model in TABLES
    }


def test_a_long_table_says_about_how_long_it_is(busy: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_site, "COUNTED_MAX", 2)
    monkeypatch.setattr(admin_site.ReadOnly, "list_per_page", 2)
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    for _ in range(4):
        busy.user(role=Role.VIEWER)
    there = User.objects.count()
    text = page(operator.get("/admin/platform/user/"))
    assert re.search(r"about [\d,]+ rows", text)
    assert "?p=2" in text
    assert re.search(
        r"约 [\d,]+ 行", page(operator.get("/admin/platform/user/", headers={"Accept-Language": "zh-hans"}))
    )
    monkeypatch.setattr(admin_site, "COUNTED_MAX", there)
    text = page(operator.get("/admin/platform/user/"))
    assert f"{there} users" in text
    assert "about" not in text


@pytest.mark.parametrize("role", [HubRole.CHECKER, HubRole.AUDITOR])
def test_nobody_else_enters_staff_or_not(busy: Hub, role: HubRole) -> None:
    owner = busy.user(role=Role.OWNER)
    owner.is_staff = owner.is_superuser = True
    owner.save()
    paths = ["/admin/", address(Organisation), address(Organisation, busy.world.buyer.id), "/admin/platform/"]
    for user in (owner, busy.user(hub=role)):
        client = busy.client(user)
        assert {client.get(path).status_code for path in paths} == {403}
    stranger = busy.client()
    assert all("/account/login/" in stranger.get(path)["Location"] for path in paths)


@pytest.mark.parametrize("model", TABLES, ids=lambda model: str(model._meta.label))
def test_whatever_is_searched_or_opened_no_table_fails(hub: Hub, model: Any) -> None:
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    for text in ("nothing", "***(", '"', "\0"):
        assert operator.get(address(model), {"q": text}).status_code == 200, text
    for key in ("nothing", "%00", "9" * 50):
        assert operator.get(f"{address(model)}{key}/change/").status_code in (302, 404), key


def test_nothing_can_be_done_there(busy: Hub) -> None:
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    row = address(Organisation, busy.world.buyer.id)
    before = Organisation.objects.count()
    assert operator.post(row, {"name": "Other"}).status_code == 403
    assert operator.post(
        address(Organisation), {"action": "delete_selected", "_selected_action": busy.world.buyer.id}
    ).status_code in (302, 403, 200)
    for path in (
        f"{address(Organisation)}add/",
        row.replace("/change/", "/delete/"),
        row.replace("/change/", "/history/"),
    ):
        assert operator.get(path).status_code in (302, 404), path
    assert operator.post(row.replace("/change/", "/delete/"), {"post": "yes"}).status_code in (302, 404, 405)
    busy.world.buyer.refresh_from_db()
    assert busy.world.buyer.name != "Other"
    assert Organisation.objects.count() == before


def test_nobody_signs_in_there(busy: Hub) -> None:
    """The sign-in with the second factor is the only one; the admin's own form is not reached."""
    response = busy.client().post("/admin/login/", {"username": "x", "password": "y"})
    assert response.status_code == 302
    assert "/account/login/" in response["Location"]


def test_no_secret_is_in_any_column(busy: Hub) -> None:
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    user = busy.user(role=Role.OWNER)
    secrets = [ApiToken.objects.get().secret_sha256, Invitation.objects.get().secret_sha256, user.password]
    for model in TABLES:
        row = model._default_manager.order_by("-pk").first()
        paths = [address(model), *([address(model, row.pk)] if row is not None else [])]
        text = "".join(operator.get(path).content.decode() for path in paths)
        assert not any(secret in text for secret in secrets), model
    columns = {field for model in TABLES for field in site._registry[model].get_fields(None)}  # type: ignore[arg-type]
    assert not {name for name in columns if re.search("secret|password|token|sealed|request$", name)}


def test_every_table_is_there_but_those_that_are_named(busy: Hub) -> None:
    ours = {model for model in apps.get_models() if model.__module__.startswith("mosu.")}
    assert {model.__name__ for model in ours - set(TABLES)} == {"Posting", "LogPiece"}


def test_a_row_is_found_by_its_public_id(busy: Hub) -> None:
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    found = operator.get(address(Organisation), {"q": busy.world.buyer.public_id}).content.decode()
    assert busy.world.buyer.name in found
    assert found.count('class="field-name') == 1 or found.count("<tr>") <= 3


@pytest.mark.parametrize(
    "asked", ["password__startswith", "password__regex", "email__contains", "organisation__name", "is_active"]
)
def test_no_filter_guesses_at_what_is_in_no_column(busy: Hub, asked: str) -> None:
    """Django lets an address filter by any column of the table itself: a password's hash, letter by letter."""
    operator = busy.client(busy.user(hub=HubRole.OPERATOR))
    for path in (f"/admin/platform/user/?{asked}=s", f"/admin/platform/apitoken/?secret_sha256__{asked}=a"):
        response = operator.get(path)
        assert response.status_code in (302, 400), path
        assert response.get("Location", "?e=1").endswith("?e=1")
    assert operator.get("/admin/compute/run/?request__icontains=a").status_code in (302, 400)
