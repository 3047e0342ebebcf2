"""What an offer looks like: its label, its accelerator's figures with their sources, several side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from mosu.compute.accelerators import (
    Accelerator,
    Compute,
    Countries,
    Figure,
    Interconnect,
    card_named,
    catalogue,
)
from mosu.compute.goods import country_name
from mosu.compute.volumes import SHELF as VOLUMES
from mosu.kernel.money import rounded
from mosu.market.blocks import BlockTerms
from mosu.market.comparison import Cell, Row, compared
from mosu.market.models import Offer, SoldBy
from mosu.market.queries import ShownOffer
from mosu.market.shelves import Delivery, Stock, shelf_of
from mosu.web.components import Fact
from mosu.web.places import region_named
from mosu.web.presenters import Bilingual, duration
from mosu.web.words import supplier_named, title_of, told, words_of_liveness
from mosu.wire.shares import kind_of

CARD_HOUR: Final = "card_hour"

PartT = TypeVar("PartT", Figure, Interconnect, Compute, Countries)


@dataclass(frozen=True)
class PriceShown:
    """A price per unit."""

    unit: str
    unit_price: int


@dataclass(frozen=True)
class OfferShown:
    """One shelf label."""

    id: str
    title: Bilingual
    supplier: str
    region: str
    sold_by: str
    prices: Sequence[PriceShown]
    stock: Stock | None
    live: bool
    why_not_live: str
    memory: str = ""
    effective: int | None = None
    """Micros per PFLOP-hour: what one pays for computing, rather than for a card."""
    effective_note: str = ""
    href: str = ""
    quote_href: str = ""
    mode: str = ""
    card: str = ""
    share: str = ""
    """Which share of what it is, and whether others reach into it; empty for whole cards."""
    limits: str = ""
    delivered: str = ""
    tier: str = ""
    """Which of the supplier's tiers the price is of, where it is not everyone's."""
    list_price: int | None = None
    """What everyone pays, where this buyer pays a part of it."""
    is_private: bool = False
    """At a price for one buyer alone."""

    @property
    def is_ready(self) -> bool:
        """Something of it can be ordered now."""
        return self.live and (self.stock is None or self.stock.free > 0)

    @property
    def price(self) -> PriceShown | None:
        return self.prices[0] if self.prices else None

    @property
    def is_billed_by_supplier(self) -> bool:
        return self.sold_by == SoldBy.SUPPLIER


def label_of(shown: ShownOffer) -> OfferShown:
    """The shelf label of an offer; its figures name how far they can be trusted."""
    offer, tier = shown.offer, shown.tier
    card = card_of(offer)
    kind = kind_of(str(offer.attributes.get("accelerator") or ""))
    goods = shelf_of(offer.shelf).goods_of(offer.attributes)
    memory = goods.facets.get("memory_gb")
    prices = [PriceShown(price.unit, price.unit_price_micros) for price in shown.prices]
    compute = card.compared_by if card else None
    return OfferShown(
        id=offer.public_id,
        title=title_of(offer),
        supplier=supplier_named(offer.supplier.name),
        region=region_named(offer.attributes.get("region") or ""),
        sold_by=offer.sold_by,
        prices=prices,
        stock=shown.stock,
        live=shown.live,
        why_not_live=words_of_liveness(shown.why_not_live),
        memory=told({"zh": memory.zh, "en": memory.en}) if memory else "",
        effective=_per_pflop_hour(prices, compute, shares=kind.shares) if compute else None,
        effective_note=_effective_note(compute, by_card=bool(offer.attributes.get("accelerator"))),
        href=reverse("offer", args=[offer.public_id]),
        quote_href=quote_address(offer),
        mode=mode_name(str(offer.attributes.get("mode") or "")),
        card=name_of(card)
        if card
        else _("Room for volumes")
        if offer.shelf == VOLUMES
        else _("Processor cores"),
        share=told(goods.told) if goods.told else "",
        limits=f"{offer.min_units}-{offer.max_units}",
        delivered=delivered_of(shown.delivery),
        tier=tier_name(tier.tier) if tier else "",
        list_price=shown.prices[0].everyones_micros if tier and shown.prices else None,
        is_private=offer.buyer_organisation_id is not None,
    )


def tier_name(tier: str) -> str:
    """What a buyer is to a supplier, by the price it pays."""
    return {
        "external": pgettext("tier", "everyone's price"),
        "partner": pgettext("tier", "partner price"),
        "internal": pgettext("tier", "internal price"),
    }[tier]


def delivered_of(delivery: Delivery | None) -> str:
    """What was delivered of what was ordered in 90 days; with few orders the hours say how little it means."""
    if delivery is None:
        return ""
    if not delivery.ordered_s:
        return _("no orders in 90 days yet")
    part = int(1000 * delivery.delivered_s / delivery.ordered_s) / 10  # never rounded up to 100
    hours = delivery.ordered_s / 3600
    said = f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
    return _("delivered %(part)s %% of %(hours)s h ordered in 90 days") % {"part": f"{part:g}", "hours": said}


def card_of(offer: Offer) -> Accelerator | None:
    """The accelerator that the offer sells, where the catalogue knows it."""
    return card_named(str(offer.attributes.get("accelerator") or ""))


def name_of(card: Accelerator) -> str:
    return told({"zh": card.zh or card.name, "en": card.name})


def accelerator_name(code: str) -> str:
    """What people call an accelerator, or a share of one; one that the catalogue lacks is called by its id."""
    card, kind = card_named(code), kind_of(code)
    name = name_of(card) if card else kind.accelerator
    if kind.shares == 1:
        return name
    if kind.shared:
        return _("1/%(shares)s of %(card)s, shared without isolation") % {"shares": kind.shares, "card": name}
    return _("1/%(shares)s of %(card)s") % {"shares": kind.shares, "card": name}


def known_name(facet: str, value: str) -> str:
    """What a facet's value is called where no offer says it: an accelerator by its own name, all else as asked."""
    if facet == "region":
        return region_named(value)
    return accelerator_name(value) if facet == "accelerator" else value


