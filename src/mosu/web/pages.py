"""What every page is made with: its door, its refusals, its next page."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.cursors import page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of, person_signed_in
from mosu.web.words import said_of

View = Callable[..., HttpResponseBase]
PAGE = 30
SENT_WHY_MAX: Final = 400


def page(action: str) -> Callable[[View], View]:
    """A page behind a door: strangers are sent to the sign-in, refusals are said on a page of their own."""

    def mark(view: View) -> View:
        entered = door(action)(view)

        @wraps(entered)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                return entered(request, *args, **kwargs)
            except DomainError as refusal:
                if refusal.status == 401:
                    return redirect_to_login(request.get_full_path())
                said = {"refusal": said_of(refusal)}
                return render(request, "pages/refused.html", said, status=refusal.status)

        return shown

    return mark


def acted(
    request: HttpRequest,
    do: Callable[[], Any],
    *,
    done: str,
    to: str,
    again: Callable[..., HttpResponse],
) -> HttpResponse:
    """Do it, say so, and go `to` an address; refused, the page `again` with why, what was typed kept."""
    try:
        do()
    except DomainError as refusal:
        if refusal.status == 401:
            raise
        return again(problem=said_of(refusal), status=refusal.status)
    messages.success(request, done)
    return redirect(to)


def why_of(request: HttpRequest) -> str:
    """The reason that was sent outside a form of Django's; empty if none was. What cannot be kept is dropped."""
    return request.POST.get("why", "").replace("\x00", "").strip()[:SENT_WHY_MAX]


def organisations_known(request: HttpRequest) -> Sequence[Organisation]:
    """The organisations for which the person may speak, by name."""
    person = person_signed_in(request)
    return person.organisations if person else []


def own_organisation(request: HttpRequest) -> Organisation:
    """The organisation for which the person speaks.

    Raises:
        NotFound: they belong to none.
    """
    actor = actor_of(request)
    row = next((one for one in organisations_known(request) if one.id == actor.organisation_id), None)
    if row is None:
        raise NotFound(
            _("You belong to no organisation yet."),
            hint=_("Found one on the page of your account, or ask for an invitation."),
        )
    return row


def paged(request: HttpRequest, rows: Any) -> tuple[list[Any], str]:
    """One page of `rows`, and the address of the next one."""
    items, after = page_of(rows, request.GET.get("cursor"), PAGE)
    return items, address_after(request, after) if after else ""


def address_after(request: HttpRequest, cursor: str) -> str:
    """The address of the page behind `cursor`, with all that this one asks for."""
    kept = {name: values for name, values in request.GET.lists() if name != "cursor"}
    return "?" + urlencode({**kept, "cursor": cursor}, doseq=True)
