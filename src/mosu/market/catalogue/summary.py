"""A shelf in a few figures, for who has not searched yet. Pure: only what everyone may see is counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosu.market.catalogue.snapshot import UNKNOWN, Snapshot
from mosu.market.catalogue.vocabularies import Vocabulary
from mosu.market.shelves import Goods


@dataclass(frozen=True, slots=True)
class GoodsSummary:
    """All offers of one kind of goods (a card type; cores)."""

    goods: Goods
    offers: int
    price_micros: int | None
    """The lowest, with tax, for 3,600 of the meter's unit; None where none is known."""
    free: int
    """Units free at places that can be bought from now, each place counted once."""


@dataclass(frozen=True, slots=True)
class ShelfSummary:
    offers: int
    suppliers: int
    goods: Sequence[GoodsSummary]
    """Those with most offers first."""


def summarised(snapshot: Snapshot, shelf: str) -> ShelfSummary:
    """The listed offers of a shelf that are for everyone; reckoned once for a snapshot."""
    return snapshot.once(f"summary:{shelf}", lambda: _summary(snapshot, shelf))


def _summary(snapshot: Snapshot, shelf: str) -> ShelfSummary:
    columns, words = snapshot.columns, snapshot.words
    code = words.shelves.known(shelf)
    is_public = (
        columns["alive"] & (columns["buyer"] == -1) & (columns["shelf"] == (-2 if code is None else code))
    )
    rows = np.flatnonzero(is_public)
    keys: Vocabulary[str] = Vocabulary()
    key_of = np.array([keys.code(goods.key) for goods in words.goods] or [0], dtype=np.int64)
    key = key_of[columns["goods"][rows]]
    count = len(keys.values)
    offers = np.bincount(key, minlength=count)
    lowest = np.full(count, UNKNOWN, dtype=np.int64)
    np.minimum.at(lowest, key, columns["price"][rows])
    # Several offers may sell from one place: its stock is counted once.
    place = columns["place"][rows]
    _, firsts = np.unique(key * max(1, len(words.places.values)) + place, return_index=True)
    free = np.zeros(count, dtype=np.int64)
    np.add.at(free, key[firsts], np.maximum(snapshot.free[rows[firsts]], 0))
    goods_of = {goods.key: goods for goods in reversed(words.goods)}
    found = [
        GoodsSummary(
            goods=goods_of[name],
            offers=int(offers[number]),
            price_micros=None if lowest[number] == UNKNOWN else int(lowest[number]),
            free=int(free[number]),
        )
        for number, name in enumerate(keys.values)
        if offers[number]
    ]
    return ShelfSummary(
        offers=len(rows),
        suppliers=len(
            {words.suppliers.values[one][0] for one in np.unique(columns["supplier"][rows]).tolist()}
        ),
        goods=sorted(found, key=lambda one: -one.offers),
    )
