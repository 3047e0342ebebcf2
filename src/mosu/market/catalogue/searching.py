"""Searching a snapshot. Pure: a search and who asks go in; ids, counts and the place in the list come out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mosu.market.catalogue.asked import OfferSearch, Range
from mosu.market.catalogue.snapshot import ID, UNKNOWN, Ints, Snapshot
from mosu.market.catalogue.vocabularies import PRICE_EDGES
from mosu.market.catalogue.words import Codes, Mask, Term, terms_of
from mosu.market.shelves import FacetValue

VALUES_SHOWN: Final = 40
"""Of one facet, besides those that are chosen."""
PRICE: Final = "price"
SUPPLIER: Final = "supplier"
FREE_NOW: Final = "free_now"

After: TypeAlias = tuple[int, UUID]
"""The sort key and id of the last item seen."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """For whom is searched: everyone's offers, and the private ones of these organisations, bought or sold."""

    organisation_ids: frozenset[UUID] = frozenset()
    sees_all: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """A value of a facet, and how many offers fit if it is chosen beside all that other facets ask."""

    value: FacetValue
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Ids in order, how many fit in all, the counts by facet, and where the page ends if more follow."""

    ids: Sequence[UUID]
    total: int
    facets: Mapping[str, Sequence[Counted]]
    without: Mapping[str, int]
    """By facet that something is asked of: how many would fit if nothing were."""
    last: After | None


def search(
    snapshot: Snapshot,
    wanted: OfferSearch,
    *,
    viewer: Viewer,
    facets: Sequence[str],
    after: After | None = None,
) -> Found:
    """The page of offers that fit, and what else there is: for `facets`, each without its own choice."""
    base, score = _base(snapshot, wanted, viewer)
    choices = _choices(snapshot, wanted, facets)
    misses = np.zeros(snapshot.size, dtype=np.uint8)
    for fits in choices.values():
        misses += ~fits
    passing = base & (misses == 0)
    key, rows = _ordered(snapshot, wanted, passing, score)
    total = len(rows)
    begin = _begin(snapshot, key, rows, after) if after else 0
    page = rows[begin : begin + wanted.limit]
    more = begin + wanted.limit < total
    return Found(
        ids=snapshot.ids(page),
        total=total,
        facets={
            facet: _counts(
                snapshot,
                facet,
                passing if facet not in choices else base & (misses == ~choices[facet]),
                frozenset(wanted.chosen.get(facet, ())),
                wanted,
            )
            for facet in facets
        },
        without={facet: int(np.count_nonzero(base & (misses == ~fits))) for facet, fits in choices.items()},
        last=(int(key[page[-1]]), snapshot.ids(page[-1:])[0]) if more and len(page) else None,
    )


def visible(snapshot: Snapshot, viewer: Viewer) -> Mask:
    """Rows that the viewer may know of."""
    alive: Mask = snapshot.columns["alive"]
    if viewer.sees_all:
        return alive.copy()
    buyer = snapshot.columns["buyer"]
    seen: Mask = buyer == -1
    for organisation_id in viewer.organisation_ids:
        code = snapshot.words.buyers.known(organisation_id)
        if code is not None:
            seen |= buyer == code
    own = [
        code
        for code, (supplier_id, _) in enumerate(snapshot.words.suppliers.values)
        if supplier_id in viewer.organisation_ids
    ]
    if own:
        seen |= np.isin(snapshot.columns["supplier"], own)
    seen &= alive
    return seen


def _base(snapshot: Snapshot, wanted: OfferSearch, viewer: Viewer) -> tuple[Mask, NDArray[np.int64] | None]:
    """What fits before any facet, and how well the text fits."""
    base = visible(snapshot, viewer)
    if wanted.shelf:
        shelf = snapshot.words.shelves.known(wanted.shelf)
        base &= snapshot.columns["shelf"] == (-2 if shelf is None else shelf)
    if wanted.live is not None:
        base &= snapshot.live == wanted.live
    terms = terms_of(wanted.text)
    if not terms:
        return base if not wanted.text.strip() else np.zeros_like(base), None
    score = np.zeros(snapshot.size, dtype=np.int64)
    for term in terms:
        base &= _found(snapshot, term, score)
    return base, score


def _found(snapshot: Snapshot, term: Term, score: NDArray[np.int64]) -> Mask:
    """Rows whose words hold the term; each pair or word that they hold adds to their score."""
    if not term.is_chinese:
        whole = _holding(snapshot, term.text, is_chinese=False)
        score += whole
        if term.parts:
            parts = [_holding(snapshot, part, is_chinese=False) for part in term.parts]
            whole = whole | np.logical_and.reduce(parts)
        return whole
    held = [_holding(snapshot, pair, is_chinese=True) for pair in term.keys]
    for mask in held:
        score += mask
    found = held[0] & held[-1]  # the first and the last character stand in one pair each
    for left, right in pairwise(held):
        found = found & (left | right)
    return found


def _holding(snapshot: Snapshot, key: str, *, is_chinese: bool) -> Mask:
    """Rows with the pair or the beginning of a word in title, goods or supplier."""
    found = np.zeros(snapshot.size, dtype=np.bool_)
    for column, index in snapshot.words.words.items():
        texts = index.holding(key, is_chinese=is_chinese)
        if texts is not None:
            found |= texts[snapshot.columns[column]]
    return found


def _choices(snapshot: Snapshot, wanted: OfferSearch, facets: Sequence[str]) -> dict[str, Mask]:
    """By facet that something is asked of: the rows that fit it."""
    found: dict[str, Mask] = {}
    for facet in {*wanted.chosen, *wanted.ranges}:
        fits = np.ones(snapshot.size, dtype=np.bool_)
        if facet in wanted.chosen:
            codes = _codes_of(snapshot, facet, wanted.chosen[facet])
            fits &= np.isin(_column(snapshot, facet), codes)
        if facet in wanted.ranges:
            fits &= _within(snapshot, facet, wanted.ranges[facet])
        found[facet] = fits
    if wanted.free_now:
        found[FREE_NOW] = snapshot.ready
    return found


def _within(snapshot: Snapshot, facet: str, span: Range) -> Mask:
    if facet == PRICE:
        numbers: NDArray[np.float64] = snapshot.columns["price"].astype(np.float64)
        numbers[snapshot.columns["price"] == UNKNOWN] = np.nan
    else:
        vocabulary = snapshot.words.facets.get(facet)
        shown = vocabulary.shown if vocabulary else []
        by_code = np.array(
            [np.nan if value.number is None else value.number for value in shown] + [np.nan], dtype=np.float64
        )
        numbers = by_code[_column(snapshot, facet)]
    low, high = span
    fits = ~np.isnan(numbers)
    if low is not None:
        fits &= numbers >= low
    if high is not None:
        fits &= numbers <= high
    return fits


def _column(snapshot: Snapshot, facet: str) -> Codes:
    if facet == SUPPLIER:
        return snapshot.codes(SUPPLIER)
    return snapshot.codes(f"facet:{facet}")


def _codes_of(snapshot: Snapshot, facet: str, values: Iterable[str]) -> list[int]:
    if facet == SUPPLIER:
        wanted = set(values)
        return [code for code, shown in enumerate(snapshot.words.suppliers_shown) if shown.value in wanted]
    if facet == PRICE:
        names = {value.value: code for code, value in enumerate(_PRICES)}
        return [names[value] for value in values if value in names]
    vocabulary = snapshot.words.facets.get(facet)
    known = (vocabulary.known(value) for value in values) if vocabulary else ()
    return [code for code in known if code is not None]


def _ordered(
    snapshot: Snapshot, wanted: OfferSearch, passing: Mask, score: NDArray[np.int64] | None
) -> tuple[Ints, Codes]:
    """The sort key of every row, and the rows that fit in order."""
    if wanted.sort != "relevance" or score is None:
        sort = "price" if wanted.sort == "relevance" else wanted.sort
        order = snapshot.order(sort)
        return snapshot.sort_key(sort), order[passing[order]]
    price: Ints = snapshot.columns["price"]
    key = ((255 - np.minimum(score, 255)) << 53) | price
    by_id = snapshot.by_id
    rows = by_id[passing[by_id]]
    return key, rows[np.argsort(key[rows], kind="stable")]


def _begin(snapshot: Snapshot, key: Ints, rows: Codes, after: After) -> int:
    """Behind the last item seen, whether or not it is still there."""
    last, last_id = after
    keys = key[rows]
    left = int(np.searchsorted(keys, last, side="left"))
    right = int(np.searchsorted(keys, last, side="right"))
    equal = snapshot.columns["id"][rows[left:right]]
    return left + int(np.searchsorted(equal, np.array(last_id.bytes, dtype=ID), side="right"))


def _counts(
    snapshot: Snapshot, facet: str, fitting: Mask, chosen: frozenset[str], wanted: OfferSearch
) -> list[Counted]:
    """The values that fit, most frequent first; chosen ones always."""
    if facet == FREE_NOW:
        count = int(np.count_nonzero(fitting & snapshot.ready))
        return [Counted(FREE, count, chosen=wanted.free_now)]
    counts = np.bincount(_column(snapshot, facet)[fitting] + 1)[1:]  # 0: those of which it is not known
    picked = _codes_of(snapshot, facet, chosen)
    ranked = np.argsort(-counts, kind="stable")[:VALUES_SHOWN].tolist()
    found = {}
    for code in dict.fromkeys([*picked, *ranked]):
        value, count = _value(snapshot, facet, code), int(counts[code]) if code < len(counts) else 0
        if count and value.value not in found:
            found[value.value] = Counted(value, count, value.value in chosen)
    for name in chosen - found.keys():
        # In the words of who asked: it may be the name of something private.
        found[name] = Counted(FacetValue(name, name, name), 0, chosen=True)
    listed = list(found.values())
    if listed and all(one.value.number is not None for one in listed):
        return sorted(listed, key=lambda one: one.value.number or 0)
    return sorted(listed, key=lambda one: (not one.chosen, -one.count))


def _value(snapshot: Snapshot, facet: str, code: int) -> FacetValue:
    if facet == SUPPLIER:
        return snapshot.words.suppliers_shown[code]
    if facet == PRICE:
        return _PRICES[code]
    return snapshot.words.facets[facet].shown[code]


def _price_range(low: int, high: int) -> FacetValue:
    first = f"{low / 1e6:g}" if low else ""
    last = f"{high / 1e6:g}" if high else ""
    text = f"{first} – {last}" if first and last else f"< {last}" if last else f"≥ {first}"
    return FacetValue(f"{first or 0}-{last}", text, text, low / 1e6)


_PRICES: Final = [
    _price_range(low, high) for low, high in zip((0, *PRICE_EDGES), (*PRICE_EDGES, 0), strict=True)
]
FREE: Final = FacetValue("true", "现在可用", "Free now")
