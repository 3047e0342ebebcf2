"""The compute shelf: searching it, one offer, several side by side, searches that people keep."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from mosu.compute.volumes import SHELF as VOLUMES
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import DomainError, NotFound
from mosu.market.blocks import BlockTerms
from mosu.market.comparison import OFFERS_MAX
from mosu.market.models import Offer, OfferPrice, SavedSearch
from mosu.market.queries import (
    OfferPage,
    ShownOffer,
    offers_found,
    offers_named,
    prices_of,
    saved_searches_of,
    search_offers,
)
from mosu.market.services import delete_search, save_search
from mosu.platform.actors import ANONYMOUS, Actor
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.web.components import Curve, Fact, Point, Tab
from mosu.web.finding import (
    SORTS,
    TABLE,
    Asked,
    asked_of,
    chips_of,
    facets_shown,
    href_of_saved,
    loosened,
    name_for,
)
from mosu.web.labels import (
    OfferShown,
    billed_by,
    block_facts,
    card_of,
    delivered_of,
    facts_of_card,
    label_of,
    mode_name,
    rows_of,
)
from mosu.web.pages import PAGE, page
from mosu.web.places import region_named
from mosu.web.presenters import duration
from mosu.web.tables import CSV_BATCH, CSV_ROWS_MAX, Column, Head, Plan, Table, csv_drawn, drawn
from mosu.web.templatetags.mosu import SYMBOLS, money, per_unit
from mosu.web.words import said_of, supplier_named

PRICES_SHOWN: Final = 200
STRANGERS_ROWS_MAX: Final = 1_000
"""Of the file: some tenths of a second of the hub's time, for nobody in particular."""
SWAPS: Final = SafeString(
    'hx-boost="true" hx-target="#results" hx-select="#results" hx-select-oob="#facets,#words"'
    ' hx-swap="outerHTML show:none"'
)
"""On what holds links to other searches: offers and facets are exchanged, the rest of the page stays."""

OFFERS: Final = Plan(
    name="offers",
    title=_lazy("Offers"),
    columns=(
        Column("offer", _lazy("Offer"), lambda shown: shown.title, href=lambda shown: shown.href),
        Column("card", _lazy("Accelerator"), lambda shown: shown.card),
        Column("memory", pgettext_lazy("accelerator", "Memory"), lambda shown: shown.memory),
        Column("supplier", _lazy("Supplier"), lambda shown: shown.supplier),
        Column("region", _lazy("Region"), lambda shown: shown.region),
        Column("mode", _lazy("Mode"), lambda shown: shown.mode, hidden=True),
        Column(
            "price",
            _lazy("Price"),
            lambda shown: shown.price.unit_price if shown.price else None,
            kind="money",
            sort="price",
        ),
        Column("unit", _lazy("per"), lambda shown: per_unit(shown.price.unit) if shown.price else ""),
        Column(
            "effective", _lazy("PFLOP-hour"), lambda shown: shown.effective, kind="money", sort="effective"
        ),
        Column("source", _lazy("Figures"), lambda shown: shown.effective_note, hidden=True),
        Column(
            "free",
            _lazy("Free"),
            lambda shown: shown.stock.free if shown.stock and shown.live else None,
            kind="number",
            sort="free",
        ),
        Column(
            "total",
            _lazy("of"),
            lambda shown: (shown.stock.total if shown.stock else 0) or None,
            kind="number",
        ),
        Column("billed", _lazy("Billed by"), lambda shown: billed_by(shown.sold_by), hidden=True),
        Column("limits", _lazy("Size of an order"), lambda shown: shown.limits, hidden=True),
        Column("why", _lazy("Availability"), lambda shown: shown.why_not_live, hidden=True),
    ),
    order="price",
)


