"""One's own: name, language, sign-in, tokens, light and dark."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone, translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_http_methods, require_POST
from django.views.i18n import set_language

from mosu.kernel.refusals import DomainError
from mosu.platform.actors import ANONYMOUS, Scope
from mosu.platform.models import ApiToken, Organisation, User
from mosu.platform.queries import tokens_of
from mosu.platform.requests import actor_of
from mosu.platform.services import change_profile, make_token, revoke_token
from mosu.web.components import Tab
from mosu.web.navigation import LIGHT_COOKIE, LIGHTS, address_of
from mosu.web.pages import organisations_known, page
from mosu.web.tables import Button, Column, Empty, Plan, list_page
from mosu.web.words import hub_role_name, role_name, said_of

ALL: Final = "all"
SIGN_IN_COMMAND: Final = "mosu login --token-stdin"
YEAR: Final = timedelta(days=365)
LIVES: Final = (30, 90, 180, 365)
LANGUAGES: Final = (("zh-hans", "简体中文"), ("en", "English"))


class Profile(forms.Form):
    """How one is called, and in which language."""

    name = forms.CharField(
        label=pgettext_lazy("person", "Name"),
        required=False,
        max_length=100,
        help_text=_lazy("As colleagues and the hub's staff see it."),
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    language = forms.ChoiceField(
        label=_lazy("Language"),
        required=False,
        choices=[("", _lazy("As the browser says")), *LANGUAGES],
        help_text=_lazy("Of pages and of letters."),
    )


class NewToken(forms.Form):
    """A key to the API: what it may do, for whom, how long."""

    name = forms.CharField(
        label=_lazy("Name"), min_length=2, max_length=100, help_text=_lazy("Where it is used: laptop, CI.")
    )
    scopes = forms.MultipleChoiceField(
        label=_lazy("May"),
        choices=[
            (Scope.READ.value, _lazy("read what you may see")),
            (Scope.BUY.value, _lazy("ask for quotes, order, run")),
            (Scope.MANAGE.value, _lazy("manage members, money, pools")),
        ],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.READ.value, Scope.BUY.value],
    )
    organisation = forms.ChoiceField(label=_lazy("For"))
    days = forms.TypedChoiceField(
        label=_lazy("Expires after"), coerce=int, choices=[(days, days) for days in LIVES], initial=90
    )

    def __init__(self, *args: Any, organisations: Sequence[Organisation], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        of: Any = self.fields["organisation"]
        of.choices = [
            *((one.public_id, one.name) for one in organisations),
            (ALL, _("all that you belong to, and your role in the hub")),
        ]
        days: Any = self.fields["days"]
        days.choices = [(count, _("%d days") % count) for count in LIVES]


TOKENS: Final = Plan(
    name="tokens",
    title=_lazy("API tokens"),
    columns=(
        Column("name", _lazy("Name"), lambda row: row.name, sort="name"),
        Column("may", _lazy("May"), lambda row: ", ".join(row.scopes), kind="mono"),
        Column("for", _lazy("For"), lambda row: row.organisation.name if row.organisation else _("all")),
        Column("made", _lazy("Made"), lambda row: row.created_at, kind="day", sort="created_at"),
        Column("used", _lazy("Last used"), lambda row: row.last_used_at, kind="time"),
        Column("until", _lazy("Expires"), lambda row: row.expires_at, kind="day", sort="expires_at"),
        Column(
            "revoke",
            _lazy("Revoke"),
            lambda row: Button("revoke", "revoke", row.public_id, _("Revoke")),
            kind="button",
        ),
    ),
    order="-made",
    empty=Empty(
        _lazy("No tokens yet."),
        _lazy("The command line and programs of yours sign in with a token instead of the password."),
    ),
)


def tabs_of(request: HttpRequest) -> list[Tab]:
    """The pages of an account."""
    places = [("account", _("Profile and sign-in")), ("tokens", _("API tokens"))]
    return [Tab(title, address_of(name), address_of(name) == request.path) for name, title in places]


@require_http_methods(["GET", "POST"])
@page("self.read")
def account(request: HttpRequest) -> HttpResponse:
    """Who one is here: name, language, how one signs in, and the organisations one belongs to."""
    actor, user = actor_of(request), request.user
    form = Profile(initial={"name": getattr(user, "name", ""), "language": getattr(user, "language", "")})
    problem = None
    if request.method == "POST":
        form = Profile(request.POST)
        if form.is_valid():
            try:
                changed = change_profile(
                    actor=actor,
                    name=form.cleaned_data["name"],
                    language=form.cleaned_data["language"],
                    now=timezone.now(),
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                with translation.override(changed.language or translation.get_language()):
                    messages.success(request, _("Saved."))
                return redirect("account")
    kinds = set(Authenticator.objects.filter(user=actor.id).values_list("type", flat=True))
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "problem": problem,
        "confirmed": EmailAddress.objects.filter(user=actor.id, primary=True, verified=True).exists(),
        "has_totp": Authenticator.Type.TOTP in kinds,
        "has_codes": Authenticator.Type.RECOVERY_CODES in kinds,
        "organisations": [
            {"row": one, "role": role_name(actor.roles[one.id]), "is_here": one.id == actor.organisation_id}
            for one in organisations_known(request)
        ],
        "hub_roles": [hub_role_name(role) for role in sorted(actor.hub_roles)],
    }
    return render(request, "pages/account.html", context)


@require_http_methods(["GET", "POST"])
@page("self.read")
def tokens(request: HttpRequest) -> HttpResponse:
    """One's keys to the API. What was made is shown once; what is revoked is void at once."""
    actor, now = actor_of(request), timezone.now()
    if request.method == "POST" and "revoke" in request.POST:
        revoke_token(actor=actor, token_id=ApiToken.key_of(request.POST["revoke"]), now=now)
        messages.success(request, _("The token is revoked: nothing can use it any more."))
        return redirect("tokens")
    organisations = organisations_known(request)
    initial = {"organisation": _public(actor.organisation_id)}
    form, made, problem = NewToken(organisations=organisations, initial=initial), None, None
    if request.method == "POST":
        form = NewToken(request.POST, organisations=organisations)
        if form.is_valid():
            given = form.cleaned_data
            try:
                _token, made = make_token(
                    actor=actor,
                    name=given["name"],
                    scopes=given["scopes"],
                    organisation_id=Organisation.key_of(given["organisation"])
                    if given["organisation"] != ALL
                    else None,
                    expires_at=now + timedelta(days=given["days"]),
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                form = NewToken(organisations=organisations, initial=initial)
    context = {
        "tabs": tabs_of(request),
        "form": form,
        "made": made,
        "problem": problem,
        "command": SIGN_IN_COMMAND,
    }
    return list_page(request, "pages/tokens.html", TOKENS, tokens_of(actor), context=context)


def _public(organisation_id: Any) -> str:
    return Organisation(id=organisation_id).public_id if organisation_id else ""


@require_POST
@page("hub.look")
def choose_language(request: HttpRequest) -> HttpResponseBase:
    """The language of pages: on this device, and of the account where someone is signed in."""
    actor, language = actor_of(request), request.POST.get("language", "")
    if actor is not ANONYMOUS and isinstance(request.user, User) and language in dict(LANGUAGES):
        change_profile(actor=actor, language=language, now=timezone.now())
    return set_language(request)


@require_POST
@page("hub.look")
def set_light(request: HttpRequest) -> HttpResponse:
    """Light or dark colours on this device, whatever the device says itself."""
    back = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    response = redirect(back if is_ours else "/")
    light = request.POST.get("light", "")
    if light in LIGHTS:
        response.set_cookie(
            LIGHT_COOKIE, light, max_age=YEAR, secure=request.is_secure(), httponly=True, samesite="Lax"
        )
    return response
