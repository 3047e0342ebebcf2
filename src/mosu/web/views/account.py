"""One's own: organisation, tokens, invitations, light and dark."""

from datetime import timedelta
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from mosu.kernel.refusals import NotFound
from mosu.platform.actors import ALL_SCOPES
from mosu.platform.models import ApiToken, InvitationState, Organisation, User
from mosu.platform.queries import invitation_with, tokens_of
from mosu.platform.requests import actor_of
from mosu.platform.services import accept_invitation, make_token, revoke_token
from mosu.web.forms import Founding
from mosu.web.navigation import LIGHT_COOKIE, LIGHTS
from mosu.web.pages import page
from mosu.web.presenters import (
    vouchers_shown,
)
from mosu.web.words import role_name

TOKEN_LIFE: Final = timedelta(days=90)
YEAR: Final = timedelta(days=365)


@require_http_methods(["GET", "POST"])
@page("self.read")
def account(request: HttpRequest) -> HttpResponse:
    """Balance, vouchers, tokens: what one has and how to reach it from elsewhere."""
    actor, now = actor_of(request), timezone.now()
    new_token = None
    if request.method == "POST" and "revoke" in request.POST:
        revoke_token(actor=actor, token_id=ApiToken.key_of(request.POST["revoke"]), now=now)
        messages.success(request, _("The token is revoked: nothing can use it any more."))
        return redirect("account")
    if request.method == "POST":
        _token, new_token = make_token(
            actor=actor,
            name=request.POST.get("name", "").strip() or "token",
            scopes=sorted(ALL_SCOPES),
            organisation_id=actor.organisation_id,
            expires_at=now + TOKEN_LIFE,
            now=now,
        )
    return render(
        request,
        "pages/account.html",
        {
            "here": "account",
            "vouchers": vouchers_shown(actor),
            "tokens": tokens_of(actor),
            "new_token": new_token,
            "founding": Founding(),
            "days": TOKEN_LIFE.days,
        },
    )


@require_POST
@page("self.change")
def choose_organisation(request: HttpRequest) -> HttpResponse:
    """Speak for another of one's organisations, in this session."""
    chosen = Organisation.key_of(request.POST.get("organisation", ""))
    if chosen not in actor_of(request).organisation_ids:
        raise NotFound(_("You do not belong to this organisation."), hint=_("Ask for an invitation."))
    request.session["organisation_id"] = str(chosen)
    return redirect("account")


@require_POST
@page("organisation.found")
def found(request: HttpRequest) -> HttpResponse:
    """An organisation of one's own, for those who signed up without one."""
    form = Founding(request.POST)
    user = request.user
    if not form.is_valid() or not isinstance(user, User):
        return render(request, "pages/account.html", {"here": "account", "founding": form}, status=422)
    form.found(user)
    return redirect("account")


@require_http_methods(["GET", "POST"])
@page("hub.enter")
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    """What one is invited to; accepting takes a press of the button, since mail readers open links by themselves."""
    if request.method == "POST":
        membership = accept_invitation(actor=actor_of(request), secret=secret, now=timezone.now())
        request.session["organisation_id"] = str(membership.organisation_id)
        messages.success(request, _("Welcome to %s.") % membership.organisation.name)
        return redirect("account")
    row = invitation_with(secret)
    if row is None:
        raise NotFound(
            _("There is no such invitation."),
            hint=_("Compare the address with the letter, or ask for a new one."),
        )
    context = {
        "invitation": row,
        "role": role_name(row.role),
        "over": row.state != InvitationState.OPEN or row.expires_at <= timezone.now(),
        "is_yours": actor_of(request).label.lower() == row.email.lower(),
    }
    return render(request, "pages/invitation.html", context)


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
