"""The first page after the sign-in: whose turn it is, due when, what waits on me."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.buying.session import my_sessions
from mosu.web.pages import page
from mosu.web.surroundings import purse_of_request
from mosu.web.today import day_of


@require_GET
@page("self.read")
def today(request: HttpRequest) -> HttpResponse:
    """What is mine to do, what goes on by itself, what waits on others."""
    now = timezone.now()
    actor = actor_of(request)
    day = day_of(actor, purse=purse_of_request(request), now=now)
    desk = reverse("desk") if allows(actor, "desk.read") else ""
    mine = my_sessions(actor, now=now)
    return render(request, "pages/today.html", {"day": day, "now": now, "desk": desk, "sessions": mine})
