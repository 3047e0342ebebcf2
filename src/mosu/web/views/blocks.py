"""Reserving a block of an offer: when there is room, what it costs, by which rules it is cancelled."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_http_methods

from mosu.compute.services import quote_block
from mosu.kernel.refusals import DomainError, NotFound
from mosu.kernel.time import Period
from mosu.market.blocks import BlockTerms
from mosu.market.hub import hub_zone
from mosu.market.models import Offer
from mosu.market.queries import offers_named
from mosu.platform.requests import actor_of
from mosu.web.labels import block_facts, label_of
from mosu.web.pages import page
from mosu.web.views.calendar import heats_of
from mosu.web.views.quotes import buyer_of_request
from mosu.web.words import said_of


class NewBlock(forms.Form):
    """From when to when, how many nodes, how much of each."""

    start = forms.DateTimeField(
        label=_lazy("From"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    end = forms.DateTimeField(
        label=_lazy("To"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    nodes = forms.IntegerField(label=_lazy("Nodes"), min_value=1, max_value=1024, initial=1)
    per_node = forms.IntegerField(
        label=_lazy("Of each node"),
        min_value=1,
        max_value=100_000,
        required=False,
        help_text=_lazy("Cards, or cores where it is sold by the core. Empty: all that a node has."),
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        start, end = given.get("start"), given.get("end")
        if start and end and end <= start:
            self.add_error("end", _("A block ends after it starts."))
        return given

    def period(self) -> Period:
        start: datetime = self.cleaned_data["start"]
        end: datetime = self.cleaned_data["end"]
        return Period(start, end)


@require_http_methods(["GET", "POST"])
@page("quote.ask")
def reserve(request: HttpRequest, offer_id: str) -> HttpResponse:
    """Ask what a block of the offer costs; the quote is looked at and ordered as any other."""
    now = timezone.now()
    found = offers_named(actor_of(request), [Offer.key_of(offer_id)], now=now)
    offer = found[0].offer if found else None
    if offer is None or offer.block is None:
        raise NotFound(
            _("This offer is not sold by the block."), hint=_("Search the shelf for reserved ones.")
        )
    form = NewBlock(request.POST or None)
    if request.method == "POST" and form.is_valid():
        quoted = _quoted(request, offer.id, form, now=now)
        if quoted is not None:
            return redirect("checkout", quoted)
    context = {
        "offer": label_of(found[0]),
        "form": form,
        "rules": block_facts(BlockTerms.of_json(offer.block), longest_s=offer.wall_s_max),
        "heat": heats_of(offer.subject_id, [str(offer.attributes.get("accelerator") or "")])[0],
        "zone": hub_zone().key,
    }
    return render(request, "pages/reserve.html", context, status=422 if form.errors else 200)


def _quoted(request: HttpRequest, offer_id: UUID, form: NewBlock, *, now: datetime) -> str | None:
    """The quote's public id, or what was refused in the form."""
    organisation_id, project_id = buyer_of_request(request)
    try:
        quote = quote_block(
            actor=actor_of(request),
            organisation_id=organisation_id,
            project_id=project_id,
            offer_id=offer_id,
            nodes=form.cleaned_data["nodes"],
            per_node=form.cleaned_data["per_node"],
            period=form.period(),
            choice="auto",
            now=now,
        )
    except DomainError as refusal:
        said = said_of(refusal)
        form.add_error(None, f"{said.message} {said.hint}")
        return None
    return quote.public_id
