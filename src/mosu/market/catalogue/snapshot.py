"""The offers on the shelves as columns of numbers: what a search reads instead of 100,000 rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from mosu.market.catalogue.vocabularies import PRICE_EDGES, Vocabularies
from mosu.market.catalogue.words import Codes, Mask
from mosu.market.shelves import Place, Standing
from mosu.market.tiers import LIST_BP, TierPrice

Ints: TypeAlias = NDArray[np.int64]
Ids: TypeAlias = NDArray[np.bytes_]
Column: TypeAlias = NDArray[Any]
Columns: TypeAlias = Mapping[str, Column]
FoundT = TypeVar("FoundT")

ID: Final = "S16"
UNKNOWN: Final = (1 << 53) - 1
"""A price that is not known, behind all that are."""
NO_STANDING: Final = Standing(stock=None, why_not_live="Its shelf is closed.")


@dataclass(frozen=True)
class Snapshot:
    """The catalogue at one moment. Rows of offers that left the shelf stay until another takes their place.

    Columns: `id`, `alive`; numbers for `shelf`, `goods`, `place`, `supplier`, `buyer` (-1: everyone's), `title`,
    and for each `facet:CODE` (-1: not known); `created_us`, `min_units`, `max_units`, `wall_s_max`; prices with tax
    for 3,600 of a meter's unit as `price:METER` (0: none), of the goods' own meter as `price`, and by what it gives as
    `effective` (`UNKNOWN` where either is). Prices are everyone's, but of the offers in `tiers`.
    """

    read_at: datetime
    columns: Columns
    words: Vocabularies
    standings: Mapping[tuple[str, Place], Standing] = field(default_factory=dict)
    stood_at: datetime | None = None
    tiers: Mapping[UUID, TierPrice] = field(default_factory=dict)
    """By offer, what of the list price is paid by whom it is priced for."""
    _orders: dict[str, Codes] = field(default_factory=dict)
    _once: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Rows, those of offers that are gone included."""
        return len(self.columns["id"])

    def codes(self, name: str) -> Codes:
        """A column of numbers that stand for something; -1 in all of it where nothing has the facet."""
        found = self.columns.get(name)
        return found if found is not None else np.full(self.size, -1, dtype=np.int32)

    def price(self, meter: str) -> Ints:
        """What 3,600 of a meter's unit cost with tax, in micros; 0 where it is not sold."""
        found = self.columns.get(f"price:{meter}")
        return found if found is not None else np.zeros(self.size, dtype=np.int64)

    @cached_property
    def free(self) -> Codes:
        """By row: units free now; 0 where nothing can be accepted, -1 where they cannot be counted."""
        by_place = np.array(
            [_free(self.standings.get(place, NO_STANDING)) for place in self.words.places.values] or [0],
            dtype=np.int32,
        )
        return by_place[self.columns["place"]]

    @cached_property
    def live(self) -> Mask:
        """By row: whether it can be accepted now."""
        by_place = np.array(
            [
                self.standings.get(place, NO_STANDING).why_not_live is None
                for place in self.words.places.values
            ]
            or [False],
            dtype=np.bool_,
        )
        return by_place[self.columns["place"]]

    @property
    def ready(self) -> Mask:
        """By row: live, with something free or with goods that are not counted."""
        found: Mask = self.live & (self.free != 0)
        return found

    @cached_property
    def by_id(self) -> Codes:
        """The rows in the order of their ids."""
        return np.argsort(self.columns["id"], kind="stable").astype(np.int32)

    def sort_key(self, sort: str) -> Ints:
        """By row: smaller comes first; equals go by id."""
        if sort == "free":
            return -self.free.astype(np.int64)
        if sort == "ready":
            return self.columns["price"] + np.where(self.ready, 0, UNKNOWN + 1)
        if sort == "-created_at":
            return -self.columns["created_us"]
        if sort == "-price":
            price = self.columns["price"]
            return np.where(price == UNKNOWN, UNKNOWN, -price)
        return self.columns["effective" if sort == "effective" else "price"]

    def order(self, sort: str) -> Codes:
        """All rows in the order of a sort."""
        found = self._orders.get(sort)
        if found is None:
            by_id = self.by_id
            found = by_id[np.argsort(self.sort_key(sort)[by_id], kind="stable")]
            self._orders[sort] = found
        return found

    def once(self, name: str, found: Callable[[], FoundT]) -> FoundT:
        """What `found` returns, reckoned once for as long as offers and stocks are these."""
        if name not in self._once:
            self._once[name] = found()
        kept: FoundT = self._once[name]
        return kept

    def ids(self, rows: Codes) -> list[UUID]:
        return [uuid_in(self.columns["id"], int(row)) for row in rows]

    def rows_of(self, ids: Ids) -> tuple[Codes, Mask]:
        """Where these ids stand, and which of them do at all."""
        if not self.size:
            return np.zeros(len(ids), dtype=np.int32), np.zeros(len(ids), dtype=np.bool_)
        own, by_id = self.columns["id"], self.by_id
        at = np.minimum(np.searchsorted(own, ids, sorter=by_id), self.size - 1)
        rows = by_id[at]
        return rows, own[rows] == ids

    def standing(self, shelf: str, place: Place) -> Standing:
        return self.standings.get((shelf, place), NO_STANDING)

    def with_standings(self, standings: Mapping[tuple[str, Place], Standing], *, now: datetime) -> "Snapshot":
        """The same offers as their places stand now."""
        kept = {sort: order for sort, order in self._orders.items() if sort not in ("free", "ready")}
        fresh = Snapshot(self.read_at, self.columns, self.words, standings, now, _orders=kept)
        if "by_id" in self.__dict__:
            fresh.__dict__["by_id"] = self.by_id
        return fresh

    def read_again(self, *, now: datetime) -> "Snapshot":
        """The same, as nothing has changed until `now`."""
        fresh = Snapshot(
            now,
            self.columns,
            self.words,
            self.standings,
            self.stood_at,
            _orders=self._orders,
            _once=self._once,
        )
        return self._lent(fresh)

    def priced_for(self, tiers: Mapping[UUID, TierPrice]) -> "Snapshot":
        """The same at the prices of somebody who pays a part of some offers' list price; for one request.

        Prices are the parts to the micro or less; which are in order and within a range, not what is charged.
        """
        if not tiers:
            return self
        rows, here = self.rows_of(np.array([key.bytes for key in tiers], dtype=ID))
        rows, columns = rows[here], dict(self.columns)
        parts = np.array([one.rate_bp for one in tiers.values()], dtype=np.int64)[here]
        for name in (name for name in self.columns if _is_price(name)):
            column = self.columns[name].copy()
            prices = column[rows]
            lower = prices // LIST_BP * parts + prices % LIST_BP * parts // LIST_BP  # no step over 64 bits
            column[rows] = np.where((prices > 0) & (prices < UNKNOWN), np.maximum(1, lower), prices)
            columns[name] = column
        bands = columns["facet:price"] = columns["facet:price"].copy()
        prices = columns["price"][rows]
        bands[rows] = np.where(prices < UNKNOWN, bands_of(prices), -1)
        kept = {sort: order for sort, order in self._orders.items() if sort in ("free", "-created_at")}
        return self._lent(
            Snapshot(
                self.read_at, columns, self.words, self.standings, self.stood_at, tiers=tiers, _orders=kept
            )
        )

    def _lent(self, fresh: "Snapshot") -> "Snapshot":
        """With what was reckoned for the same rows and standings."""
        for name in ("by_id", "free", "live"):
            if name in self.__dict__:
                fresh.__dict__[name] = self.__dict__[name]
        return fresh

    def with_changes(self, changed: Ids, found: Columns, *, now: datetime) -> "Snapshot":
        """The offers of `changed` as `found` has them now; those that it has not are gone."""
        columns = {name: column.copy() for name, column in self.columns.items()}
        rows, here = self.rows_of(changed)
        columns["alive"][rows[here]] = False
        rows, here = self.rows_of(found["id"])
        dead = np.flatnonzero(~columns["alive"])
        spare = dead[~np.isin(dead, rows[here])][: int(np.count_nonzero(~here))]
        target = np.where(here, rows, -1)
        missing = np.flatnonzero(~here)
        target[missing[: len(spare)]] = spare
        beyond = missing[len(spare) :]
        target[beyond] = self.size + np.arange(len(beyond))
        _write(columns, found, target.astype(np.int64), added=len(beyond))
        return Snapshot(now, columns, self.words, self.standings, self.stood_at)


def bands_of(prices: Ints) -> Codes:
    """Which step of the price facet each price stands on."""
    return np.searchsorted(np.array(PRICE_EDGES), prices, side="right").astype(np.int32)


def uuid_in(ids: Ids, row: int) -> UUID:
    """NumPy drops the zero bytes at an id's end."""
    return UUID(bytes=bytes(ids[row]).ljust(16, b"\0"))


def _write(columns: dict[str, Column], found: Columns, target: NDArray[np.int64], *, added: int) -> None:
    size = len(columns["id"])
    for name in columns.keys() | found.keys():
        empty = 0 if name.startswith("price:") else -1
        old = columns[name] if name in columns else np.full(size, empty, dtype=found[name].dtype)
        if added:
            old = np.concatenate([old, np.full(added, empty, dtype=old.dtype)])
        old[target] = found.get(name, empty)
        columns[name] = old


def _is_price(name: str) -> bool:
    return name in ("price", "effective") or name.startswith("price:")


def _free(standing: Standing) -> int:
    if standing.why_not_live is not None:
        return 0
    return -1 if standing.stock is None else min(standing.stock.free, 2**31 - 1)
