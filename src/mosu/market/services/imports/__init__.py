"""Bringing offers in by files: previewed with its differences, then applied at once or discarded."""

from mosu.market.services.imports.apply import (
    ImportStale,
    NotReleasable,
    apply_import,
    discard_import,
    release_row,
)
from mosu.market.services.imports.preview import FILE_BYTES_MAX, preview_import

__all__ = [
    "FILE_BYTES_MAX",
    "ImportStale",
    "NotReleasable",
    "apply_import",
    "discard_import",
    "preview_import",
    "release_row",
]
