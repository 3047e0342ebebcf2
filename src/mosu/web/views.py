"""The pages. Each works without JavaScript; each asks the same services as the API."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.kernel.refusals import DomainError, NotFound
from mosu.platform.doors import door
from mosu.platform.requests import actor_of

View = Callable[..., HttpResponse]
PAGE = 30


def page(action: str) -> Callable[[View], View]:
    """A page behind a door: strangers are sent to the sign-in, refusals are said on a page of their own."""

    def mark(view: View) -> View:
        entered = door(action)(view)

        @wraps(entered)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                return entered(request, *args, **kwargs)
            except DomainError as refusal:
                if refusal.status == 401:
                    return login_required(lambda _: HttpResponse())(request)
                return render(request, "pages/refused.html", {"refusal": refusal}, status=refusal.status)

        return shown

    return mark
