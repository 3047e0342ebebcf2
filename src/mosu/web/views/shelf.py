"""The shelf: what there is to buy."""

from collections import defaultdict
from dataclasses import replace
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from mosu.market.queries import search_of, search_offers
from mosu.platform.requests import actor_of
from mosu.web.pages import PAGE, address_after, page
from mosu.web.presenters import accelerator_choices, label_of

USABLE_MAX: Final = 60


@require_GET
@page("offer.read")
def shelf(request: HttpRequest) -> HttpResponse:
    """The compute shelf: the same label on every offer, what can be used now above the rest, cheapest first."""
    now, actor = timezone.now(), actor_of(request)
    given = {name: [str(value) for value in values] for name, values in request.GET.lists()}
    wanted = search_of(given, shelf="compute", limit=PAGE)
    usable = search_offers(actor, replace(wanted, live=True, limit=USABLE_MAX, after=""), now=now)
    others = search_offers(actor, replace(wanted, live=False), now=now)
    values: defaultdict[str, set[str]] = defaultdict(set)
    for shown in (*usable.facets, *others.facets):
        values[shown.facet.code] |= {one.value.value for one in shown.values}
    return render(
        request,
        "pages/shelf.html",
        {
            "here": "shelf",
            "usable": [] if wanted.after else [label_of(offer) for offer in usable.items],
            "shown_only": [] if wanted.live else [label_of(offer) for offer in others.items],
            "accelerators": accelerator_choices(values["accelerator"]),
            "regions": sorted(values["region"]),
            "chosen": {
                "accelerator": "".join(wanted.chosen.get("accelerator", ())[:1]),
                "region": "".join(wanted.chosen.get("region", ())[:1]),
                "live": wanted.live,
            },
            "more": address_after(request, others.next) if others.next and not wanted.live else "",
        },
    )