@require_GET
@page("offer.read")
def shelf(request: HttpRequest) -> HttpResponse:
    """The compute shelf: labels on a rail, what can be ordered now first, and what else there is to choose."""
    actor, now = actor_of(request), timezone.now()
    if request.GET.get("format") == "csv":
        return _file(request, actor, now=now)
    search, problem = asked_of(request.GET, limit=PAGE)
    found = search_offers(actor, search, now=now)
    labels = [label_of(one) for one in found.items]
    asked = Asked(
        replace(search, after=""),
        view=TABLE if request.GET.get("view") == TABLE else "",
        columns=",".join(request.GET.getlist("columns")),
    )
    response = render(request, "pages/shelf.html", _shelf(request, asked, found, labels, problem))
    if request.headers.get("HX-Request"):
        # The address without what the form sends empty.
        here = asked.address(**({"cursor": search.after} if search.after else {}))
        response["HX-Push-Url"] = request.path + (here if here != "?" else "")
    return response


def _file(request: HttpRequest, actor: Actor, *, now: datetime) -> HttpResponse:
    """What fits, as a file in the chosen order: anyone may have its beginning, who is signed in ten times as much."""
    search, _problem = asked_of(request.GET, limit=_file_rows_max(actor))
    batches = offers_found(actor, search, now=now, batch=CSV_BATCH)
    labels = (label_of(one) for batch in batches for one in batch)
    return csv_drawn(request, OFFERS, labels)


def _file_rows_max(actor: Actor) -> int:
    return STRANGERS_ROWS_MAX if actor is ANONYMOUS else CSV_ROWS_MAX


def _file_note(actor: Actor, *, total: int) -> str:
    """How much of what fits the file has, where that is not all."""
    rows = _file_rows_max(actor)
    if total <= rows:
        return ""
    if actor is ANONYMOUS:
        return _("the first %(rows)s; %(all)s if you sign in") % {
            "rows": f"{rows:,}",
            "all": f"{min(total, CSV_ROWS_MAX):,}",
        }
    return _("the first %(rows)s of %(total)s") % {"rows": f"{rows:,}", "total": f"{total:,}"}


def _shelf(
    request: HttpRequest, asked: Asked, found: OfferPage, labels: Sequence[OfferShown], problem: Any
) -> dict[str, Any]:
    chips = chips_of(asked, found.facets)
    address = asked.address()
    after = asked.address(cursor=found.next) if found.next else ""
    start = address if request.GET.get("cursor") else ""
    ready = [one for one in labels if one.is_ready]
    mixed = asked.search.sort != "ready"
    price_low, price_high = asked.search.ranges.get("price", (None, None))
    return {
        "here": "shelf",
        "swaps": SWAPS,
        "asked": asked,
        "total": found.total,
        "ready_total": next(
            (one.values[0].count for one in found.facets if one.facet.code == "free_now" and one.values), 0
        ),
        "ready": labels if mixed else ready,
        "others": [] if mixed else [one for one in labels if not one.is_ready],
        "mixed": mixed,
        "table": _table(request, asked, labels, total=found.total, after=after, start=start)
        if asked.view
        else None,
        "facets": facets_shown(found.facets),
        "chips": chips,
        "kept": _kept(asked),
        "price_low": _plain(price_low),
        "price_high": _plain(price_high),
        "symbol": SYMBOLS[settings.HUB_CURRENCY],
        "sorts": [(code, title, code == asked.search.sort) for code, title in SORTS],
        "views": [
            Tab(_("Labels"), replace(asked, view="", columns="").address(), not asked.view),
            Tab(_("Table"), replace(asked, view=TABLE).address(), bool(asked.view)),
        ],
        "bare": "" if asked.is_bare else reverse("shelf"),
        "next": after,
        "start": start,
        "share": request.build_absolute_uri(request.path + (address if address != "?" else "")),
        "query": urlencode(asked.params, doseq=True),
        "name": name_for(chips),
        "loosen": [] if found.total else loosened(asked, found),
        "problem": problem,
        "knows": actor_of(request) is not ANONYMOUS,
    }


def _kept(asked: Asked) -> list[tuple[str, str]]:
    """What the form of facets sends along without showing it."""
    kept = [("view", asked.view), ("columns", asked.columns)]
    if asked.search.live is not None:
        kept.append(("live", str(asked.search.live).lower()))
    for name in asked.search.ranges.keys() - {"price"}:
        low, high = asked.search.ranges[name]
        kept += [(f"{name}_min", _number(low)), (f"{name}_max", _number(high))]
    return [(name, value) for name, value in kept if value]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _plain(micros: float | None) -> str:
    return "" if micros is None else f"{micros / 1_000_000:g}"


