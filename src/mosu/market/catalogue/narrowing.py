"""Which offers could serve a request: judged as columns, so that only the best need be planned and priced."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mosu.market.catalogue.searching import Viewer, visible
from mosu.market.catalogue.snapshot import Ints, Snapshot
from mosu.market.catalogue.words import Codes, Mask
from mosu.market.shelves import Goods, Place

EXAMPLES: Final = 3
CLASSES_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be bought of a shelf. Each judgement answers with the codes of what speaks against it; none: it fits.

    What a thing is (goods, supplier) is judged before what it costs; where it is (the place) in any case.
    """

    shelf: str
    organisation_id: UUID
    meter: str
    looks_at: Sequence[str]
    """The attributes by which goods are judged: those that are alike in all of them are judged once."""
    units_of: Callable[[Goods, Mapping[str, Any]], int]
    """How many of the meter's units it takes at once of such goods."""
    wall_s: int
    budget_micros: int | None
    hourly_micros: int | None
    of_goods: Callable[[Goods, Mapping[str, Any]], Iterable[str]]
    of_supplier: Callable[[UUID, str], Iterable[str]]
    of_place: Callable[[Place], Iterable[str]]


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Offers against which the same speaks, and the cheapest few of them."""

    codes: frozenset[str]
    count: int
    examples: Sequence[UUID]


class Narrowed:
    """The offers that fit, best first, and those that do not, by reason."""

    def __init__(self, snapshot: Snapshot, ranked: Codes, refused: Sequence[RefusedGroup]) -> None:
        self._snapshot = snapshot
        self._ranked = ranked
        self.refused = refused

    def __len__(self) -> int:
        return len(self._ranked)

    def take(self, count: int, *, without: Collection[Place]) -> list[UUID]:
        """The next best, each once; none at the places `without`."""
        if without:
            full = np.array(
                [place in without for _, place in self._snapshot.words.places.values], dtype=np.bool_
            )
            self._ranked = self._ranked[~full[self._snapshot.columns["place"][self._ranked]]]
        taken, self._ranked = self._ranked[:count], self._ranked[count:]
        return self._snapshot.ids(taken)


def narrow(snapshot: Snapshot, request: Request, *, examples: int = EXAMPLES) -> Narrowed:
    """The offers that the organisation may buy, judged.

    The order of those that fit: first the cheapest of each class that vouchers tell apart (region, kind, domestic:
    within one a lower price never makes one pay more now), then the cheapest of each place and goods, then the rest.
    Where all refused are few, all are examples.
    """
    words, columns = snapshot.words, snapshot.columns
    shelf = words.shelves.known(request.shelf)
    seen = visible(snapshot, Viewer(frozenset({request.organisation_id})))
    seen &= _may_buy(snapshot, request.organisation_id)
    seen &= columns["shelf"] == (-2 if shelf is None else shelf)
    judged = _Judged(snapshot)
    alike = _alike(words.attributes, request.looks_at)
    judged.by_goods(alike, request.of_goods)
    judged.by_code("supplier", (request.of_supplier(*supplier) for supplier in words.suppliers.values))
    judged.by_number(request, alike, where=judged.bits == 0)
    at_shelf = (
        request.of_place(place) if code == request.shelf else () for code, place in words.places.values
    )
    judged.by_code("place", at_shelf)
    order = snapshot.order("price")
    order = order[seen[order]]
    bits = judged.bits[order]
    return Narrowed(
        snapshot, _ranked(snapshot, order[bits == 0]), _groups(snapshot, judged, order[bits != 0], examples)
    )


@dataclass(frozen=True, slots=True)
class _Alike:
    """By goods: the number of its kind; and of each kind, the number of some goods."""

    kinds: Ints
    examples: Sequence[int]


def _alike(attributes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> _Alike:
    examples: dict[tuple[Any, ...], int] = {}
    numbers: dict[int, int] = {}
    kinds = []
    for number, one in enumerate(attributes):
        example = examples.setdefault(tuple(map(one.get, names)), number)
        kinds.append(numbers.setdefault(example, len(numbers)))
    return _Alike(np.array(kinds or [0], dtype=np.int64), list(numbers))


class _Judged:
    """By row, a bit for each code that speaks against it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._bits: dict[str, int] = {}
        self.bits: Ints = np.zeros(snapshot.size, dtype=np.int64)

    def by_code(self, column: str, judgements: Iterable[Iterable[str]]) -> None:
        """Judged once for each value of a column."""
        by_value = np.array([self._bits_of(codes) for codes in judgements] or [0], dtype=np.int64)
        self.bits |= by_value[self._snapshot.columns[column]]

    def by_goods(self, alike: _Alike, judge: Callable[[Goods, Mapping[str, Any]], Iterable[str]]) -> None:
        """Judged once for each kind of goods."""
        found = self._of_kinds(alike, lambda *goods: self._bits_of(judge(*goods)))
        self.bits |= found[self._snapshot.columns["goods"]]

    def by_number(self, request: Request, alike: _Alike, *, where: Mask) -> None:
        """Limits and prices; to the micro, they are compared again when the plan is made."""
        columns = self._snapshot.columns
        price = self._snapshot.price(request.meter)
        units = self._of_kinds(alike, request.units_of)[columns["goods"]]
        self._add("outside_limits", where & ~self._within(units))
        self._add("too_long", where & (columns["wall_s_max"] < request.wall_s))
        self._add("no_price", where & (price == 0))
        hourly: NDArray[np.float64] = price.astype(np.float64) * units
        if request.budget_micros is not None:
            self._add("over_budget", where & (hourly * request.wall_s / 3600 > request.budget_micros))
        if request.hourly_micros is not None:
            self._add("over_hourly_cost", where & (hourly > request.hourly_micros))

    def _of_kinds(self, alike: _Alike, said: Callable[[Goods, Mapping[str, Any]], int]) -> Ints:
        """By goods."""
        words = self._snapshot.words
        each = [said(words.goods[one], words.attributes[one]) for one in alike.examples]
        found: Ints = np.array(each or [0], dtype=np.int64)[alike.kinds]
        return found

    def names_of(self, bits: int) -> frozenset[str]:
        return frozenset(name for name, bit in self._bits.items() if bits & bit)

    def _within(self, units: Ints) -> Mask:
        columns = self._snapshot.columns
        fits: Mask = (columns["min_units"] <= units) & (columns["max_units"] >= units)
        return fits

    def _add(self, name: str, mask: Mask) -> None:
        self.bits |= np.where(mask, self._bits_of([name]), 0)

    def _bits_of(self, codes: Iterable[str]) -> int:
        bits = 0
        for name in codes:
            bits |= self._bits.setdefault(name, 1 << len(self._bits))
        return bits


