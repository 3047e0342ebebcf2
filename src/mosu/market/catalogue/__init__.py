"""Searching the shelves: a snapshot in memory, at most 2 s old; PostgreSQL has the last word."""

from mosu.market.catalogue.asked import OfferSearch, params_of
from mosu.market.catalogue.keeping import CatalogueLoading, catalogue_at
from mosu.market.catalogue.narrowing import EXAMPLES, Narrowed, RefusedGroup, Request, narrow
from mosu.market.catalogue.searching import FREE_NOW, Counted, Viewer, search, visible
from mosu.market.catalogue.snapshot import Snapshot
from mosu.market.catalogue.summary import GoodsSummary, ShelfSummary, summarised

__all__ = [
    "EXAMPLES",
    "FREE_NOW",
    "CatalogueLoading",
    "Counted",
    "GoodsSummary",
    "Narrowed",
    "OfferSearch",
    "RefusedGroup",
    "Request",
    "ShelfSummary",
    "Snapshot",
    "Viewer",
    "catalogue_at",
    "narrow",
    "params_of",
    "search",
    "summarised",
    "visible",
]
