"""What others send to a hub, sent here: redirects out, forged forms, old sessions, names that are no names."""

import gzip
import io
import re
import zlib
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from mosu.compute.models import Pool
from mosu.compute.services import create_pool
from mosu.kernel.ids import typeid
from mosu.kernel.refusals import Invalid
from mosu.market.models import Offer
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import Admission, HubMembership, IdempotencyRecord, Membership, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import ask_admission, remove_member, revoke_hub_role
from mosu.store.documents import add_document
from mosu.store.models import Attachment
from mosu.subsidies.services import apply_for_voucher
from tests.architecture.doors import all_doors
from tests.compute.world import make_organisation
from tests.platform.factories import bearer
from tests.web.conftest import PASSWORD, Hub
from tests.web.residents import PDF, actor_at, document, programme

SIGN_IN = "/account/login/"
OPEN = "/orders/"


@pytest.fixture(autouse=True)
def _nobody_counted() -> None:
    cache.clear()


def signed_in(user: User, **more: Any) -> Client:
    client = Client(**more)
    assert client.post(SIGN_IN, {"login": user.email, "password": PASSWORD}).status_code == 302
    return client


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "https://testserver@evil.example/",
        "/%0d%0aLocation:%20https://evil.example/\r\nX: y",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(hub: Hub, elsewhere: str) -> None:
    user = hub.user(role=Role.OWNER)
    answer = Client().post(f"{SIGN_IN}", {"login": user.email, "password": PASSWORD, "next": elsewhere})
    assert answer.status_code == 302
    place = answer["Location"]
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))
    assert "\n" not in place


def test_signing_in_takes_another_session_than_the_one_before(hub: Hub) -> None:
    """Who planted a session in somebody's browser does not share it afterwards."""
    user, client = hub.user(role=Role.OWNER), Client()
    session = client.session
    session["planted"] = True
    session.save()
    planted = str(session.session_key)
    client.cookies["sessionid"] = planted
    assert client.post(SIGN_IN, {"login": user.email, "password": PASSWORD}).status_code == 302
    assert client.cookies["sessionid"].value != planted
    thief = Client()
    thief.cookies["sessionid"] = planted
    assert thief.get(OPEN).status_code == 302


def test_a_new_password_ends_all_other_sessions(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER)
    here, there = signed_in(user), signed_in(user)
    new = "another long enough password"
    changed = here.post(
        "/account/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new}
    )
    assert changed.status_code == 302
    assert there.get(OPEN).status_code == 302


