"""Offers files: what a supplier or the operator brings in, parsed and checked in one place.

Layouts: mosu's own CSV and YAML, SkyPilot's v8 catalogues, gpuhunt's v2. See docs/reference/offers-file.md.
"""

from mosu.wire.offers.reading import OffersRefused, read_offers
from mosu.wire.offers.rows import OfferRow

__all__ = ["OfferRow", "OffersRefused", "read_offers"]
