"""What people fill in."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from allauth.account.adapter import get_adapter
from allauth.account.forms import ChangePasswordForm, SignupForm
from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.models import Organisation, OrganisationKind, User
from mosu.platform.queries import actor_for_user
from mosu.platform.rules import name_of
from mosu.platform.services import (
    CodeUsed,
    NameTaken,
    TooMany,
    code_counted,
    count_failure,
    forgive_failure,
    found_organisation,
)
from mosu.subsidies.services import give_founders_trial
from mosu.web.words import supplier_named

INVITATIONS: Final = "/invitations/"
KNOWN_TOLD_MAX: Final = 10
KNOWN_TOLD_IN: Final = timedelta(hours=1)
"""How often one network address is told that an e-mail address is known."""

_TAKEN: Final = _("This name is taken. If it is your organisation, ask its owner for an invitation.")
_NO_NAME: Final = _("This is not a name: write 2 to 200 visible characters.")


class Founding(forms.Form):
    """The organisation for which one buys."""

    organisation = forms.CharField(
        label=_("Company or team"),
        max_length=200,
        help_text=_("The name on your receipts. A team without a company is welcome."),
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
    )
    kind = forms.ChoiceField(
        label=_("What it is"),
        choices=[
            (OrganisationKind.COMPANY, _("Company")),
            (OrganisationKind.INSTITUTE, _("Institute")),
            (OrganisationKind.TEAM, _("Team without a company")),
        ],
    )

    def clean_organisation(self) -> str:
        try:
            name = name_of(self.cleaned_data["organisation"])
        except Invalid:
            raise forms.ValidationError(_NO_NAME) from None
        if Organisation.objects.filter(name__iexact=name).exists():
            raise forms.ValidationError(_TAKEN)
        return name

    def found(self, user: User) -> Organisation:
        """The organisation, with `user` as its owner and, where it earns one, its trial voucher.

        Raises:
            NameTaken: someone was quicker.
            TooManyOrganisations: `user` owns as many as one may.
        """
        with transaction.atomic():
            organisation = found_organisation(
                actor=actor_for_user(user),
                name=self.cleaned_data["organisation"],
                kind=OrganisationKind(self.cleaned_data["kind"]),
                now=timezone.now(),
            )
            give_founders_trial(organisation_id=organisation.id)
        return organisation


class SignUp(Founding, SignupForm):  # type: ignore[misc]
    """An account and the organisation for which it buys; whoever comes by an invitation joins the inviter's."""

    field_order = ("email", "password1", "organisation", "kind")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("email", "password1"):
            self.fields[name].widget.attrs.pop("placeholder", None)
        asked = context.request
        if (asked.POST.get("next") or asked.GET.get("next", "")).startswith(INVITATIONS):
            del self.fields["organisation"], self.fields["kind"]

    def validate_unique_email(self, value: str) -> str:
        """The address if nobody has it. Where no mail confirms addresses the answer tells that, so it is rationed."""
        if settings.ACCOUNT_EMAIL_VERIFICATION == "mandatory":
            return str(super().validate_unique_email(value))
        key = f"sign-up known from {get_adapter().get_client_ip(context.request)}"
        try:
            count_failure(key=key, limit=KNOWN_TOLD_MAX, window=KNOWN_TOLD_IN, now=timezone.now())
        except TooMany:
            raise forms.ValidationError(
                _("Too many attempts from your network. Try again in an hour.")
            ) from None
        found = str(super().validate_unique_email(value))
        forgive_failure(key=key)
        return found

    def custom_signup(self, request: HttpRequest, user: User) -> None:
        if "organisation" in self.fields:
            self.found(user)

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """The account with its organisation, or neither: then the form again, with what is wrong.

        Who has an account already gets the same answer, after as long.
        """
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        try:
            with transaction.atomic():
                made: tuple[User | None, HttpResponse | None] = super().try_save(request)
                return made
        except DomainError as refusal:
            self.add_error("organisation", _TAKEN if isinstance(refusal, NameTaken) else refusal.message)
        again = {"form": self, "login_url": reverse("account_login")}
        return None, render(request, "account/signup.html", again)


class NewPassword(ChangePasswordForm):  # type: ignore[misc]
    """A new password. The old one is counted as at the sign-in: an open session is no place to guess it."""

    def clean_oldpassword(self) -> str:
        password = str(self.cleaned_data["oldpassword"])
        if get_adapter().authenticate(context.request, email=self.user.email, password=password) != self.user:
            raise get_adapter().validation_error("enter_current_password")
        return password


class _Counted:
    """Placed before a form that asks for a code: guesses are counted by all processes and the API together."""

    user: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].label = _("Six digits, or a recovery code")  # type: ignore[attr-defined]

    def clean_code(self) -> str:
        form: Any = super()
        try:
            with code_counted(user_id=self.user.id, code=self.cleaned_data["code"], now=timezone.now()):  # type: ignore[attr-defined]
                return str(form.clean_code())
        except TooMany:
            raise get_adapter().validation_error("too_many_login_attempts") from None
        except CodeUsed:
            raise get_adapter().validation_error("incorrect_code") from None


class Code(_Counted, AuthenticateForm):  # type: ignore[misc]
    """The second factor at the sign-in."""


class CodeAgain(_Counted, ReauthenticateForm):  # type: ignore[misc]
    """The second factor before something that is worth it."""


class FirstCode(ActivateTOTPForm):  # type: ignore[misc]
    """The code that shows that the app has the key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"].label = _("The six digits that the app shows")


def choose_supplier(form: forms.Form, suppliers: Sequence[Organisation]) -> None:
    """Offer the organisations for which the person may sell; one alone need not be chosen."""
    field: Any = form.fields["supplier"]
    field.choices = [(one.public_id, supplier_named(one.name)) for one in suppliers]
    if len(suppliers) == 1:
        field.widget = forms.HiddenInput()
        field.initial = suppliers[0].public_id
