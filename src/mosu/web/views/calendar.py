"""When there is room: the calendar of an offer, for who buys, and of a pool, for who sells."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from mosu.compute.calendar import Hour, calendars_of, kinds_of
from mosu.compute.models import Pool
from mosu.compute.supply import pool_visible_to
from mosu.kernel.refusals import NotFound
from mosu.market.hub import hub_zone
from mosu.market.models import Offer
from mosu.market.queries import offers_named
from mosu.platform.requests import actor_of
from mosu.web.components import Heat
from mosu.web.labels import accelerator_name, label_of
from mosu.web.pages import page
from mosu.web.views.pools import tabs_of

DAYS: Final = 14


@require_GET
@page("offer.read")
def offer_calendar(request: HttpRequest, offer_id: str) -> HttpResponse:
    """How much of the offer's goods is free in each hour of the next two weeks."""
    now = timezone.now()
    found = offers_named(actor_of(request), [Offer.key_of(offer_id)], now=now)
    if not found or found[0].offer.shelf != "compute":
        raise NotFound(
            _("There is no such offer."), hint=_("It may have left the shelf: search for another.")
        )
    offer = found[0].offer
    key = str(offer.attributes.get("accelerator") or "")
    context = {
        "offer": label_of(found[0]),
        "heat": heats_of(offer.subject_id, [key])[0],
        "reservable": offer.block is not None,
    }
    return render(request, "pages/offer_calendar.html", context)


@require_GET
@page("pool.read")
def pool_calendar(request: HttpRequest, pool_id: str) -> HttpResponse:
    """The same of a pool, for each kind that it has."""
    row = pool_visible_to(actor_of(request), Pool.key_of(pool_id))
    context = {
        "pool": row,
        "tabs": tabs_of(row, "pool_calendar"),
        "heats": heats_of(row.id, kinds_of(row.id)),
    }
    return render(request, "pages/pool_calendar.html", context)


def heats_of(pool_id: UUID, kinds: Sequence[str]) -> list[Heat]:
    """Of each kind of a pool's goods, how much is free in each hour of the next two weeks."""
    found = calendars_of(pool_id, accelerators=kinds, days=DAYS, now=timezone.now(), zone=hub_zone())
    return [_heat(kind, hours) for kind, hours in found.items()]


def _heat(kind: str, hours: Sequence[Hour]) -> Heat:
    name = accelerator_name(kind) if kind else _("Cores")
    shown = [(one.at.astimezone(hub_zone()), one.free, one.total) for one in hours]
    return Heat.of(_("%s: free by hour") % name, shown)
