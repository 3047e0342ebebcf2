"""Letters about accounts: whose address they name, and who is told what changed."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.core.cache import cache
from django.test import Client
from tests.platform.factories import make_user

from mosu.platform.models import FailureCount, User

pytestmark = pytest.mark.django_db
PASSWORD = "right enough"
HUB = "https://hub.example"


@pytest.fixture(autouse=True)
def _mailing(settings: Any) -> None:
    cache.clear()
    settings.EMAIL_HOST = "mail.example.org"
    settings.MOSU_URL = HUB
    settings.ALLOWED_HOSTS = ["hub.example", "localhost"]


@pytest.fixture
def li() -> User:
    user = make_user("li@example.org", password=PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def signed_in(user: User) -> Client:
    client = Client(headers={"Host": "hub.example"})
    assert client.post("/account/login/", {"login": user.email, "password": PASSWORD}).status_code == 302
    return client


@pytest.mark.parametrize("host", ["hub.example:6666", "localhost:6666", "localhost"])
def test_a_letter_names_the_hubs_own_address_whatever_was_asked(li: User, host: str) -> None:
    """Whoever asks for somebody's new password chooses the Host header, its port at least."""
    asking = Client(headers={"Host": host, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"})
    for address in (li.email, "nobody@example.org"):
        asking.post("/account/password/reset/", {"email": address})
    asking.post(
        "/account/signup/",
        {"email": li.email, "password1": "correct horse battery 9", "organisation": "New", "kind": "team"},
    )
    assert len(mail.outbox) >= 2
    for letter in mail.outbox:
        said = f"{letter.subject}\n{letter.body}"
        assert not re.search("localhost|6666|evil", said), said
        assert all(link.startswith(f"{HUB}/account/") for link in re.findall(r"https?://\S+", letter.body))
        assert letter.subject.startswith("[hub.example] ")


def test_a_session_alone_adds_no_address(li: User) -> None:
    """To a new address a new password could be sent: the password is asked for first."""
    client = Client(headers={"Host": "hub.example"})
    client.force_login(li)  # a session that was found, long after the password was given
    answer = client.post("/account/email/", {"email": "thief@example.org", "action_add": ""})
    assert answer["Location"].startswith("/account/reauthenticate/")
    assert [one.email for one in EmailAddress.objects.all()] == [li.email]


def test_a_new_address_is_confirmed_first_and_the_old_one_hears_of_it(li: User) -> None:
    client = signed_in(li)
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    client.post("/account/email/", {"email": "new@example.org", "action_add": ""})
    (asked,) = mail.outbox
    assert asked.to == ["new@example.org"]
    client.post("/account/email/", {"email": "new@example.org", "action_primary": ""})
    li.refresh_from_db()
    assert li.email == "li@example.org"
    (link,) = re.findall(rf"{HUB}(/account/confirm-email/\S+)", asked.body)
    client.post(link)
    client.post("/account/email/", {"email": "new@example.org", "action_primary": ""})
    li.refresh_from_db()
    assert li.email == "new@example.org"
    told = [letter for letter in mail.outbox if letter.to == ["li@example.org"]]
    assert len(told) == 1 and "new@example.org" in told[0].body


def test_a_new_password_is_told(li: User) -> None:
    new = "another long enough password"
    signed_in(li).post(
        "/account/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new}
    )
    assert [letter.to for letter in mail.outbox] == [["li@example.org"]]


def test_recovery_codes_are_guessed_ten_times_and_open_once(li: User, settings: Any) -> None:
    TOTP.activate(li, generate_totp_secret())
    code = RecoveryCodes.activate(li).get_unused_codes()[0]

    def enter(tried: str) -> bool:
        client = signed_in(li)
        cache.clear()  # what one process counted, another knows nothing of
        client.post("/account/2fa/authenticate/", {"code": tried})
        return "_auth_user_id" in client.session

    assert enter(code)
    assert not enter(code)
    for number in range(9):
        assert not enter(f"{number:08d}")
    assert FailureCount.objects.filter(count=10).exists()
    assert not enter(RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()[0])
