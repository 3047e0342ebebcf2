"""What the shelf page is asked for, and its address: the same search with one thing more, less or otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import Invalid
from mosu.market.catalogue import FREE_NOW, Counted, OfferSearch, params_of
from mosu.market.queries import FacetShown, OfferPage, search_of
from mosu.web.components import Choice, Facet
from mosu.web.labels import known_name, mode_name
from mosu.web.places import region_named
from mosu.web.words import Said, said_of, supplier_named, title_of, told

SHELF: Final = "compute"
READY: Final = "ready"
"""How the page is sorted if its address does not say."""
TABLE: Final = "table"

SORTS: Final = (
    (READY, _lazy("Can be ordered now, cheapest first")),
    ("price", _lazy("Cheapest first")),
    ("-price", _lazy("Dearest first")),
    ("effective", _lazy("Cheapest PFLOP-hour first")),
    ("free", _lazy("Most free first")),
    ("-created_at", _lazy("Newest first")),
    ("relevance", _lazy("Best match of the words first")),
)
_ORDER: Final = (
    FREE_NOW,
    "accelerator",
    "region",
    "price",
    "memory_gb",
    "count",
    "vendor",
    "country",
    "supplier",
    "mode",
)


@dataclass(frozen=True, slots=True)
class Chip:
    """Something that was asked, in words, and the address without it."""

    title: str
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Loosened:
    """What would fit if one facet were not asked of."""

    title: str
    count: int
    href: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A search with what is the page's own: how it is drawn."""

    search: OfferSearch
    view: str = ""
    columns: str = ""

    def address(self, **changes: str) -> str:
        """The page's address for this search; `changes` go beside it (`cursor`, `format`)."""
        return "?" + urlencode({**self.params, **changes}, doseq=True)

    @property
    def params(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(query_of(self.search))
        if self.view:
            found["view"] = self.view
        if self.columns:
            found["columns"] = self.columns
        return found

    def otherwise(self, **changes: Any) -> str:
        """The address of the search with other fields of `OfferSearch`."""
        return replace(self, search=replace(self.search, **changes)).address()

    def without(self, facet: str, value: str = "") -> str:
        """The address that asks nothing of a facet, or not for one of its values."""
        search = self.search
        if facet == FREE_NOW:
            return self.otherwise(free_now=False)
        left = tuple(one for one in search.chosen.get(facet, ()) if value and one != value)
        chosen = {**search.chosen, facet: left}
        ranges = search.ranges if value else {k: v for k, v in search.ranges.items() if k != facet}
        return self.otherwise(chosen={k: v for k, v in chosen.items() if v}, ranges=ranges)

    @property
    def is_bare(self) -> bool:
        """Nothing is asked: the whole shelf."""
        one = self.search
        return not (one.text or one.chosen or one.ranges or one.free_now or one.live is not None)


def query_of(search: OfferSearch) -> dict[str, list[str]]:
    """The page's parameters for a search: what is usual on this page is left out."""
    found = {name: values for name, values in params_of(search).items() if name not in ("shelf", "sort")}
    if search.sort != READY:
        found["sort"] = [search.sort]
    return found


def href_of_saved(query: Mapping[str, Sequence[str]]) -> str:
    """The page's address for a search that was saved, here or by the API."""
    return "?" + urlencode(query_of(search_of(query, shelf=SHELF)), doseq=True)


def asked_of(given: QueryDict, *, limit: int) -> tuple[OfferSearch, Said | None]:
    """The search that an address asks for. What is wrong in it counts as not said, and is told."""
    params = {name: [str(value) for value in values] for name, values in given.lists()}
    params.setdefault("sort", [READY])
    problem = None
    while True:
        try:
            return search_of(params, shelf=SHELF, limit=limit), problem
        except Invalid as refusal:
            field = str(refusal.facts.get("field", ""))
            if field not in params:
                raise
            problem = said_of(refusal)
            params[field] = [READY] if field == "sort" and params[field] != [READY] else []


def chips_of(asked: Asked, facets: Sequence[FacetShown]) -> list[Chip]:
    """All that was asked, each with the address without it."""
    search, by_code = asked.search, {one.facet.code: one for one in facets}
    found = []
    if search.text:
        found.append(Chip(_("Words"), search.text, asked.otherwise(text="")))
    if search.live is not None:
        said = _("connected") if search.live else _("not connected")
        found.append(Chip(_("Supplier"), said, asked.otherwise(live=None)))
    for code in sorted({*search.chosen, *search.ranges}, key=_place):
        shown = by_code.get(code)
        title = _title(code, shown)
        if code in search.ranges:
            low, high = (_figure(code, end) for end in search.ranges[code])
            text = " ".join(part for part in (low and f"≥ {low}", high and f"≤ {high}") if part)
            kept = {name: span for name, span in search.ranges.items() if name != code}
            found.append(Chip(title, text, asked.otherwise(ranges=kept)))
        values = {one.value.value: one for one in (shown.values if shown else ())}
        for value in search.chosen.get(code, ()):
            text = told(_words(code, values[value])) if value in values else known_name(code, value)
            found.append(Chip(title, text, asked.without(code, value)))
    if search.free_now:
        found.append(Chip(_("Availability"), _("free now"), asked.otherwise(free_now=False)))
    return found


def facets_shown(facets: Sequence[FacetShown]) -> list[Facet]:
    """The groups of checkboxes, in the order in which people choose."""
    return [
        Facet(
            name=one.facet.code,
            title=_title(one.facet.code, one),
            choices=[
                Choice(value.value.value, _words(one.facet.code, value), value.count, value.chosen)
                for value in one.values
            ],
        )
        for one in sorted(facets, key=lambda one: _place(one.facet.code))
        if one.values
    ]


def loosened(asked: Asked, page: OfferPage) -> list[Loosened]:
    """Where nothing fits: which facet to let go, that which brings most first."""
    by_code = {one.facet.code: one for one in page.facets}
    found = [
        Loosened(_title(code, by_code.get(code)), count, asked.without(code))
        for code, count in page.without.items()
        if count
    ]
    return sorted(found, key=lambda one: -one.count)


def name_for(chips: Sequence[Chip]) -> str:
    """A name to save the search under, which one may change."""
    return ", ".join(chip.text for chip in chips)[:60]


def _place(code: str) -> int:
    return _ORDER.index(code) if code in _ORDER else len(_ORDER)


def _title(code: str, shown: FacetShown | None) -> str:
    if code == FREE_NOW:
        return _("Availability")
    if shown is None:
        return code
    return told(title_of(shown.facet))


def _words(code: str, counted: Counted) -> dict[str, str]:
    zh, en = counted.value.zh, counted.value.en
    if code == "accelerator" and not counted.count:
        # The catalogue names nothing that nobody offers; an accelerator's name is no secret.
        zh = en = known_name(code, zh)
    if code == "region":
        zh = en = region_named(counted.value.value)
    if code == "supplier":
        zh, en = supplier_named(zh), supplier_named(en)
    if code == "mode":
        zh = en = mode_name(counted.value.value)
    if code == "price":
        zh, en = f"{zh} {settings.HUB_CURRENCY}", f"{en} {settings.HUB_CURRENCY}"
    return {"zh": zh, "en": en}


def _figure(code: str, value: float | None) -> str:
    if value is None:
        return ""
    return decimal_of(int(value), currency=settings.HUB_CURRENCY) if code == "price" else f"{value:g}"
