"""A supplier's own offers: what is on the shelf at what price, the history of prices, on and off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.models import Pool
from mosu.compute.queries import pools_visible_to
from mosu.compute.states import PoolState
from mosu.compute.volumes import SHELF as VOLUMES
from mosu.kernel.money import MICROS
from mosu.kernel.refusals import DomainError
from mosu.kernel.units import one_unit
from mosu.market.blocks import BlockTerms
from mosu.market.models import Offer, OfferPrice, OfferState, SoldBy
from mosu.market.queries import (
    ShownOffer,
    offers_sold_by,
    offers_titled,
    prices_of,
    shown,
    tier_rates_of,
)
from mosu.market.services import create_offer, delist_offer, relist_offer
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import suppliers_managed_by
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.components import Curve, Fact, Point, Tab
from mosu.web.labels import block_facts, label_of
from mosu.web.pages import page, why_of
from mosu.web.tables import Column, Empty, Filter, Plan, list_page, showing
from mosu.web.tiered import TierForm, tiers_in_force
from mosu.web.views.offer_forms import NewOffer, NewVolumes
from mosu.web.words import said_of, state_name_lazy, supplier_named, title_of, told, words_of_liveness

MONTH: Final = timedelta(days=30)
PRICES_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class MyOffer:
    """An offer as its supplier's list shows it."""

    shown: ShownOffer
    pool: str
    orders: int

    @property
    def offer(self) -> Offer:
        return self.shown.offer

    @property
    def title(self) -> Mapping[str, str]:
        return title_of(self.offer)

    @property
    def price(self) -> int | None:
        """What people compare: of a card-hour and a core-hour, the card-hour."""
        return max((price.unit_price_micros for price in self.shown.prices), default=None)

    @property
    def unit(self) -> str:
        dearest = max(self.shown.prices, key=lambda price: price.unit_price_micros, default=None)
        return told(one_unit(dearest.unit)) if dearest else ""

    @property
    def stock(self) -> str:
        stock = self.shown.stock
        return f"{stock.free:,} / {stock.total:,}" if stock else ""

    @property
    def why_not_live(self) -> str:
        if self.offer.state == OfferState.DELISTED:
            return ""
        return words_of_liveness(self.shown.why_not_live)

    @property
    def buyer(self) -> str:
        return self.offer.buyer_organisation.name if self.offer.buyer_organisation else ""


def own_offers(actor: Actor, *, now: datetime) -> QuerySet[Offer]:
    """The supplier's offers, each with its pool's name and how often it was bought in a month."""
    pools = Pool.objects.filter(id=OuterRef("subject_id")).order_by().values("name")
    return offers_sold_by(actor, since=now - MONTH).annotate(pool_name=Subquery(pools))


def my_offers_shown(offers: Sequence[Any], *, now: datetime) -> list[MyOffer]:
    """Each of `own_offers` with price and stock: as many queries for fifty as for one."""
    return [
        MyOffer(one, own.pool_name or "", own.orders_since)
        for own, one in zip(offers, shown(offers, now=now), strict=True)
    ]


MY_OFFERS: Final = Plan(
    name="offers",
    title=_lazy("My offers"),
    columns=(
        Column(
            "title",
            _lazy("Offer"),
            lambda one: one.title,
            href=lambda one: reverse("my_offer", args=[one.offer.public_id]),
            csv=lambda one: told(one.title),
        ),
        Column(
            "supplier", _lazy("Supplier"), lambda one: supplier_named(one.offer.supplier.name), hidden=True
        ),
        Column("pool", _lazy("Pool"), lambda one: one.pool),
        Column("state", _lazy("State"), lambda one: one.offer.state, kind="state", sort="state"),
        Column("live", _lazy("Why not on sale"), lambda one: one.why_not_live),
        Column("price", _lazy("Price now"), lambda one: one.price, kind="money"),
        Column("unit", _lazy("for one"), lambda one: one.unit),
        Column("stock", _lazy("Free / all"), lambda one: one.stock, kind="mono"),
        Column("orders", _lazy("Orders, 30 days"), lambda one: one.orders, kind="number"),
        Column("buyer", _lazy("Only for"), lambda one: one.buyer),
        Column("source", _lazy("From file"), lambda one: one.offer.source, sort="source", hidden=True),
        Column("made", _lazy("Made"), lambda one: one.offer.created_at, kind="day", sort="id", hidden=True),
    ),
    order="-made",
    filters=(
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [(state, state_name_lazy(state)) for state in OfferState.values],
        ),
        Filter(
            "for",
            _lazy("For"),
            lambda rows, whom: rows.filter(buyer_organisation__isnull=whom == "all"),
            [("all", _lazy("everyone")), ("one", _lazy("one buyer"))],
        ),
        Filter(
            "text",
            pgettext_lazy("offer", "Title"),
            offers_titled,
        ),
    ),
    empty=Empty(
        _lazy("Nothing of yours is on the shelf."),
        _lazy("Put one offer there by hand, or bring in a file of many."),
        "/my-offers/new/",
        _lazy("Put an offer on the shelf"),
    ),
)


@require_GET
@page("sale.read")
def my_offers(request: HttpRequest) -> HttpResponse:
    """The supplier's offers, on the shelf and off."""
    actor, now = actor_of(request), timezone.now()
    return list_page(
        request,
        "pages/my_offers.html",
        showing(MY_OFFERS, "supplier") if actor.sees_all else MY_OFFERS,
        own_offers(actor, now=now),
        prepare=lambda rows: my_offers_shown(rows, now=now),
        context={"may_manage": allows(actor, "offer.manage")},
    )