def _table(
    request: HttpRequest, asked: Asked, labels: Sequence[OfferShown], *, total: int, after: str, start: str
) -> Table:
    """The table with this page's addresses, in which a facet may have several values."""
    plain = drawn(request, OFFERS, labels)
    return replace(
        plain,
        heads=[_head(one, asked) for one in plain.heads],
        kept=[(k, v) for k, values in asked.params.items() if k != "columns" for v in _each(values)],
        csv=asked.address(format="csv"),
        csv_note=_file_note(actor_of(request), total=total),
        next=after,
        start=start,
        bare="" if asked.is_bare else reverse("shelf"),
    )


def _each(values: str | Sequence[str]) -> Sequence[str]:
    return [values] if isinstance(values, str) else values


def _head(head: Head, asked: Asked) -> Head:
    name, sort = head.column.name, asked.search.sort
    if not head.column.sort:
        return head
    to = "-price" if name == sort == "price" else name
    now = {"price": "ascending", "-price": "descending", "effective": "ascending", "free": "descending"}
    return replace(
        head,
        href=asked.otherwise(sort=to),
        sorted=now[sort] if sort.lstrip("-") == name else "",
    )


@require_GET
@page("offer.read")
def search(request: HttpRequest) -> HttpResponse:
    """What the field in every page's head asks for."""
    words = request.GET.get("q", "").replace("\x00", "").strip()
    return redirect(f"{reverse('shelf')}?{urlencode({'text': words})}" if words else reverse("shelf"))


@require_GET
@page("offer.read")
def offer(request: HttpRequest, offer_id: str) -> HttpResponse:
    """One offer: its label large, what is known of its goods, its terms, what it cost before."""
    actor, now = actor_of(request), timezone.now()
    key = Offer.key_of(offer_id)
    found = offers_named(actor, [key], now=now)
    if not found:
        raise NotFound(
            _("There is no such offer."), hint=_("It may have left the shelf: search for another.")
        )
    shown = found[0]
    card = card_of(shown.offer)
    prices = list(prices_of(actor, key)[:PRICES_SHOWN])
    return render(
        request,
        "pages/offer.html",
        {
            "here": "offer",
            "offer": label_of(shown),
            "terms": _terms(shown),
            "blocks": block_facts(BlockTerms.of_json(shown.offer.block), longest_s=shown.offer.wall_s_max)
            if shown.offer.block
            else [],
            "card": facts_of_card(card) if card else [],
            "prices": [
                {
                    "valid_from": one.valid_from,
                    "list_price": decimal_of(one.unit_price_micros),
                    "currency": one.currency,
                    "unit": one.unit,
                }
                for one in prices
            ],
            "curve": _curve(shown, prices),
            "foreign": any(one.list_currency != settings.HUB_CURRENCY for one in shown.prices),
            "is_room": shown.offer.shelf == VOLUMES,
            "may_ask": allows(actor, "quote.ask") or actor is ANONYMOUS,
            "alike": f"{reverse('shelf')}?{urlencode({'accelerator': card.id if card else 'cores'})}",
        },
    )


def _terms(shown: ShownOffer) -> list[Fact]:
    one = shown.offer
    mode = str(one.attributes.get("mode") or "")
    count = one.attributes.get("count")
    return [
        Fact(_("Supplier"), supplier_named(one.supplier.name)),
        Fact(_("Region"), region_named(one.attributes.get("region") or "") or _("not known")),
        *([Fact(_("Mode"), mode_name(mode))] if mode else []),
        *([Fact(_("Cards per node"), count)] if count else []),
        *([Fact(_("Delivery"), delivered_of(shown.delivery))] if shown.delivery else []),
        Fact(_("Size of an order"), _("%(low)s to %(high)s") % {"low": one.min_units, "high": one.max_units}),
        _longest(one),
        Fact(
            _("Tax"),
            (_("%(rate)s, in the price") if one.tax_included else _("%(rate)s, on top of the price"))
            % {"rate": f"{one.tax_rate_bp / 100:g}%"},
        ),
        Fact(_("Billed by"), billed_by(one.sold_by)),
        *([Fact(_("Catalogue"), one.source)] if one.source else []),
    ]


