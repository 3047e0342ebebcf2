"""What allauth keeps and sends."""

from typing import Any

import pytest
from allauth.account.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from django.urls import include, path
from tests.platform.factories import NOW, make_staff, make_user

from mosu.platform.actors import HubRole
from mosu.platform.models import Mail
from mosu.platform.services import pass_on

urlpatterns = [path("account/", include("allauth.urls"))]
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _adapters(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.ACCOUNT_ADAPTER = "mosu.platform.accounts.AccountAdapter"
    settings.MFA_ADAPTER = "mosu.platform.accounts.MfaAdapter"


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
