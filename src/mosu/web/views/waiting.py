"""A pool's queue: who waits, in whose turn it is; and the weights of organisations, for the operator."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods

from mosu.compute.models import Pool
from mosu.compute.queries import pool_shares_of
from mosu.compute.queue import estimates_of, queued, waiting_in
from mosu.compute.services import set_share
from mosu.compute.services.sharing import WEIGHT_MAX
from mosu.compute.supply import pool_visible_to
from mosu.kernel.refusals import DomainError
from mosu.platform.models import Organisation
from mosu.platform.policy import allows, require
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.presenters import duration
from mosu.web.views.pools import tabs_of
from mosu.web.words import said_of

SHOWN_MAX = 200


class Weighing(forms.Form):
    """An organisation's weight."""

    organisation = forms.CharField(
        label=_lazy("Organisation"), max_length=60, help_text=_lazy("Its id: org_...")
    )
    weight = forms.IntegerField(label=_lazy("Weight"), min_value=1, max_value=WEIGHT_MAX)


@require_http_methods(["GET", "POST"])
@page("pool.read")
def pool_queue(request: HttpRequest, pool_id: str) -> HttpResponse:
    """Who waits in the pool; a supplier sees orders, not buyers."""
    actor, now = actor_of(request), timezone.now()
    row = pool_visible_to(actor, Pool.key_of(pool_id))
    may, form, problem = allows(actor, "share.set"), Weighing(request.POST or None), None
    if request.method == "POST":
        require(actor, "share.set")
        if form.is_valid():
            try:
                set_share(
                    actor=actor,
                    pool_id=row.id,
                    organisation_id=Organisation.key_of(form.cleaned_data["organisation"]),
                    weight=form.cleaned_data["weight"],
                    now=now,
                )
            except DomainError as refusal:
                problem = said_of(refusal)
            else:
                messages.success(request, _("The weight counts from the next start on."))
                return redirect("pool_queue", row.public_id)
    found = estimates_of([row.id], now=now).get(row.id)
    context: dict[str, Any] = {
        "pool": row,
        "tabs": tabs_of(row, "pool_queue"),
        "waiting": queued(waiting_in(actor, row.id)[:SHOWN_MAX], now=now),
        "sees_buyers": actor.sees_all,
        "estimates": found and {"count": found.count, "error": duration(found.median_error_s or 0)},
        "may_weigh": may,
        "shares": list(pool_shares_of(actor, row.id)[:SHOWN_MAX]),
        "form": form,
        "problem": problem,
    }
    return render(request, "pages/pool_queue.html", context, status=422 if form.errors or problem else 200)
