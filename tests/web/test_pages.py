"""Each page as each kind of person meets it."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from mosu.market.models import Order, Quote
from mosu.market.receipts import code_of
from mosu.market.shapes import verify_url_of
from mosu.platform.actors import SYSTEM, HubRole, Role
from mosu.platform.models import Event, Membership, Organisation, User
from mosu.platform.services import deliver, invite
from mosu.subsidies.models import Voucher
from mosu.web.presenters import receipt_shown
from tests.subsidies.factories import released
from tests.web.conftest import PASSWORD, Hub, page, queries

ASK = {"run": "echo hello", "name": "first", "cpus": 1, "memory": 1, "wall_limit": 5, "accelerators": ""}
SIGN_IN = "/account/login/"

AsSeenBy = Callable[[str], Client]


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        # shelf, quote, checkout, orders, order, its changing parts, receipt, bills, a bill, verify, account
        ("anonymous", [200, 302, 302, 302, 302, 302, 302, 302, 302, 200, 302]),
        ("owner", [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("viewer", [200, 403, 200, 200, 200, 200, 200, 200, 200, 200, 200]),
        ("auditor", [200, 403, 200, 200, 200, 200, 200, 404, 404, 200, 200]),
        ("stranger", [200, 200, 404, 200, 404, 404, 404, 200, 200, 200, 200]),
    ],
)
def test_who_sees_which_page(hub: Hub, as_seen_by: AsSeenBy, who: str, statuses: list[int]) -> None:
    receipt = hub.settled()
    order = receipt.order.public_id
    paths = [
        "/",
        "/quote/",
        f"/quotes/{receipt.order.quote.public_id}/",
        "/orders/",
        f"/orders/{order}/",
        f"/orders/{order}/now/",
        f"/receipts/{receipt.public_id}/",
        "/bills/",
        f"/bills/{hub.now:%Y-%m}/",
        f"/verify/{receipt.number}/{code_of(receipt)}/",
        "/you/",
    ]
    client = as_seen_by(who)
    for language in ("en", "zh-hans"):
        responses = [client.get(path, headers={"Accept-Language": language}) for path in paths]
        assert [response.status_code for response in responses] == statuses
        assert all(SIGN_IN in response["Location"] for response in responses if response.status_code == 302)


def test_every_page_forbids_inline_scripts_and_styles_and_has_none(hub: Hub, owner: Client) -> None:
    receipt = hub.settled()
    order = f"/orders/{receipt.order.public_id}/"
    paths = [
        "/",
        "/quote/",
        "/quote/?by=file",
        f"/quotes/{receipt.order.quote.public_id}/",
        "/orders/",
        "/bills/",
        f"/bills/{hub.now:%Y-%m}/",
        order,
        f"/receipts/{receipt.public_id}/",
        "/you/",
        "/account/2fa/",
        "/no/such/",
    ]
    for path in paths:
        response = owner.get(path)
        policy = response["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "style-src 'self'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=\"", page(response)), path


def test_a_receipt_adds_up_and_names_units_in_words(hub: Hub, owner: Client) -> None:
    receipt = hub.settled()
    text = page(owner.get(f"/receipts/{receipt.public_id}/"))
    assert "core-hours" in text
    assert "core_hour" not in text
    assert receipt.content["total"] in text
    assert receipt.sha256 in text
    assert f">{verify_url_of(receipt)}</span>" in text  # on paper nobody can follow a link
    assert (receipt.content["total"], receipt.content["lines"][0]["metered"]) == ("0.00", 0)
    assert "Used: less than 1 core-s" in text


@pytest.mark.parametrize(
    ("quantity", "amount", "tiny"),
    [("0.013888", "0.00", True), ("0.013889", "0.01", False), ("1", "0.00", False)],
)
def test_a_receipt_says_what_rounds_to_nothing(hub: Hub, quantity: str, amount: str, tiny: bool) -> None:
    """50 core-seconds at 0.36 are half a cent, which goes to the even; an hour at nothing was credited."""
    receipt = hub.settled()
    line = receipt.content["lines"][0] | {"quantity": quantity, "unit_price": "0.36", "amount": amount}
    receipt.content["lines"] = [line]
    assert receipt_shown(receipt)["lines"][0]["tiny"] is tiny


def test_a_receipt_with_a_wrong_code_is_not_verified(hub: Hub) -> None:
    receipt = hub.settled()
    response = hub.client().get(f"/verify/{receipt.number}/{'0' * 16}/")
    assert response.status_code == 404
    assert receipt.sha256 not in page(response)


def test_the_shelf_asks_as_often_for_twenty_offers_as_for_one(
    committed_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = committed_hub
    monkeypatch.setattr("mosu.market.catalogue.keeping.DUE", timedelta(seconds=20))
    owner = hub.client(hub.user(role=Role.OWNER))
    hub.offer("Ascend 910B", accelerator="ascend-910b2")
    one = queries(owner, "/compute/")
    for number in range(20):
        hub.offer(f"MetaX {number}", accelerator="metax-c500")
    monkeypatch.setattr("mosu.market.catalogue.keeping._catalogues", {})  # as if 20 s had passed
    assert queries(owner, "/compute/") == one
    assert one <= 12


def test_the_list_of_orders_asks_as_often_for_twenty_as_for_one(hub: Hub, owner: Client) -> None:
    hub.run()
    one = queries(owner, "/orders/")
    for _ in range(19):
        hub.run()
    assert page(owner.get("/orders/")).count("/orders/order_") == 20
    assert queries(owner, "/orders/") == one
    assert one <= 8


def test_a_quote_says_who_pays_and_why_others_were_refused(hub: Hub, owner: Client) -> None:
    for number in range(5):
        hub.offer(f"Card {number}", accelerator="ascend-910b2")
    text = page(owner.post("/quote/", ASK))
    assert len(re.findall(r'href="/quotes/quote_\w+/"', text)) == 1
    assert "Pay now" in text
    assert text.count("Sells cards, not cores.") == 1
    assert "5 offers" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": ""}, "This field is required."),
        ({"cpus": 0}, "greater than or equal to 1"),
        ({"accelerators": "Nonesuch:1"}, "Nonesuch"),
        ({"cpus": 4096}, "No offer fits."),
        ({"name": "<script>alert(1)</script>"}, "Small letters, digits"),
    ],
)
def test_a_request_that_cannot_be_quoted_says_why(owner: Client, change: dict[str, Any], said: str) -> None:
    response = owner.post("/quote/", ASK | change)
    assert response.status_code == 200
    assert said in page(response)
    assert "<script>alert" not in page(response)
    assert not Quote.objects.exists()


@pytest.mark.parametrize(
    "path", ["/quote/", "/you/", "/you/organisation/", "/you/found/", "/language/", SIGN_IN]
)
def test_a_form_without_its_token_is_refused(hub: Hub, path: str) -> None:
    client = hub.client(hub.user(role=Role.OWNER), strict=True)
    response = client.post(path, ASK)
    assert response.status_code == 403
    assert "This form was not accepted" in page(response)
    assert not Quote.objects.exists()


def test_a_viewer_cannot_cancel_and_sees_no_button(hub: Hub, as_seen_by: AsSeenBy) -> None:
    order = hub.order_of(hub.run())
    viewer = as_seen_by("viewer")
    assert "Cancel the run" not in page(viewer.get(f"/orders/{order.public_id}/"))
    assert viewer.post(f"/orders/{order.public_id}/cancel/").status_code == 403
    assert Order.objects.get(id=order.id).state == order.state


def test_what_people_write_is_shown_as_text(hub: Hub) -> None:
    evil = "<script>alert(1)</script> Ltd"
    user = hub.user()
    client = hub.client(user)
    client.post("/you/found/", {"organisation": evil, "kind": "team"})
    client.post("/you/", {"name": evil})
    client.post("/you/tokens/", {"name": evil, "scopes": "read", "days": 30, "organisation": "all"})
    client.post("/organisation/projects/", {"name": evil})
    for path in (
        "/you/",
        "/you/tokens/",
        "/organisation/",
        "/organisation/members/",
        "/organisation/projects/",
    ):
        text = page(client.get(path))
        assert "&lt;script&gt;alert(1)&lt;/script&gt; Ltd" in text
        assert "<script>alert" not in text


def test_cancelling_ends_a_run_that_waits(hub: Hub, owner: Client) -> None:
    order = hub.order_of(hub.run())
    response = owner.post(f"/orders/{order.public_id}/cancel/", follow=True)
    assert "The run is being stopped" in page(response)
    assert Order.objects.get(id=order.id).state != order.state


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_that_do_not_exist_say_so(hub: Hub, language: str) -> None:
    response = hub.client(language=language).get("/no/such/page/")
    assert response.status_code == 404
    assert ("There is no such page" if language == "en" else "没有这个页面") in page(response)


def test_a_failure_of_ours_is_said_in_both_languages(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr("mosu.web.views.shelf.search_offers", broken)
    for language, said in (("en", "mosu failed to answer"), ("zh-hans", "mosu 未能作答")):
        client = hub.client(language=language)
        client.raise_request_exception = False
        response = client.get("/compute/")
        assert response.status_code == 500
        assert said in page(response)
        assert "a bug" not in page(response)
        assert "/account/" not in page(response)  # it does not know who looks


SIGN_UP = {"email": "new@example.org", "password1": PASSWORD, "organisation": "New Ltd", "kind": "company"}


def test_signing_up_founds_the_organisation(hub: Hub) -> None:
    client = hub.client()
    response = client.post("/account/signup/", SIGN_UP)
    assert response.status_code == 302
    membership = Membership.objects.get(user__email="new@example.org")
    assert (membership.organisation.name, membership.role) == ("New Ltd", Role.OWNER)
    assert "New Ltd" in page(client.get("/you/"))


def test_the_first_page_after_signing_up_shows_the_trial(hub: Hub) -> None:
    """No worker runs here: nothing but the sign-up itself can have given it."""
    released(kind="trial", rate="1", more='grant: "10"\ncap_per_order: "10"')
    client = hub.client()
    first = page(client.post("/account/signup/", SIGN_UP, follow=True))
    assert '<b class="pub">¥10.00</b>' in first
    organisation = Membership.objects.get(user__email="new@example.org").organisation
    event = Event.objects.get(name="platform.organisation_founded", subject_id=organisation.id)
    deliver(event_id=event.id, now=hub.now)
    assert Voucher.objects.filter(organisation=organisation).count() == 1


def test_nobody_is_told_of_a_letter_that_was_not_sent(hub: Hub, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    signed_up = page(hub.client().post("/account/signup/", SIGN_UP, follow=True))
    assert "sent to" not in signed_up
    settings.EMAIL_HOST = "mail.example.org"
    again = SIGN_UP | {"email": "other@example.org", "organisation": "Other Ltd"}
    assert "sent to" in page(hub.client().post("/account/signup/", again, follow=True))


def test_where_the_link_to_a_new_password_is(hub: Hub, settings: Any) -> None:
    settings.EMAIL_HOST = ""
    asked = {"email": "new@example.org"}
    assert "This hub sends no mail" in page(hub.client().post("/account/password/reset/", asked, follow=True))
    settings.EMAIL_HOST = "mail.example.org"
    assert "on its way" in page(hub.client().post("/account/password/reset/", asked, follow=True))


@pytest.mark.parametrize(
    ("organisation", "said"),
    [("NEW ltd", "This name is taken."), ("x", "This is not a name"), ("a\u202eb", "not a name")],
)
def test_a_bad_or_taken_name_makes_no_account(hub: Hub, organisation: str, said: str) -> None:
    hub.client().post("/account/signup/", SIGN_UP)
    users = User.objects.count()
    again = SIGN_UP | {"email": "other@example.org", "organisation": organisation}
    response = hub.client().post("/account/signup/", again)
    assert response.status_code == 200
    assert said in page(response)
    assert User.objects.count() == users


def test_a_name_taken_while_signing_up_makes_no_account(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.client().post("/account/signup/", SIGN_UP)
    users = User.objects.count()
    # Both asked before either had the name.
    monkeypatch.setattr(
        "mosu.web.forms.SignUp.clean_organisation", lambda form: form.cleaned_data["organisation"]
    )
    response = hub.client().post("/account/signup/", SIGN_UP | {"email": "other@example.org"})
    assert response.status_code == 200
    assert "This name is taken." in page(response)
    assert User.objects.count() == users


def test_an_invitation_is_accepted_by_a_press_of_the_button_alone(hub: Hub) -> None:
    _, link = invite(
        actor=SYSTEM,
        organisation_id=hub.world.buyer.id,
        email="guest@example.org",
        role=Role.DEVELOPER,
        now=hub.now,
    )
    path = "/invitations/" + link.rpartition("/")[2]
    client = hub.client()
    assert hub.world.buyer.name in page(client.get(path))
    # The invited found no organisation of their own.
    signed_up = client.post(
        "/account/signup/", {"email": "guest@example.org", "password1": PASSWORD, "next": path}
    )
    assert signed_up["Location"] == path
    assert not Membership.objects.filter(user__email="guest@example.org").exists()
    assert client.post(path).status_code == 302
    assert Membership.objects.get(user__email="guest@example.org").organisation == hub.world.buyer
    assert "This invitation is over" in page(client.get(path))


def test_an_invitation_is_for_one_person(hub: Hub, as_seen_by: AsSeenBy) -> None:
    _, link = invite(
        actor=SYSTEM,
        organisation_id=hub.world.buyer.id,
        email="guest@example.org",
        role=Role.DEVELOPER,
        now=hub.now,
    )
    path = "/invitations/" + link.rpartition("/")[2]
    members = Membership.objects.count()
    stranger = as_seen_by("stranger")
    assert members + 1 == Membership.objects.count()  # the stranger's own
    assert "Sign out, then open this address again" in page(stranger.get(path))
    assert stranger.post(path).status_code == 404
    assert hub.client().post(path).status_code == 302  # to the sign-in
    assert hub.client().get("/invitations/nonsense").status_code == 404
    assert members + 1 == Membership.objects.count()


def test_one_speaks_for_another_of_ones_organisations(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER)
    client = hub.client(user)
    client.post("/you/found/", {"organisation": "Second Ltd", "kind": "team"})
    second = Organisation.objects.get(name="Second Ltd")
    assert client.post("/you/organisation/", {"organisation": second.public_id}).status_code == 302
    assert "<h1>Second Ltd</h1>" in page(client.get("/organisation/"))
    assert client.post("/you/organisation/", {"organisation": hub.world.buyer.public_id}).status_code == 302
    assert f"<h1>{hub.world.buyer.name}</h1>" in page(client.get("/organisation/"))


def test_nobody_speaks_for_an_organisation_of_others(hub: Hub, as_seen_by: AsSeenBy) -> None:
    for who in ("stranger", "auditor"):
        client = as_seen_by(who)
        before = page(client.get("/you/"))
        response = client.post("/you/organisation/", {"organisation": hub.world.buyer.public_id})
        assert response.status_code == 404
        assert "organisation_id" not in client.session
        assert hub.world.buyer.name not in before


def test_the_purse_is_the_organisations(hub: Hub, owner: Client) -> None:
    text = page(owner.get("/orders/"))
    assert "¥1,000.00" in text
    assert hub.world.buyer.name in text
    assert "¥1,000.00" not in page(hub.client(hub.user(hub=HubRole.AUDITOR)).get("/orders/"))