def _may_buy(snapshot: Snapshot, organisation_id: UUID) -> Mask:
    """A supplier sees its private offers, but they are for their buyer."""
    buyer, code = snapshot.columns["buyer"], snapshot.words.buyers.known(organisation_id)
    everyones: Mask = buyer == -1
    return everyones if code is None else everyones | (buyer == code)


def _ranked(snapshot: Snapshot, order: Codes) -> Codes:
    if not len(order):
        return order
    columns = snapshot.columns
    by_goods = np.array(snapshot.words.classes, dtype=np.int32)
    best = _firsts(by_goods[columns["goods"][order]])[:CLASSES_MAX]
    each = columns["place"][order].astype(np.int64) * len(by_goods) + columns["goods"][order]
    positions = np.concatenate([best, _firsts(each), np.arange(len(order))])
    ranked: Codes = order[positions[_firsts(positions)]]
    return ranked


def _firsts(values: NDArray[Any]) -> NDArray[np.int64]:
    """Where each different value stands first, in that order."""
    return np.sort(np.unique(values, return_index=True)[1])


def _groups(snapshot: Snapshot, judged: _Judged, rows: Codes, examples: int) -> list[RefusedGroup]:
    """Fewest reasons first: what is nearest to fitting; then the smaller group, which says more."""
    bits = judged.bits[rows]
    counts = np.bincount(bits)  # a few reasons, so a few thousand numbers at most: no sorting
    found = []
    for one, count in zip(np.flatnonzero(counts), counts[counts > 0], strict=True):
        shown = rows[bits == one][: None if len(rows) <= examples * 10 else examples]
        found.append(RefusedGroup(judged.names_of(int(one)), int(count), snapshot.ids(shown)))
    return sorted(found, key=lambda group: (len(group.codes), group.count))