@require_http_methods(["GET", "POST"])
@page("offer.manage")
def new_offer(request: HttpRequest) -> HttpResponse:
    """Put something of a pool on the shelf."""
    actor = actor_of(request)
    suppliers = {one.id for one in suppliers_managed_by(actor)}
    pools = [
        one
        for one in pools_visible_to(actor).exclude(state=PoolState.CLOSED)
        if one.organisation_id in suppliers
    ]
    is_room = request.GET.get("shelf") == VOLUMES
    kind = NewVolumes if is_room else NewOffer
    form = kind(request.POST or None, pools=pools, initial={"pool": request.GET.get("pool", "")})
    if request.method == "POST" and form.is_valid():
        try:
            made = create_offer(actor=actor, spec=form.spec(), now=timezone.now())
        except DomainError as refusal:
            said = said_of(refusal)
            form.add_error(None, f"{said.message} {said.hint}")
        else:
            messages.success(request, _("It is on the shelf."))
            return redirect("my_offer", made.public_id)
    status = 422 if form.errors else 200
    here = reverse("new_offer")
    tabs = [
        Tab(_("Cards and cores"), here, not is_room),
        Tab(_("Room for volumes"), f"{here}?shelf={VOLUMES}", is_room),
    ]
    context = {"form": form, "pools": pools, "tabs": tabs, "is_room": is_room}
    return render(request, "pages/offer_new.html", context, status=status)


@require_GET
@page("sale.read")
def my_offer(request: HttpRequest, offer_id: str) -> HttpResponse:
    """One offer with its prices over time."""
    return my_offer_shown(request, offer_id)


def my_offer_shown(request: HttpRequest, offer_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    """The page of one offer; `more` is what came of a form on it."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(own_offers(actor, now=now), offer_id)
    prices = list(prices_of(actor, row.id)[:PRICES_SHOWN_MAX])
    latest = _latest(prices)
    [seen] = my_offers_shown([row], now=now)
    context = {
        "offer": row,
        "mine": seen,
        "label": label_of(seen.shown),
        "facts": _facts(row, seen),
        "prices": prices,
        "latest": list(latest.values()),
        "curves": [_curve(meter, prices, now=now) for meter in latest],
        "may_manage": allows(actor, "offer.manage", row.supplier_id),
        "currency": settings.HUB_CURRENCY,
        "tiers": tiers_in_force(tier_rates_of(actor, row.id)),
        "tier_form": TierForm(),
        **more,
    }
    return render(request, "pages/my_offer.html", context, status=status)


@require_POST
@page("offer.manage")
def offer_state(request: HttpRequest, offer_id: str) -> HttpResponse:
    """Take an offer off the shelf, or put it on again."""
    actor, now = actor_of(request), timezone.now()
    row = row_of(own_offers(actor, now=now), offer_id)
    why = why_of(request)
    if request.POST.get("to") == OfferState.LISTED:
        relist_offer(actor=actor, offer_id=row.id, why=why, now=now)
        messages.success(request, _("It is on the shelf again, at the price it has."))
    else:
        delist_offer(actor=actor, offer_id=row.id, why=why, now=now)
        messages.success(request, _("It is off the shelf. Orders and quotes already given are untouched."))
    return redirect("my_offer", row.public_id)


def _latest(prices: Sequence[OfferPrice]) -> dict[str, OfferPrice]:
    """By meter, the price in force; `prices` has the latest first."""
    found: dict[str, OfferPrice] = {}
    for price in prices:
        found.setdefault(price.meter, price)
    return found


def _curve(meter: str, prices: Sequence[OfferPrice], *, now: datetime) -> Curve:
    """A price over time as steps: each holds until the next one."""
    own = [one for one in reversed(prices) if one.meter == meter]
    points: list[Point] = []
    for one in own:
        if points:
            points.append(Point(one.valid_from, points[-1].value))
        points.append(Point(one.valid_from, one.unit_price_micros / MICROS))
    points.append(Point(now, points[-1].value))
    unit = f"{own[-1].currency} / {told(one_unit(own[-1].unit))}"
    return Curve(_("Price over time"), unit, points, form="Y-m-d")


def _facts(row: Offer, seen: MyOffer) -> list[Fact]:
    per = _("included") if row.tax_included else _("on top")
    bills = _("the supplier") if row.sold_by == SoldBy.SUPPLIER else _("the hub")
    fee = f"{row.fee_bp / 100:g}%"
    terms = block_facts(BlockTerms.of_json(row.block), longest_s=row.wall_s_max) if row.block else []
    return [
        Fact(_("Supplier"), supplier_named(row.supplier.name)),
        Fact(_("Pool"), seen.pool or _("none: it is shown and cannot be bought")),
        Fact(_("Only for"), seen.buyer or _("everyone")),
        Fact(_("Who bills"), bills),
        Fact(_("The hub's fee"), fee, _("of what passes through its ledger")),
        Fact(_("Tax"), f"{row.tax_rate_bp / 100:g}% {per}"),
        Fact(_("Units in one order"), f"{row.min_units:,} – {row.max_units:,}"),
        Fact(_("Longest, hours"), f"{row.wall_s_max // 3600:,}"),
        Fact(_("Orders, 30 days"), f"{seen.orders:,}"),
        Fact(_("From file"), row.source or _("entered by hand")),
        *terms,
    ]