def test_the_old_password_is_not_guessed_where_a_new_one_is_set(hub: Hub) -> None:
    """Counted as at the sign-in, by all processes together: past the limit the right one does not open it either."""
    user = hub.user(role=Role.OWNER)
    client, path = signed_in(user), "/account/password/change/"
    new = "another long enough password"
    for number in range(10):
        cache.clear()  # allauth counts in each process for itself
        client.post(path, {"oldpassword": f"guess {number}", "password1": new, "password2": new})
    cache.clear()
    last = client.post(path, {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert last.status_code == 200
    assert "Too many failed attempts" in last.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_signing_out_ends_the_session_for_whoever_copied_it(hub: Hub) -> None:
    client = signed_in(hub.user(role=Role.OWNER))
    copied = Client()
    copied.cookies["sessionid"] = client.cookies["sessionid"].value
    assert copied.get(OPEN).status_code == 200
    client.post("/account/logout/")
    assert copied.get(OPEN).status_code == 302


def test_who_was_removed_sees_nothing_at_the_next_request(hub: Hub) -> None:
    owner, leaver = hub.user(role=Role.OWNER), hub.user(role=Role.DEVELOPER)
    client, run = hub.client(leaver), hub.run()
    token = bearer(actor_for_user(leaver), organisation=hub.world.buyer)
    path = f"/orders/{hub.order_of(run).public_id}/"
    call = f"/api/v1/runs/{run.public_id}"
    assert (client.get(path).status_code, Client().get(call, headers=token).status_code) == (200, 200)
    membership = Membership.objects.get(user=leaver)
    remove_member(actor=actor_for_user(owner), membership_id=membership.id, now=hub.now)
    assert client.get(path).status_code in (403, 404)
    assert Client().get(call, headers=token).status_code in (401, 403, 404)


def test_a_role_of_the_hub_that_was_taken_back_is_gone_at_the_next_request(hub: Hub) -> None:
    other = actor_for_user(hub.user(hub=HubRole.OPERATOR))
    user = hub.user(hub=HubRole.OPERATOR)
    client = hub.client(user)
    assert client.get("/desk/organisations/").status_code == 200
    role = HubMembership.objects.get(user=user)
    revoke_hub_role(actor=other, membership_id=role.id, why="moved on", now=hub.now)
    assert client.get("/desk/organisations/").status_code in (302, 403)


def test_no_page_takes_a_form_that_another_site_sent(hub: Hub) -> None:
    """Every page, for a session that may do it."""
    user = hub.user(role=Role.OWNER, hub=HubRole.OPERATOR)
    client = hub.client(user, strict=True)
    pages = [door for door in all_doors() if door.kind == "page" and "^" not in door.path]
    pages = [door for door in pages if not door.path.startswith(("/static/", "/api/", "/admin/"))]
    assert len(pages) > 60
    taken = {
        door.path: answer.status_code
        for door in pages
        if (answer := client.post(door.example)).status_code not in (403, 405)
    }
    assert taken == {}


def test_no_page_can_be_framed(hub: Hub) -> None:
    for path in ("/", SIGN_IN, "/nothing/", OPEN):
        answer = hub.client(hub.user(role=Role.OWNER)).get(path)
        assert answer["X-Frame-Options"] == "DENY", path
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"], path


@pytest.mark.parametrize(
    "name", ['a"; filename="b.html.pdf', "../../etc/passwd.pdf", "许可 证.pdf", "a'b;c,d%0d.pdf"]
)
def test_the_name_of_a_document_stays_in_its_header(hub: Hub, name: str) -> None:
    actor = actor_at(hub)
    kept = add_document(
        actor=actor, organisation_id=hub.world.buyer.id, name=name, file=io.BytesIO(PDF), now=hub.now
    )
    client = hub.client(User.objects.get(id=actor.id))
    header = client.get(f"/documents/{kept.public_id}/")["Content-Disposition"]
    said = header.removeprefix("attachment; filename*=UTF-8''")
    assert not set(said) & set("\"\\/;, '\r\n")


BAD_JSON = [
    b'{"quote_id": NaN}',
    b'{"quote_id": Infinity}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"quote_id": "x", "quote_id": "y"}',
    b'{"quote_id": ' + b"9" * 5_000 + b"}",
    b'{"quote_id": "\\ud800"}',
    b'{"quote_id": "\\u0000"}',
    b"\xff\xfe{}",
    b"null",
    b'"text"',
]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: body[:24].decode("latin-1"))
def test_no_json_makes_the_api_fail(hub: Hub, body: bytes) -> None:
    token = bearer(actor_at(hub), organisation=hub.world.buyer)
    client = Client(raise_request_exception=False)
    for path in ("/api/v1/orders", "/api/v1/quotes", "/api/v1/tokens"):
        answer = client.post(
            path, data=body, content_type="application/json", headers={**token, "Idempotency-Key": "k"}
        )
        assert 400 <= answer.status_code < 500, (path, answer.content[:300])
        assert answer["Content-Type"].startswith("application/problem+json"), path


ODD_VALUES = [
    "9" * 400,
    "-1",
    "0001-01-01",
    "9999-12-31T23:59:59+14:00",
    "0001-01-01T00:00:00+14:00",
    "%00",
    "a" * 20_000,
    "((((((((((a+)+)+)+)+)+)+)+)+)+$",
    "%' or 1=1 --",
    "\U0001f600",
    "1e400",
    "NaN",
    "[]",
]


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: ascii(value[:16]))
def test_no_parameter_makes_a_list_fail(hub: Hub, value: str) -> None:
    """Each parameter that any list takes, at each list that pages and the API have."""
    names = ("cursor", "limit", "sort", "q", "since", "until", "from", "to", "day", "month", "state", "page")
    user = hub.user(role=Role.OWNER, hub=HubRole.OPERATOR)
    client = hub.client(user)
    client.raise_request_exception = False
    token = bearer(actor_for_user(user), organisation=hub.world.buyer)
    doors = [door for door in all_doors() if door.kind in ("page", "api") and "{" not in door.path]
    doors = [door for door in doors if "^" not in door.path]
    failed = []
    for door in doors:
        if door.method not in ("*", "GET") or door.path.startswith(("/static/", "/account/", "/admin/")):
            continue
        answer = client.get(
            door.path, dict.fromkeys(names, value), headers=token if door.kind == "api" else {}
        )
        if answer.status_code >= 500:
            failed.append(f"{door.path}: {answer.status_code}")
    assert failed == []


def test_what_one_organisation_asked_another_neither_reads_nor_takes_back(
    hub: Hub, settings: Any, tmp_path: Any
) -> None:
    """Admissions and applications by their ids, and another's documents put beside one's own."""
    settings.DATA_DIR = tmp_path
    owner = actor_at(hub)
    paper = document(hub, owner)
    admission = ask_admission(
        actor=owner, organisation_id=hub.world.buyer.id, capability="sponsor", note="A prize", now=hub.now
    )
    application = apply_for_voucher(
        actor=owner,
        organisation_id=hub.world.buyer.id,
        programme_id=programme(hub).programme_id,
        amount_micros=1_000_000,
        now=hub.now,
    )
    elsewhere = make_organisation("elsewhere")
    stranger = hub.user(role=Role.OWNER, at=elsewhere)
    client = hub.client(stranger)
    for path in (
        f"/admissions/{admission.public_id}/withdraw/",
        f"/applications/{application.public_id}/withdraw/",
    ):
        assert client.post(path, {"why": "because I can"}).status_code == 404, path
    for path in (f"/applications/{application.public_id}/", f"/documents/{paper.public_id}/"):
        assert client.get(path).status_code == 404, path
    token = bearer(actor_for_user(stranger), organisation=elsewhere)
    asked = {"capability": "supplier", "note": "Racks", "document_ids": [paper.public_id]}
    for whose in (elsewhere, hub.world.buyer):
        answer = Client().post(
            f"/api/v1/organisations/{whose.public_id}/admissions",
            data=asked,
            content_type="application/json",
            headers=token,
        )
        assert answer.status_code in (403, 404), answer.content
    assert [(one.id, one.state) for one in Admission.objects.all()] == [(admission.id, "asked")]
    client.post(
        "/organisation/admission/", {"capability": "supplier", "note": "R", "documents": [paper.public_id]}
    )
    application.refresh_from_db()
    assert application.state == "submitted"
    assert not Attachment.objects.exists()


