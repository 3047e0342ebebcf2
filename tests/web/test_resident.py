"""What a resident sees and does: money, vouchers, programmes, people, papers, notices, account."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from mosu.platform.actors import Role
from mosu.platform.models import (
    ApiToken,
    Fact,
    Invitation,
    InvitationState,
    Membership,
    Notice,
    Organisation,
    Project,
    User,
)
from mosu.platform.queries import actor_for_user
from mosu.platform.services import invite, record_fact
from mosu.store.models import Attachment, Document
from mosu.subsidies.models import Application
from tests.compute import world as compute
from tests.web import residents
from tests.web.conftest import PASSWORD, Hub, page, queries

AsSeenBy = Callable[[str], Client]
QUERIES_MAX = 12
ELIGIBLE = """eligibility:
  - id: company
    when: organisation.kind == 'company'
    reason: {zh: 须为企业, en: Only companies may have it}
  - id: small
    when: organisation.employees < 300
    reason: {zh: 须少于300人, en: Fewer than 300 people}
"""
LISTS = (
    "/money/",
    "/money/deposits/",
    "/vouchers/",
    "/programmes/",
    "/applications/",
    "/claims/",
    "/organisation/members/",
    "/organisation/projects/",
    "/organisation/facts/",
    "/organisation/documents/",
    "/notices/",
    "/you/tokens/",
)
PAGES = (*LISTS, "/organisation/", "/you/", "/you/found/")


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def signed_in(hub: Hub, role: Role = Role.OWNER) -> tuple[User, Client]:
    user = hub.user(role=role)
    return user, hub.client(user)


@pytest.mark.parametrize(
    ("who", "status"), [("anonymous", 302), ("owner", 200), ("viewer", 200), ("stranger", 200)]
)
def test_who_sees_a_residents_pages(hub: Hub, as_seen_by: AsSeenBy, who: str, status: int) -> None:
    client = as_seen_by(who)
    for path in PAGES:
        for language in ("en", "zh-hans"):
            response = client.get(path, headers={"Accept-Language": language})
            assert response.status_code == status, path


def test_whoever_has_no_organisation_is_told_so(hub: Hub) -> None:
    client = hub.client(hub.user())
    assert client.get("/money/").status_code == 403  # the door: nobody's member
    for path in ("/you/", "/you/tokens/", "/notices/", "/programmes/"):
        assert client.get(path).status_code == 200
    assert "You belong to no organisation yet" in page(client.get("/you/"))


def fill(hub: Hub, user: User, count: int, start: int = 0) -> None:
    """`count` of everything that lists show."""
    actor = actor_for_user(user)
    for number in range(start, start + count):
        residents.voucher(hub, 10)
        residents.deposit(hub, f"ref {number}")
        residents.document(hub, actor, f"{number}.pdf", b"%d" % number + b"%%EOF")
        residents.tell(hub, user.id, str(number))
        record_fact(
            actor=actor,
            organisation_id=hub.world.buyer.id,
            name="employees",
            value=number,
            source="payroll",
            now=hub.now,
        )
        hub.user(role=Role.VIEWER)
        invite(
            actor=actor,
            organisation_id=hub.world.buyer.id,
            email=f"guest{number}@example.org",
            role=Role.VIEWER,
            now=hub.now,
        )
        hub.run()


def test_lists_ask_as_often_for_many_as_for_few(hub: Hub) -> None:
    user, client = signed_in(hub)
    fill(hub, user, 2)
    few = {path: queries(client, path) for path in LISTS}
    fill(hub, user, 8, start=2)
    assert {path: queries(client, path) for path in LISTS} == few
    assert max(few.values()) <= QUERIES_MAX, few


def test_the_statement_says_what_moved_the_money_and_what_is_held(hub: Hub) -> None:
    _, client = signed_in(hub)
    order = hub.order_of(compute.buy(hub.world, cores=8, wall="2h", now=hub.now))
    residents.deposit(hub, "bank 77", yuan=250)
    text = page(client.get("/money/"))
    assert "Paid in" in text
    assert "bank 77" in text
    assert "¥250.00" in text
    assert order.number in text  # what is held for it
    assert "bank 77" in page(client.get("/money/deposits/"))
    assert hub.world.buyer.public_id in page(client.get("/money/deposits/"))
    assert "¥250.00" not in page(client.get("/money/?kind=order.charge"))
    assert "¥250.00" not in page(client.get(f"/money/?month={hub.now.year - 1}-{hub.now.month:02}"))
    written = page(client.get("/money/?format=csv&columns=number,amount,after"))
    assert "250.00" in written
    assert "bank 77" not in page(hub.client(hub.user(role=Role.OWNER, at=other(hub))).get("/money/deposits/"))


def other(hub: Hub) -> Organisation:
    return Organisation.objects.exclude(id=hub.world.buyer.id).order_by("id")[0]


def test_a_voucher_shows_what_is_left_and_where_it_counts(hub: Hub) -> None:
    _, client = signed_in(hub)
    row = residents.voucher(hub, 80)
    text = page(client.get("/vouchers/"))
    assert "¥80.00" in text
    assert "core-hours" in text
    detail = page(client.get(f"/vouchers/{row.public_id}/"))
    assert "¥80.00 left, ¥0.00 held, ¥0.00 used" in detail
    assert "City 70%" in detail
    stranger = hub.client(hub.user(role=Role.OWNER, at=other(hub)))
    assert stranger.get(f"/vouchers/{row.public_id}/").status_code == 404
    assert row.public_id not in page(stranger.get("/vouchers/"))


def test_each_condition_is_told_with_how_one_stands_to_it(hub: Hub) -> None:
    user, client = signed_in(hub)
    version = residents.programme(hub, more=ELIGIBLE)
    path = f"/programmes/{version.programme.public_id}/"
    text = page(client.get(path))
    assert "Only companies may have it" in text
    assert "Record the fact employees" in text
    assert "record=employees" in text
    assert "Facts are missing" in page(client.get("/programmes/"))
    fact = record_fact(
        actor=actor_for_user(user),
        organisation_id=hub.world.buyer.id,
        name="employees",
        value=12,
        source="x1",
        now=hub.now,
    )
    assert "waits for the hub" in page(client.get(path))
    Fact.objects.filter(id=fact.id).update(verified_by=hub.user(), verified_at=hub.now)
    assert "You may apply" in page(client.get(path))


def test_applying_takes_documents_along_and_a_refusal_keeps_what_was_typed(hub: Hub) -> None:
    user, client = signed_in(hub)
    version = residents.programme(hub, more=ELIGIBLE)
    paper = residents.document(hub, actor_for_user(user))
    path = f"/programmes/{version.programme.public_id}/"
    form = {"amount": "50.00", "note": "a project", "documents": paper.public_id}
    refused = client.post(path, form)
    assert refused.status_code == 409
    assert "a project" in page(refused)
    assert not Application.objects.exists()
    assert not Attachment.objects.exists()
    open_one = residents.programme(hub)
    assert client.post(f"/programmes/{open_one.programme.public_id}/", form).status_code == 302
    application = Application.objects.get()
    assert Attachment.objects.get().subject_id == application.id
    assert "With the operator" in page(client.get("/applications/"))


@pytest.mark.parametrize("amount", ["0", "-1", "1.005", "x", "1e30"])
def test_an_amount_that_cannot_be_is_not_applied_for(hub: Hub, amount: str) -> None:
    _, client = signed_in(hub)
    version = residents.programme(hub)
    response = client.post(f"/programmes/{version.programme.public_id}/", {"amount": amount})
    assert response.status_code in (200, 409)
    assert not Application.objects.exists()


def test_a_viewer_looks_and_does_not(hub: Hub) -> None:
    _, client = signed_in(hub, Role.VIEWER)
    version = residents.programme(hub)
    member = Membership.objects.filter(organisation=hub.world.buyer).first()
    assert member
    before = Membership.objects.count(), Project.objects.count()
    for path, form in (
        (f"/programmes/{version.programme.public_id}/", {"amount": "1"}),
        ("/organisation/members/", {"email": "a@example.org", "role": "viewer"}),
        (f"/organisation/members/{member.public_id}/", {"role": "viewer"}),
        ("/organisation/projects/", {"name": "Secret"}),
        ("/organisation/facts/", {"name": "a", "kind": "text", "value": "b", "source": "cc"}),
    ):
        client.post(path, form)
        assert '<form class="card stack" method="post"' not in page(client.get(path)), path
    upload = SimpleUploadedFile("a.pdf", residents.PDF, "application/pdf")
    client.post("/organisation/documents/", {"file": upload})
    assert (Membership.objects.count(), Project.objects.count()) == before
    assert not (
        Application.objects.exists()
        or Invitation.objects.exists()
        or Fact.objects.filter(name="a").exists()
        or Document.objects.exists()
    )


def test_an_invitations_link_is_shown_once_and_is_void_when_revoked(hub: Hub, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    _, client = signed_in(hub)
    made = page(client.post("/organisation/members/", {"email": "guest@example.org", "role": "developer"}))
    link = re.search(r'value="(http[^"]+/invitations/[^"]+)"', made)
    assert link
    assert "This hub sends no mail" in made
    again = page(client.get("/organisation/members/"))
    assert link[1] not in again
    assert "guest@example.org" in again
    revoke = re.search(r'name="revoke" value="([^"]+)"', again)
    assert revoke
    client.post("/organisation/members/", {"revoke": revoke[1]})
    assert Invitation.objects.get().state == InvitationState.REVOKED
    assert "This invitation is over" in page(hub.client().get("/invitations/" + link[1].rpartition("/")[2]))


def test_the_last_owner_stays_and_says_so_in_both_languages(hub: Hub) -> None:
    Membership.objects.filter(organisation=hub.world.buyer).delete()
    user, client = signed_in(hub)
    own = Membership.objects.get(user=user)
    path = f"/organisation/members/{own.public_id}/"
    for form in ({"role": "viewer"}, {"remove": ""}):
        assert "This is the last owner" in page(client.post(path, form))
        zh = client.post(path, form, headers={"Accept-Language": "zh-hans"})
        assert zh.status_code == 409
        assert "最后一位负责人" in page(zh)
    assert Membership.objects.get(user=user).role == Role.OWNER


def test_roles_are_changed_and_members_removed(hub: Hub) -> None:
    _, client = signed_in(hub)
    row = Membership.objects.get(user=hub.user(role=Role.DEVELOPER))
    path = f"/organisation/members/{row.public_id}/"
    assert client.post(path, {"role": "finance"}).status_code == 302
    row.refresh_from_db()
    assert row.role == Role.FINANCE
    assert client.post(path, {"role": "emperor"}).status_code == 409
    stranger = hub.client(hub.user(role=Role.OWNER, at=other(hub)))
    assert stranger.post(path, {"remove": ""}).status_code == 404
    assert client.post(path, {"remove": ""}).status_code == 302
    assert not Membership.objects.filter(id=row.id).exists()


def test_a_project_says_what_it_spent(hub: Hub) -> None:
    _, client = signed_in(hub)
    order = hub.order_of(hub.run())
    assert client.post("/organisation/projects/", {"name": "Second"}).status_code == 302
    again = client.post("/organisation/projects/", {"name": "second"})
    assert "This name is taken" in page(again) or "has the name" in page(again)
    text = page(client.get(f"/organisation/projects/{order.project.public_id}/"))
    assert order.number in text
    second = Project.objects.get(name="Second")
    assert order.number not in page(client.get(f"/organisation/projects/{second.public_id}/"))


def test_a_document_is_uploaded_once_and_read_by_its_own(hub: Hub) -> None:
    _, client = signed_in(hub)
    upload = SimpleUploadedFile("执照 <b>.pdf", residents.PDF, "text/html")
    assert client.post("/organisation/documents/", {"file": upload}).status_code == 302
    row = Document.objects.get()
    assert row.blob_id in page(client.get("/organisation/documents/"))
    path = f"/documents/{row.public_id}/"
    served = client.get(path)
    assert b"".join(served) == residents.PDF
    assert served["Content-Type"] == "application/pdf"
    assert served["Content-Disposition"].startswith("attachment;")
    assert served["X-Content-Type-Options"] == "nosniff"
    assert served["Cache-Control"] == "no-store"
    assert hub.client(hub.user(role=Role.OWNER, at=other(hub))).get(path).status_code == 404
    assert hub.client().get(path).status_code == 302


def test_the_hubs_people_read_documents(hub: Hub, as_seen_by: AsSeenBy) -> None:
    row = residents.document(hub, residents.actor_at(hub))
    assert as_seen_by("auditor").get(f"/documents/{row.public_id}/").status_code == 200


@pytest.mark.parametrize("data", [b"<html>", residents.PDF[:50], b""])
def test_a_file_that_is_no_document_is_refused_on_the_page(hub: Hub, data: bytes) -> None:
    _, client = signed_in(hub)
    response = client.post("/organisation/documents/", {"file": SimpleUploadedFile("a.pdf", data)})
    assert response.status_code == 200
    assert 'class="error"' in page(response) or "notice refused" in page(response)
    assert not Document.objects.exists()


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("number", "12", 12),
        ("truth", "是", True),
        ("text", "abc", "abc"),
        ("number", "1.5", None),
        ("truth", "x", None),
    ],
)
def test_a_fact_is_recorded_as_what_it_is(hub: Hub, kind: str, value: str, kept: Any) -> None:
    user, client = signed_in(hub)
    paper = residents.document(hub, actor_for_user(user))
    form = {
        "name": "employees",
        "kind": kind,
        "value": value,
        "source": "payroll",
        "documents": paper.public_id,
    }
    response = client.post("/organisation/facts/", form)
    if kept is None:
        assert "payroll" in page(response)
        assert not Fact.objects.filter(name="employees").exists()
        return
    fact = Fact.objects.get(name="employees")
    assert fact.value == kept
    assert Attachment.objects.get().subject_id == fact.id
    text = page(client.get("/organisation/facts/"))
    assert "Recorded, not yet checked" in text
    assert paper.name in text


def test_notices_are_read_one_by_one_or_all(hub: Hub) -> None:
    user, client = signed_in(hub)
    for number in range(3):
        residents.tell(hub, user.id, str(number), link="/money/")
    residents.tell(hub, user.id, "evil", link="//evil.example/")
    assert page(client.get("/notices/")).count("Mark as read") == 4
    assert 'aria-label="4 new notices"' in page(client.get("/notices/"))
    one = Notice.objects.filter(user=user).earliest("id")
    assert client.post(f"/notices/{one.public_id}/", {"open": ""})["Location"] == "/money/"
    evil = Notice.objects.filter(user=user).latest("id")
    assert client.post(f"/notices/{evil.public_id}/", {"open": ""})["Location"] == "/notices/"
    assert Notice.objects.filter(user=user, read_at=None).count() == 2
    stranger = hub.client(hub.user())
    assert stranger.post(f"/notices/{one.public_id}/").status_code == 404
    stranger.post("/notices/read/")
    assert Notice.objects.filter(user=user, read_at=None).count() == 2
    client.post("/notices/read/")
    assert not Notice.objects.filter(user=user, read_at=None).exists()


def everything_kept() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select t::text from "{table}" t')
            rows += [text for (text,) in cursor.fetchall()]
    return "\n".join(rows)


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_tokens_secret_is_shown_once_and_kept_nowhere(hub: Hub, door: str) -> None:
    user, client = signed_in(hub)
    asked: dict[str, Any] = {"name": "old notebook", "scopes": ["read", "buy", "manage"]}
    if door == "page":
        made = client.post("/you/tokens/", asked | {"organisation": hub.world.buyer.public_id, "days": 30})
    else:
        asked |= {"email": user.email, "password": PASSWORD}
        made = Client().post("/api/v1/tokens", asked, content_type="application/json")
    secret = re.search(r"mosu_([\w-]{20,})", page(made))
    assert secret
    token = ApiToken.objects.get(name="old notebook")
    kept = everything_kept()
    assert token.secret_sha256 == hashlib.sha256(secret[0].encode()).hexdigest()
    assert token.secret_sha256 in kept and secret[1] not in kept

    use = {"Authorization": f"Bearer {secret[0]}"}
    listed = Client().get("/api/v1/tokens", headers=use)
    assert token.public_id in page(listed)
    later = [page(client.get(path)) for path in ("/you/tokens/", "/you/tokens/?format=csv", "/you/")]
    assert "old notebook" in later[0]
    for text in (page(listed), page(Client().get("/api/v1/me", headers=use)), *later, everything_kept()):
        assert secret[1] not in text
    for text in (page(listed), *later):
        assert token.secret_sha256 not in text


def test_tokens_are_shown_once_with_what_they_may_and_revoked(hub: Hub) -> None:
    user, client = signed_in(hub)
    form = {"name": "old notebook", "scopes": ["read"], "organisation": hub.world.buyer.public_id, "days": 30}
    made = page(client.post("/you/tokens/", form))
    secret = re.search(r"mosu_[\w-]{20,}", made)
    assert secret
    token = ApiToken.objects.get(user=user)
    assert (token.scopes, token.organisation, (token.expires_at - token.created_at).days) == (
        ["read"],
        hub.world.buyer,
        30,
    )
    again = page(client.get("/you/tokens/"))
    assert "old notebook" in again
    assert secret[0] not in again
    assert "revoke" not in page(client.get("/you/tokens/?format=csv")).lower()
    revoke = re.search(r'name="revoke" value="([^"]+)"', again)
    assert revoke
    stranger = hub.client(hub.user(role=Role.OWNER))
    assert stranger.post("/you/tokens/", {"revoke": revoke[1]}).status_code == 404
    client.post("/you/tokens/", {"revoke": revoke[1]})
    assert "old notebook" not in page(client.get("/you/tokens/"))


@pytest.mark.parametrize("change", [{"scopes": []}, {"days": 9999}, {"organisation": "org_x"}, {"name": ""}])
def test_a_token_asked_for_wrongly_is_not_made(hub: Hub, change: dict[str, Any]) -> None:
    user, client = signed_in(hub)
    client.post(
        "/you/tokens/",
        {"name": "old notebook", "scopes": ["read"], "organisation": "all", "days": 30} | change,
    )
    assert not ApiToken.objects.filter(user=user).exists()


def test_the_account_chooses_the_language_before_the_browser(hub: Hub) -> None:
    user, client = signed_in(hub)
    assert '<html lang="en">' in page(client.get("/you/"))
    client.post("/you/", {"name": "李伟", "language": "zh-hans"})
    response = client.get("/you/")
    assert '<html lang="zh-Hans">' in page(response)
    assert response["Content-Language"] == "zh-hans"
    user.refresh_from_db()
    assert (user.name, user.language) == ("李伟", "zh-hans")
    client.post("/language/", {"language": "en", "next": "/"})
    user.refresh_from_db()
    assert user.language == "en"
    client.post("/language/", {"language": "fr", "next": "/"})
    user.refresh_from_db()
    assert user.language == "en"


def test_a_first_organisation_is_founded_on_its_page(hub: Hub) -> None:
    client = hub.client(hub.user())
    response = client.post("/you/found/", {"organisation": hub.world.buyer.name, "kind": "team"})
    assert response.status_code == 422
    assert "This name is taken" in page(response)
    for number in range(3):
        name = {"organisation": f"Ours {number}", "kind": "team"}
        assert client.post("/you/found/", name).status_code == 302
    fourth = client.post("/you/found/", {"organisation": "Ours 4", "kind": "team"})
    assert "as many organisations as one person may" in page(fourth) or "You own" in page(fourth)
    assert Organisation.objects.filter(name__startswith="Ours").count() == 3
    assert "Ours 2" in page(client.get("/organisation/"))


def test_the_sign_in_page_leads_to_a_new_password(hub: Hub, settings: Any) -> None:
    assert 'href="/account/password/reset/"' in page(hub.client().get("/account/login/"))
    settings.EMAIL_HOST = ""
    assert "goes to the hub's operator" in page(hub.client().get("/account/password/reset/")).replace(
        "&#x27;", "'"
    )


def test_a_second_address_is_added_and_removed(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER)
    user.set_password("right enough")
    user.save()
    client = hub.client(user)
    asked = client.post("/account/email/", {"email": "second@example.org", "action_add": ""})
    client.post(asked["Location"], {"password": "right enough"})
    client.post("/account/email/", {"email": "second@example.org", "action_add": ""})
    assert 'value="second@example.org"' in page(client.get("/account/email/"))
    client.post("/account/email/", {"email": "second@example.org", "action_remove": ""})
    assert 'value="second@example.org"' not in page(client.get("/account/email/"))
    for path in ("/account/email/", "/account/2fa/", "/account/password/change/"):
        assert client.get(path).status_code == 200
