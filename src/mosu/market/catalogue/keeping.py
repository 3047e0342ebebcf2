"""One catalogue per process and database: read whole once, then only what changed, by whoever asks when it is due."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from heapq import heappop, heappush
from threading import Lock
from typing import Final

import numpy as np
from django.db import connection

from mosu.kernel.refusals import DomainError
from mosu.market.catalogue.loading import load, news_since
from mosu.market.catalogue.snapshot import ID, Ids, Snapshot
from mosu.market.catalogue.vocabularies import Vocabularies
from mosu.market.shelves import Place, Standing, has_shelf, shelf_of

DUE: Final = timedelta(seconds=1.5)
"""A snapshot is looked over again when it is so old."""
OLD: Final = timedelta(seconds=2)
"""None older than this is searched."""
WAIT_S: Final = 10.0
"""For a process that still reads the catalogue for the first time."""
NOTED_FOR: Final = timedelta(days=1)
"""How long changes stay noted, at least; a process that did not look for so long reads all again."""


class CatalogueLoading(DomainError):
    """This process has only just started and still reads the offers."""

    code = "catalogue_loading"
    status = 503


class Catalogue:
    """The snapshot and what it takes to keep it. The lock is held by who reads from PostgreSQL, never by searches."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._snapshot: Snapshot | None = None
        self._xmin = 0
        self._seen: frozenset[str] = frozenset()
        self._ahead: list[tuple[datetime, bytes]] = []

    def at(self, now: datetime, *, first_wait_s: float = WAIT_S) -> Snapshot:
        """The offers as they are at `now`, or were up to 2 s before.

        While another thread reads them for the first time, this waits for `first_wait_s`. Inside a transaction that
        changed offers itself: as it sees them, for it alone.

        Raises:
            CatalogueLoading: the first reading of this process takes longer than one can wait.
        """
        snapshot = self._snapshot
        in_transaction = connection.in_atomic_block
        if snapshot is not None and not in_transaction and _age(snapshot.read_at, now) < DUE:
            return snapshot
        if in_transaction and news_since(self._xmin, but=self._seen).is_own:
            return _read_whole(now)
        may_wait = snapshot is None or _age(snapshot.read_at, now) >= OLD
        wait_s = first_wait_s if snapshot is None else WAIT_S if may_wait else 0
        if not self._lock.acquire(timeout=wait_s):
            if snapshot is not None and not may_wait:
                return snapshot
            raise CatalogueLoading("The shelf is being set up.", hint="Try again in a few seconds.")
        try:
            return self._looked_over(now)
        finally:
            self._lock.release()

    def _looked_over(self, now: datetime) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None and not connection.in_atomic_block and _age(snapshot.read_at, now) < DUE:
            return snapshot  # someone else did it while this one waited
        if snapshot is None or _age(snapshot.read_at, now) > NOTED_FOR:
            snapshot = self._whole(now)
        else:
            snapshot = self._updated(snapshot, now)
        if snapshot.stood_at is None or _age(snapshot.stood_at, now) >= DUE:
            snapshot = snapshot.with_standings(_standings(snapshot.words, now=now), now=now)
        self._snapshot = snapshot
        return snapshot

    def _whole(self, now: datetime) -> Snapshot:
        news = news_since(0)
        self._xmin, self._seen = news.xmin, news.transactions
        words = Vocabularies()
        loaded = load(words, now=now)
        self._ahead = sorted(loaded.next_prices)
        return Snapshot(now, loaded.columns, words)

    def _updated(self, snapshot: Snapshot, now: datetime) -> Snapshot:
        news = news_since(self._xmin, but=self._seen)
        due: Ids = np.array(self._due(now), dtype=ID)
        changed = np.unique(np.concatenate([news.changed, due]))
        if len(changed):
            loaded = load(snapshot.words, now=now, only=changed)
            for one in loaded.next_prices:
                heappush(self._ahead, one)
            places = len(snapshot.standings)
            snapshot = snapshot.with_changes(changed, loaded.columns, now=now)
            if len(snapshot.words.places.values) > places:
                snapshot = snapshot.with_standings(_standings(snapshot.words, now=now), now=now)
        else:
            snapshot = snapshot.read_again(now=now)
        self._xmin = news.xmin
        seen = self._seen | news.transactions
        self._seen = frozenset(one for one in seen if int(one) >= news.xmin)
        return snapshot

    def _due(self, now: datetime) -> list[bytes]:
        """Offers of which a price, known ahead, has begun."""
        found = []
        while self._ahead and self._ahead[0][0] <= now:
            found.append(heappop(self._ahead)[1])
        return found


_catalogues: Final[dict[str, Catalogue]] = {}


def catalogue_at(now: datetime, *, first_wait_s: float = WAIT_S) -> Snapshot:
    """This process's catalogue of the database that it is connected to.

    Raises:
        CatalogueLoading: see `Catalogue.at`.
    """
    catalogue = _catalogues.setdefault(connection.settings_dict["NAME"], Catalogue())
    return catalogue.at(now, first_wait_s=first_wait_s)


def _read_whole(now: datetime) -> Snapshot:
    words = Vocabularies()
    snapshot = Snapshot(now, load(words, now=now).columns, words)
    return snapshot.with_standings(_standings(words, now=now), now=now)


def _standings(words: Vocabularies, *, now: datetime) -> Mapping[tuple[str, Place], Standing]:
    """How every place stands, in one batch per shelf; those of a closed shelf are left out."""
    by_shelf: defaultdict[str, list[Place]] = defaultdict(list)
    for shelf, place in words.places.values:
        by_shelf[shelf].append(place)
    found: dict[tuple[str, Place], Standing] = {}
    for shelf, places in by_shelf.items():
        if has_shelf(shelf):
            standings = shelf_of(shelf).standings(places, now=now)
            found.update({(shelf, place): standing for place, standing in standings.items()})
    return found


def _age(at: datetime, now: datetime) -> timedelta:
    """Time passed; a clock that went back counts as much time."""
    return now - at if now >= at else timedelta.max
