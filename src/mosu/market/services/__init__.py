"""Writes of the counter; one function per intention."""

from mosu.market.services.offers import OfferSpec, PriceSpec, create_offer, delist_offer, set_price
from mosu.market.services.orders import (
    QuoteExpired,
    QuoteTaken,
    accept_quote,
    activate_order,
    cancel_order,
    release_order,
)
from mosu.market.services.quotes import expire_quotes, make_quotes
from mosu.market.services.samples import draw_sample
from mosu.market.services.settlement import (
    RECOMPUTED,
    RECOMPUTED_FOR,
    Recomputed,
    recompute_charge,
    recompute_charges,
    settle_order,
)
from mosu.market.services.usage import record_usage
from mosu.market.shelves import Plan, PlanLine, Stock, UsageIn, UsageResult

__all__ = [
    "RECOMPUTED",
    "RECOMPUTED_FOR",
    "OfferSpec",
    "Plan",
    "PlanLine",
    "PriceSpec",
    "QuoteExpired",
    "QuoteTaken",
    "Recomputed",
    "Stock",
    "UsageIn",
    "UsageResult",
    "accept_quote",
    "activate_order",
    "cancel_order",
    "create_offer",
    "delist_offer",
    "draw_sample",
    "expire_quotes",
    "make_quotes",
    "recompute_charge",
    "recompute_charges",
    "record_usage",
    "release_order",
    "set_price",
    "settle_order",
]