def quote_address(offer: Offer) -> str:
    """The quote's form, filled in with the least that the offer sells; of a reserved offer the form of its blocks."""
    if offer.block is not None:
        return reverse("reserve", args=[offer.public_id])
    if offer.shelf == VOLUMES:
        return reverse("volumes")
    kind = kind_of(str(offer.attributes.get("accelerator") or ""))
    count = offer.min_units if kind.shares == 1 else kind.asked
    wish = (
        {"accelerators": f"{kind.accelerator}:{count}"}
        if kind.accelerator
        else {"cpus": str(offer.min_units)}
    )
    return f"{reverse('quote')}?{urlencode(wish)}"


def mode_name(mode: str) -> str:
    """How the goods are sold, in the page's language."""
    return {
        "on_demand": pgettext("mode", "on demand"),
        "reserved": pgettext("mode", "reserved"),
        "spot": pgettext("mode", "spot"),
    }.get(mode, mode)


def block_facts(terms: BlockTerms, *, longest_s: int) -> list[Fact]:
    """On what terms goods are sold by the block, as their label publishes them."""
    later = terms.back_percent_after_start
    return [
        Fact(
            _("Length of a block"),
            _("%(low)s to %(high)s")
            % {"low": duration(terms.shortest_hours * 3600), "high": duration(longest_s)},
        ),
        Fact(_("It starts"), _("at most %(days)s days ahead") % {"days": terms.ahead_days}),
        *(
            Fact(
                _("Cancelled %(hours)s h or more before the start") % {"hours": rule.before_start_hours},
                _("%(percent)s%% comes back") % {"percent": rule.back_percent},
            )
            for rule in terms.cancellation
        ),
        Fact(
            _("Cancelled later"),
            _("%(percent)s%% of the time that is left comes back") % {"percent": later}
            if later
            else _("nothing comes back"),
        ),
        Fact(_("Not delivered"), _("is not charged, unasked")),
    ]


def _per_pflop_hour(prices: Sequence[PriceShown], compute: Compute, *, shares: int) -> int | None:
    hourly = next((price.unit_price for price in prices if price.unit == CARD_HOUR), None)
    if hourly is None:
        return None
    return rounded(
        Decimal(hourly) * shares * 1000 / Decimal(str(compute.tflops)), currency=settings.HUB_CURRENCY
    )


def _effective_note(compute: Compute | None, *, by_card: bool) -> str:
    if not by_card:
        return _("metered by the second")
    return f"FP16 {_confidence(compute.source)}" if compute else _("compute: not published")


def _confidence(source: str) -> str:
    return {
        "vendor": pgettext("figure", "vendor's figure"),
        "measured": pgettext("figure", "measured"),
        "contract": pgettext("figure", "from a contract"),
        "press": pgettext("figure", "press report"),
        "recalled": pgettext("figure", "typed from memory"),
    }[catalogue().sources[source].confidence]


# An accelerator's figures


def facts_of_card(card: Accelerator) -> list[Fact]:
    """All that is known of the accelerator, each with its source and how far that can be trusted."""
    return [
        Fact(_("Accelerator"), name_of(card)),
        Fact(_("Vendor"), card.vendor),
        _fact(_("Memory of a card"), card.memory_gb, lambda one: f"{one.value:g} GB"),
        _fact(_("Memory bandwidth"), card.bandwidth_gb_s, lambda one: f"{one.value:,g} GB/s"),
        _fact(_("Interconnect"), card.interconnect, _link),
        *(_fact(_precision(one), one, _compute) for one in card.compute),
        *([] if card.compute else [Fact(_("Compute"), _("not known"))]),
        Fact(_("Software"), ", ".join(card.software) or _("not known")),
        _fact(_("Designed in"), card.design, _countries),
        _fact(_("Made in"), card.make, _countries),
    ]