def test_a_key_of_another_organisations_order_is_ones_own(hub: Hub) -> None:
    """The same Idempotency-Key by two organisations: two orders, and neither learns of the other's."""
    mine = hub.order_of(hub.run())
    record = IdempotencyRecord.objects.filter(result_id=mine.id).get()
    elsewhere = make_organisation("elsewhere")
    stranger = actor_for_user(hub.user(role=Role.OWNER, at=elsewhere))
    answer = Client().post(
        "/api/v1/orders",
        data={"quote_id": typeid("quote", mine.quote_id)},
        content_type="application/json",
        headers={**bearer(stranger, organisation=elsewhere), "Idempotency-Key": record.key},
    )
    assert answer.status_code == 404
    assert mine.public_id not in answer.content.decode()


HIDING = ["evil\u202egnp", "zero\u200bwidth", "\u2066turned\u2069", "a\x00b", "bell\x07", "\ue000 private"]


@pytest.mark.parametrize("text", HIDING, ids=ascii)
def test_no_label_has_what_hides_or_turns(hub: Hub, text: str) -> None:
    """Titles, regions and pools stand on everybody's shelf: none turns the price beside it, or looks like another's."""
    offers = Offer.objects.count()
    for title, region in ((text, "here"), ("Cards", text)):
        with pytest.raises(Invalid):
            hub.offer(title, region=region)
    supplier = make_organisation("s", capabilities=["supplier"])
    for name, region in ((text, "here"), ("pool", text)):
        with pytest.raises(Invalid):
            create_pool(actor=SYSTEM, organisation_id=supplier.id, name=name, region=region, now=hub.now)
    assert Offer.objects.count() == offers
    assert not Pool.objects.filter(organisation=supplier).exists()


def test_what_people_write_in_titles_is_taken(hub: Hub) -> None:
    hub.offer("昇腾 910B（八卡）· A/B & <b> 3×8 – “夜间”", region="上海 临港")
    assert Offer.objects.filter(title_zh__contains="<b>").exists()
    text = hub.client().get("/compute/").content.decode()
    assert "&lt;b&gt; 3×8" in text
    assert "<b> 3" not in text


def test_the_hubs_letters_name_its_own_address_whatever_host_was_asked(
    hub: Hub, settings: Any, mailoutbox: list[Any]
) -> None:
    """And a link to a new password works once, and not after the password changed by another way."""
    settings.EMAIL_HOST = "mail.example"
    settings.ALLOWED_HOSTS = ["*"]
    user = hub.user(role=Role.OWNER)
    asked = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    for _ in range(2):
        Client().post("/account/password/reset/", {"email": user.email}, headers=asked)
    letters = [mail.body for mail in mailoutbox]
    assert len(letters) == 2
    assert not any("evil" in letter for letter in letters)
    first, second = (re.search(r"(/account/password/reset/key/\S+)", letter)[1] for letter in letters)  # type: ignore[index]
    there = Client()
    form = there.get(first)["Location"]
    assert "no longer valid" in Client().get(form).content.decode()  # the link's secret stays in that session
    new = {"password1": "Quartz-lantern-77", "password2": "Quartz-lantern-77"}
    assert there.post(form, new).status_code == 302
    other = {"password1": "Other-lantern-78", "password2": "Other-lantern-78"}
    there.post(form, other)
    for link in (first, second):
        assert "no longer valid" in Client().get(link, follow=True).content.decode()
    user.refresh_from_db()
    assert user.check_password("Quartz-lantern-77")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_a_session_opens_no_operation_of_the_api(hub: Hub, kind: str) -> None:
    """Whatever another site makes a browser send, its cookie says nothing there."""
    client = signed_in(hub.user(role=Role.OWNER))
    for path in ("/api/v1/orders", "/api/v1/quotes", "/api/v1/budgets"):
        assert client.post(path, data=b"{}", content_type=kind).status_code == 401, path
    for name in ("X-HTTP-Method-Override", "X-Method-Override"):
        client.get("/account/logout/?_method=POST", headers={name: "POST"})
    assert client.get(OPEN).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_is_what_came_and_nothing_is_unpacked(hub: Hub, encoding: str) -> None:
    packed = gzip.compress(b'{"email": "' + b"a" * 10_000_000) if encoding == "gzip" else zlib.compress(b"{}")
    answer = Client().post(
        "/api/v1/tokens", data=packed, content_type="application/json", headers={"Content-Encoding": encoding}
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:mosu:malformed")
