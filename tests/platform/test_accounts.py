"""What allauth keeps and sends."""

import time
from typing import Any

import pytest
from allauth.account.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from tests.platform.factories import NOW, make_staff, make_user

from mosu.platform.actors import HubRole
from mosu.platform.models import FailureCount, Mail, User
from mosu.platform.services import TooMany, pass_on, token_by_password

pytestmark = pytest.mark.django_db


def test_the_secret_of_an_authenticator_app_is_encrypted_at_rest() -> None:
    secret = generate_totp_secret()
    TOTP.activate(make_user(), secret)
    kept = Authenticator.objects.get()
    assert secret not in str(kept.data)
    assert not kept.wrap().validate_code("not a code")


def test_without_a_mail_server_the_operator_gets_the_link_to_a_new_password() -> None:
    make_user("li@example.org", password="forgotten by now")
    answer = Client().post("/account/password/reset/", {"email": "li@example.org"})
    assert answer.status_code == 302
    letter = Mail.objects.get()
    assert letter.email == "li@example.org"
    link = pass_on(actor=make_staff(HubRole.OPERATOR), mail_id=letter.id, now=NOW)
    assert "/account/password/reset/key/" in link
    assert not mail.outbox


def test_letters_that_nobody_needs_do_not_wait() -> None:
    get_adapter().send_mail("account/email/email_confirmation", "li@example.org", {"activate_url": "x"})
    Client().post("/account/password/reset/", {"email": "nobody@example.org"})
    assert not Mail.objects.exists()


def test_with_a_mail_server_the_link_goes_out(settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    make_user("li@example.org", password="forgotten by now")
    Client().post("/account/password/reset/", {"email": "li@example.org"})
    (sent,) = mail.outbox
    assert "/account/password/reset/key/" in sent.body
    assert not Mail.objects.exists()


@pytest.fixture
def li() -> User:
    return make_user("li@example.org", password="right enough")


def _sign_in(client: Client, password: str, **headers: Any) -> Any:
    cache.clear()  # what one process counted, another knows nothing of
    return client.post("/account/login/", {"login": "li@example.org", "password": password}, **headers)


def test_guesses_of_passwords_are_counted_by_all_processes_and_with_the_api(li: User) -> None:
    for number in range(10):
        assert _sign_in(Client(), "wrong").status_code == 200, number
    locked = Client()
    assert "Too many" in _sign_in(locked, "right enough").content.decode()
    assert "_auth_user_id" not in locked.session
    with pytest.raises(TooMany):
        token_by_password(
            email=li.email,
            password="right enough",
            name="x",
            address="127.0.0.1",
            now=timezone.now(),
        )
    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    assert _sign_in(elsewhere, "right enough").status_code == 302
    assert elsewhere.session["_auth_user_id"]


def test_who_signs_in_is_not_counted(li: User) -> None:
    for _ in range(12):
        assert _sign_in(Client(), "right enough").status_code == 302


def test_guesses_of_codes_are_counted_by_all_processes_and_a_code_opens_once(li: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(li, secret)
    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))

    def enter(tried: str) -> Client:
        client = Client()
        _sign_in(client, "right enough")
        cache.clear()
        client.post("/account/2fa/authenticate/", {"code": tried})
        return client

    assert "_auth_user_id" in enter(code).session
    assert "_auth_user_id" not in enter(code).session
    for _ in range(9):
        assert "_auth_user_id" not in enter("000000" if code != "000000" else "000001").session
    FailureCount.objects.exclude(count=10).delete()  # as if the code had not been used
    assert "_auth_user_id" not in enter(code).session
