"""The shelf: what there is to buy."""

from typing import Final

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from mosu.market.models import Offer
from mosu.market.queries import offers_on
from mosu.market.queries import shown as offers_shown
from mosu.platform.requests import actor_of
from mosu.web.pages import page, paged
from mosu.web.presenters import accelerator_choices, label_of

USABLE_MAX: Final = 60


@require_GET
@page("offer.read")
def shelf(request: HttpRequest) -> HttpResponse:
    """The compute shelf: the same label on every offer, what can be used now above the rest, cheapest first."""
    now, actor = timezone.now(), actor_of(request)
    chosen = {
        "accelerator": request.GET.get("accelerator", "").replace("\x00", ""),
        "region": request.GET.get("region", "").replace("\x00", ""),
        "live": request.GET.get("live") == "true",
    }

    def fitting(*, live: bool) -> QuerySet[Offer]:
        return offers_on(
            "compute",
            now=now,
            actor=actor,
            accelerator=str(chosen["accelerator"]),
            region=str(chosen["region"]),
            live=live,
        )

    shown_only, more = ([], "") if chosen["live"] else paged(request, fitting(live=False))
    usable = [] if "cursor" in request.GET else list(fitting(live=True)[:USABLE_MAX])
    labels = [label_of(offer) for offer in offers_shown([*usable, *shown_only], now=now)]
    everything = offers_on("compute", now=now, actor=actor).order_by()
    facets = list(everything.values_list("attributes__accelerator", "attributes__region").distinct())
    return render(
        request,
        "pages/shelf.html",
        {
            "here": "shelf",
            "usable": [label for label in labels if label.live],
            "shown_only": [label for label in labels if not label.live],
            "accelerators": accelerator_choices({accelerator for accelerator, _region in facets}),
            "regions": sorted({region for _accelerator, region in facets if region}),
            "chosen": chosen,
            "more": more,
        },
    )
