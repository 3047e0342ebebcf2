"""A shelf in a few figures, for who has not searched yet. Pure: only what everyone may see is counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosu.market.catalogue.snapshot import UNKNOWN, Snapshot
from mosu.market.catalogue.words import Codes
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
    """The listed offers of a shelf that are for everyone."""
    code = snapshot.words.shelves.known(shelf)
    columns = snapshot.columns
    public = (
        columns["alive"] & (columns["buyer"] == -1) & (columns["shelf"] == (-2 if code is None else code))
    )
    rows: Codes = np.flatnonzero(public).astype(np.int32)
    by_key: dict[str, list[int]] = {}
    for number in np.unique(columns["goods"][rows]).tolist():
        by_key.setdefault(snapshot.words.goods[number].key, []).append(number)
    found = [_of_goods(snapshot, rows, numbers) for numbers in by_key.values()]
    return ShelfSummary(
        offers=len(rows),
        suppliers=len(
            {snapshot.words.suppliers.values[one][0] for one in set(columns["supplier"][rows].tolist())}
        ),
        goods=sorted(found, key=lambda one: -one.offers),
    )


def _of_goods(snapshot: Snapshot, rows: Codes, numbers: Sequence[int]) -> GoodsSummary:
    own = rows[np.isin(snapshot.columns["goods"][rows], numbers)]
    lowest = int(snapshot.columns["price"][own].min())
    # Several offers may sell from one place: its stock is counted once.
    _, firsts = np.unique(snapshot.columns["place"][own], return_index=True)
    free = snapshot.free[own[firsts]]
    return GoodsSummary(
        goods=snapshot.words.goods[numbers[0]],
        offers=len(own),
        price_micros=None if lowest == UNKNOWN else lowest,
        free=int(free[free > 0].sum()),
    )
