"""What a sign-up tells of others, and which addresses and names it takes."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.test import Client

from mosu.compute.models import Run
from mosu.market.models import Order, OrderState, Quote
from mosu.platform.models import User
from mosu.subsidies.rules.split import Split
from mosu.web import forms
from tests.passwords import QuickScrypt
from tests.subsidies.factories import released
from tests.web.conftest import Hub


@pytest.fixture(autouse=True)
def _nobody_counted() -> None:
    cache.clear()


def _sign_up(email: str, organisation: str = "", client: Client | None = None) -> Any:
    asked = {
        "email": email,
        "password1": "correct horse battery 9",
        "organisation": organisation or f"org of {email.encode().hex()[:60]}",
        "kind": "team",
    }
    return (client or Client()).post("/account/signup/", asked, headers={"Accept-Language": "en"})


def test_only_so_many_known_addresses_are_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "KNOWN_TOLD_MAX", 3)
    assert _sign_up("known@example.org").status_code == 302
    answers = [_sign_up("known@example.org").content.decode() for _ in range(4)]
    assert ["Too many attempts" in answer for answer in answers] == [False, False, False, True]
    fresh = _sign_up("fresh@example.org")
    assert (fresh.status_code, User.objects.filter(email="fresh@example.org").exists()) == (200, False)
    assert "Too many attempts" in fresh.content.decode()
    other = Client(REMOTE_ADDR="192.0.2.7")
    assert _sign_up("fresh@example.org", client=other).status_code == 302


def test_who_signs_up_is_not_counted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "KNOWN_TOLD_MAX", 1)
    assert [_sign_up(f"new{number}@example.org").status_code for number in range(4)] == [302] * 4


def test_where_mail_confirms_addresses_known_and_new_are_answered_alike(hub: Hub, settings: Any) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    answers = [
        _sign_up(email, f"team {n}")
        for n, email in enumerate(("a@example.org", "a@example.org", "b@example.org"))
    ]
    assert {(answer.status_code, answer.headers.get("Location")) for answer in answers} == {
        (302, "/account/confirm-email/")
    }
    assert User.objects.filter(email__in=["a@example.org", "b@example.org"]).count() == 2


def test_where_mail_confirms_known_and_new_take_as_long(
    hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password's hash is nearly all the time of a sign-up: it was made for new addresses alone."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    hashed: list[str] = []
    encode = QuickScrypt.encode

    def counted(self: QuickScrypt, password: str, *args: Any, **more: Any) -> str:
        hashed.append(password)
        return str(encode(self, password, *args, **more))

    monkeypatch.setattr(QuickScrypt, "encode", counted)
    costs = []
    for n in range(2):
        assert _sign_up("a@example.org", f"team {n}").status_code == 302
        costs.append(len(hashed))
    assert costs == [1, 2]


def test_where_mail_confirms_one_comes_from_the_sign_up_to_an_order_without_anybody(
    hub: Hub, settings: Any, mailoutbox: list[Any]
) -> None:
    """The link of the letter is followed in another browser, as on a phone; nobody of the hub does anything."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    settings.EMAIL_HOST = "mail.example.org"
    released(kind="trial", rate="1", more='grant: "10"\ncap_per_order: "10"')
    asked = {"email": "new@example.org", "password": "correct horse battery 9"}
    client = Client(headers={"Accept-Language": "en"})
    assert _sign_up(asked["email"], "New Ltd", client).headers["Location"] == "/account/confirm-email/"
    assert client.get("/you/").status_code == 302
    signing_in = {"login": asked["email"], "password": asked["password"]}
    assert client.post("/account/login/", signing_in).headers["Location"] == "/account/confirm-email/"
    assert "_auth_user_id" not in client.session

    [letter] = [one for one in mailoutbox if one.to == [asked["email"]]][:1]
    link = re.search(r"https?://\S+(/account/confirm-email/\S+)", letter.body)
    assert link
    phone = Client(headers={"Accept-Language": "en"})
    assert "Confirm" in phone.get(link[1]).content.decode()
    assert not EmailAddress.objects.get(email=asked["email"]).verified, "to look is not to confirm"
    assert phone.post(link[1]).status_code == 302
    assert EmailAddress.objects.get(email=asked["email"]).verified

    assert client.post("/account/login/", signing_in).status_code == 302
    assert '<b class="pub">¥10.00</b>' in client.get("/").content.decode()
    task = {"run": "echo hello", "name": "first", "cpus": 1, "memory": 1, "wall_limit": 5, "accelerators": ""}
    quoted = client.post("/quote/", task).content.decode()
    quote = re.search(r'href="(/quotes/quote_\w+/)"', quoted)
    assert quote, quoted
    assert client.post(f"{quote[1]}accept/").status_code == 302
    order = Order.objects.get()
    assert (order.organisation.name, order.organisation.kind) == ("New Ltd", "team")
    assert order.state == OrderState.PLACED
    shares = Split.from_json(Quote.objects.get(id=order.quote_id).split)
    assert shares.voucher_now_micros == order.total_max_micros and shares.pay_now_micros == 0
    assert Run.objects.get().order_id == order.id


@pytest.mark.parametrize(
    "email",
    [
        "vıctim@example.org",
        "victіm@example.org",
        "a@exаmple.org",
        "ａ@example.org",
    ],
)
def test_addresses_that_look_like_others_are_refused(hub: Hub, email: str) -> None:
    before = User.objects.count()
    assert _sign_up(email).status_code == 200
    assert User.objects.count() == before


@pytest.mark.parametrize("name", ["Rеs Ltd", "Ｒes Ltd", "Αlpha Ltd"])
def test_names_that_look_like_others_are_refused(hub: Hub, name: str) -> None:
    before = User.objects.count()
    assert _sign_up("a@example.org", name).status_code == 200
    assert User.objects.count() == before


@pytest.mark.parametrize(
    "name", ["上海某某（北京）有限公司", "Société Générale", "Яндекс", "第1实验室 Lab", "Ελλάς 2"]
)
def test_names_of_the_world_are_taken(hub: Hub, name: str) -> None:
    assert _sign_up("a@example.org", name).status_code == 302