def _longest(offer: Offer) -> Fact:
    if offer.shelf == VOLUMES:
        return Fact(_("Longest time bought at once, days"), offer.wall_s_max // 86_400)
    return Fact(_("Longest run"), duration(offer.wall_s_max))


def _curve(shown: ShownOffer, prices: Sequence[OfferPrice]) -> Curve | None:
    """The list price as it stood, in steps; None as long as it never changed."""
    if not shown.prices:
        return None
    meter, now = shown.prices[0].meter, timezone.now()
    rows = [one for one in reversed(prices) if one.meter == meter and one.valid_from <= now]
    if len(rows) < 2 or len({one.currency for one in rows}) > 1:
        return None
    points: list[Point] = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None:
            points.append(Point(row.valid_from, before.unit_price_micros / 1e6))
        points.append(Point(row.valid_from, row.unit_price_micros / 1e6))
    points.append(Point(now, rows[-1].unit_price_micros / 1e6))
    unit = f"{rows[-1].currency} / {per_unit(rows[-1].unit)}"
    return Curve(_("List price"), unit, points, form="Y-m-d")


@require_GET
@page("offer.read")
def compare(request: HttpRequest) -> HttpResponse:
    """Up to four offers side by side, with what differs marked."""
    named = [one for part in request.GET.getlist("offers") for one in part.split(",") if one.strip()]
    ids, unknown = [], 0
    for one in dict.fromkeys(named):
        try:
            ids.append(Offer.key_of(one.strip()))
        except DomainError:
            unknown += 1
    found = offers_named(actor_of(request), ids[:OFFERS_MAX], now=timezone.now())
    same = [one for one in found if one.offer.shelf == found[0].offer.shelf]
    labels = [label_of(one) for one in same]
    address = reverse("compare") + "?offers=" + ",".join(one.id for one in labels)
    only = request.GET.get("only") == "differences"
    rows = rows_of(same, money) if same else []
    return render(
        request,
        "pages/compare.html",
        {
            "here": "compare",
            "columns": [(label, _without(labels, label)) for label in labels],
            "rows": [row for row in rows if row.differs or not only],
            "same": sum(not row.differs for row in rows),
            "only": only,
            "switch": address if only else f"{address}&only=differences",
            "share": request.build_absolute_uri(address),
            "left_out": max(0, len(ids) - OFFERS_MAX),
            "gone": unknown + len(ids[:OFFERS_MAX]) - len(same),
        },
    )


def _without(labels: Sequence[OfferShown], label: OfferShown) -> str:
    """The address without one of them; none if it is the only one."""
    left = [one.id for one in labels if one is not label]
    return f"{reverse('compare')}?offers={','.join(left)}" if left else ""


@require_http_methods(["GET", "POST"])
@page("self.read")
def saved(request: HttpRequest) -> HttpResponse:
    """The searches that one keeps; a further one is sent here."""
    actor = actor_of(request)
    context: dict[str, Any] = {"here": "saved"}
    status = 200
    if request.method == "POST":
        name, query = request.POST.get("name", ""), request.POST.get("query", "")
        search, _problem = asked_of(QueryDict(query[:4000]), limit=PAGE)
        try:
            save_search(actor=actor, name=name, wanted=search, now=timezone.now())
        except DomainError as refusal:
            context |= {"problem": said_of(refusal), "name": name, "query": query}
            status = refusal.status
        else:
            messages.success(request, _("The search is saved."))
            return redirect("saved")
    context["searches"] = [
        {"name": row.name, "id": row.public_id, "href": href_of_saved(row.query), "at": row.created_at}
        for row in saved_searches_of(actor)
    ]
    return render(request, "pages/saved.html", context, status=status)


@require_POST
@page("self.change")
def delete_saved(request: HttpRequest, search_id: str) -> HttpResponse:
    """Forget a search; the page that follows can bring it back."""
    actor = actor_of(request)
    row = saved_searches_of(actor).filter(id=SavedSearch.key_of(search_id)).first()
    delete_search(actor=actor, search_id=SavedSearch.key_of(search_id))
    if row is not None:
        messages.success(request, _("The search “%(name)s” is deleted.") % {"name": row.name})
    return redirect("saved")