def _fact(name: str, part: PartT | None, said: Callable[[PartT], str]) -> Fact:
    """What is not known stays so."""
    if part is None:
        return Fact(name, _("not known"))
    source = catalogue().sources[part.source]
    return Fact(name, said(part), f"{_confidence(part.source)} · {source.title}")


def _precision(one: Compute) -> str:
    if one.precision == "unstated":
        return _("Compute, precision not stated")
    kinds = [_("sparse")] * one.sparse + [_("vector units")] * one.vector
    return _("Compute, %(kind)s") % {"kind": ", ".join([one.precision.upper(), *kinds])}


def _compute(one: Compute) -> str:
    return f"{one.tflops:,g} {'TOPS' if one.precision == 'int8' else 'TFLOPS'}"


def _link(link: Interconnect) -> str:
    return f"{link.kind}, {link.gb_s:,g} GB/s" if link.gb_s else link.kind


def _countries(countries: Countries) -> str:
    return ", ".join(told(country_name(code)) for code in countries.value)


# Side by side


@dataclass(frozen=True)
class RowShown:
    """One property of every offer, as words; empty: not known. `best` marks the cell of the lowest price."""

    title: str
    cells: Sequence[str]
    differs: bool
    kind: str = "text"
    best: int | None = None

    @property
    def marked(self) -> list[tuple[str, bool]]:
        return [(cell, number == self.best) for number, cell in enumerate(self.cells)]


def rows_of(offers: Sequence[ShownOffer], money: Callable[[int], str]) -> list[RowShown]:
    """What the offers are and cost, property by property."""
    goods = [shelf_of(one.offer.shelf).goods_of(one.offer.attributes) for one in offers]

    def named(row: Row) -> list[str]:
        if row.facet is None:
            return [_said(row.code, cell, money) for cell in row.cells]
        code = row.facet.code
        return [told({"zh": it.zh, "en": it.en}) if (it := one.facets.get(code)) else "" for one in goods]

    found = [
        RowShown(_title_of(row), named(row), row.differs, "money" if _is_price(row) else "text", _lowest(row))
        for row in compared(offers)
    ]
    return [*found, *_rows_of_cards(offers)]


def _rows_of_cards(offers: Sequence[ShownOffer]) -> list[RowShown]:
    cards = [card_of(one.offer) for one in offers]
    told_of: Sequence[tuple[str, Callable[[Accelerator], str]]] = (
        (
            _("Memory bandwidth"),
            lambda card: f"{card.bandwidth_gb_s.value:,g} GB/s" if card.bandwidth_gb_s else "",
        ),
        (_("Interconnect"), lambda card: _link(card.interconnect) if card.interconnect else ""),
        (_("Compute, FP16 dense"), lambda card: _compute(card.compared_by) if card.compared_by else ""),
        (_("Software"), lambda card: ", ".join(card.software)),
    )
    rows = [(title, [read(card) if card else "" for card in cards]) for title, read in told_of]
    return [RowShown(title, cells, len(set(cells)) > 1) for title, cells in rows if any(cells)]


def _is_price(row: Row) -> bool:
    return row.code.startswith("price:")


def _lowest(row: Row) -> int | None:
    known = [cell for cell in row.cells if isinstance(cell, int)]
    if not _is_price(row) or len(known) < 2 or known.count(min(known)) > 1:
        return None
    return row.cells.index(min(known))


def _title_of(row: Row) -> str:
    if row.facet is not None:
        return told(title_of(row.facet))
    if _is_price(row):
        return {
            "price:card_second": _("Price of a card-hour"),
            "price:core_second": _("Price of a core-hour"),
        }.get(row.code, row.code)
    return {
        "supplier": _("Supplier"),
        "region": _("Region"),
        "mode": _("Mode"),
        "sold_by": _("Billed by"),
        "min_units": _("Smallest order"),
        "max_units": _("Largest order"),
        "wall_s_max": _("Longest run"),
        "tax_rate_bp": _("Tax rate"),
        "tax_included": _("Tax"),
        "free": _("Free now"),
        "why_not_live": _("Availability"),
        "tier": _("Whose price"),
    }.get(row.code, row.code)


def _said(code: str, cell: Cell, money: Callable[[int], str]) -> str:
    if cell is None or cell == "":
        return _("can be ordered") if code == "why_not_live" else ""
    if code.startswith("price:") and isinstance(cell, int):
        return money(cell)
    words: Mapping[str, Callable[[Any], str]] = {
        "supplier": supplier_named,
        "region": region_named,
        "mode": mode_name,
        "sold_by": billed_by,
        "wall_s_max": duration,
        "tax_rate_bp": lambda rate: f"{rate / 100:g}%",
        "tax_included": lambda included: _("in the price") if included else _("on top of the price"),
        "why_not_live": words_of_liveness,
        "tier": tier_name,
    }
    return words.get(code, str)(cell)


def billed_by(sold_by: str) -> str:
    return _("the supplier") if sold_by == SoldBy.SUPPLIER else _("the hub")
