"""How allauth keeps secrets and sends letters on a hub."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.http import HttpRequest
from django.utils import timezone, translation

from mosu.kernel.refusals import Invalid
from mosu.platform import services
from mosu.platform.secrets import seal, unseal


class _Site(NamedTuple):
    """What letters call the hub."""

    name: str
    domain: str


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Everyone may sign up; what a new account may do is the policy's."""

    def clean_email(self, email: str) -> str:
        """The address as it is kept."""
        try:
            return services.email_of(email)
        except Invalid:
            raise ValidationError(EmailValidator.message) from None

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """allauth counts in each process for itself; here all processes and the API count together."""
        super().pre_authenticate(request, **credentials)
        try:
            services.count_password(**_who(request, credentials), now=timezone.now())
        except services.TooMany:
            raise self.validation_error("too_many_login_attempts") from None

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        user = super().authenticate(request, **credentials)
        if user is not None:
            services.forgive_password(**_who(request, credentials))
        return user

    def should_send_confirmation_mail(self, request: HttpRequest, email_address: Any, signup: bool) -> bool:
        """Only where mail goes out: nobody is told of a letter that was never sent."""
        asked: bool = super().should_send_confirmation_mail(request, email_address, signup)
        return asked and services.mail_goes_out()

    def format_email_subject(self, subject: str) -> str:
        return f"[{urlsplit(settings.MOSU_URL).netloc}] {subject}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send as allauth does; without a mail server the link to a new password waits for the operator.

        Letters without such a link are left out then: nothing on such a hub needs a confirmed address.
        Whoever asked for the letter may have named the hub as they liked: it names itself by its own address.
        """
        context = {name: _ours(value) if name.endswith("_url") else value for name, value in context.items()}
        context["current_site"] = _Site(*[urlsplit(settings.MOSU_URL).netloc] * 2)
        if services.mail_goes_out():
            user = context.get("user")
            with translation.override(getattr(user, "language", "") or translation.get_language()):
                super().send_mail(template_prefix, email, context)
        elif "password_reset_url" in context:
            services.post_mail(
                email=email,
                title={"zh": "设置新密码", "en": "Set a new password"},
                body={
                    "zh": "请打开链接设置新密码。如果您没有要求，请忽略。",
                    "en": "Open the link to set a new password. If you did not ask for it, ignore this.",
                },
                secret_link=context["password_reset_url"],
                now=timezone.now(),
            )


def _ours(url: str) -> str:
    """The same page at the hub's own address."""
    return settings.MOSU_URL + urlsplit(url)._replace(scheme="", netloc="").geturl()


def _who(request: HttpRequest, credentials: Mapping[str, Any]) -> dict[str, str]:
    return {"email": str(credentials.get("email", "")), "address": request.META.get("REMOTE_ADDR", "")}


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """The secrets of authenticator apps and recovery codes, encrypted at rest."""

    def encrypt(self, text: str) -> str:
        return seal(text).decode("ascii")

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(encrypted_text.encode("ascii"))
