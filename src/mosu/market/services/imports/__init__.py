"""Bringing offers in by files: previewed with its differences, then applied at once or discarded; undone at most once.

Reading, applying and undoing take seconds for 100,000 offers: who asks hands the import over, the hub carries it on.
"""

from mosu.market.services.imports.apply import (
    ImportStale,
    NotReleasable,
    apply_import,
    discard_import,
    release_row,
)
from mosu.market.services.imports.preview import preview_import
from mosu.market.services.imports.undo import SINCE, ChangedSince, undo_import
from mosu.market.services.imports.work import carry_on_import, give_up_import

__all__ = [
    "SINCE",
    "ChangedSince",
    "ImportStale",
    "NotReleasable",
    "apply_import",
    "carry_on_import",
    "discard_import",
    "give_up_import",
    "preview_import",
    "release_row",
    "undo_import",
]
