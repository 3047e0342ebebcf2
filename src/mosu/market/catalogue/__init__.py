"""Searching the shelves: a snapshot in memory, at most 2 s old; PostgreSQL has the last word (see explanation/shelf.md)."""

from mosu.market.catalogue.asked import LIMIT_MAX, SORTS, OfferSearch, Sort, params_of
from mosu.market.catalogue.keeping import CatalogueLoading, catalogue_at
from mosu.market.catalogue.searching import FREE_NOW, Counted, Viewer, search

__all__ = [
    "FREE_NOW",
    "LIMIT_MAX",
    "SORTS",
    "CatalogueLoading",
    "Counted",
    "OfferSearch",
    "Sort",
    "Viewer",
    "catalogue_at",
    "params_of",
    "search",
]
