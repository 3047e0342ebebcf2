"""Writes of the counter; one function per intention."""

from mosu.market.rates import NoRate
from mosu.market.services.imports import (
    FILE_BYTES_MAX,
    SINCE,
    ChangedSince,
    ImportStale,
    NotReleasable,
    apply_import,
    carry_on_import,
    discard_import,
    give_up_import,
    preview_import,
    release_row,
    undo_import,
)
from mosu.market.services.offers import (
    OfferChanged,
    OfferSpec,
    PriceDoubted,
    PriceSpec,
    TermsSpec,
    change_offer,
    create_offer,
    delist_offer,
    forget_changes,
    relist_offer,
    revision_of,
    set_price,
)
from mosu.market.services.orders import (
    QuoteExpired,
    QuoteTaken,
    accept_quote,
    activate_order,
    cancel_order,
    release_order,
)
from mosu.market.services.quotes import expire_quotes, make_quotes
from mosu.market.services.rates import record_rate
from mosu.market.services.samples import draw_sample
from mosu.market.services.searches import delete_search, save_search
from mosu.market.services.settlement import (
    RECOMPUTED,
    RECOMPUTED_FOR,
    Recomputed,
    recompute_charge,
    recompute_charges,
    settle_order,
)
from mosu.market.services.tiers import set_relation, set_tier_rate
from mosu.market.services.usage import record_usage
from mosu.market.shelves import NamedGoods, Plan, PlanLine, Stock, UsageIn, UsageResult

__all__ = [
    "FILE_BYTES_MAX",
    "RECOMPUTED",
    "RECOMPUTED_FOR",
    "SINCE",
    "ChangedSince",
    "ImportStale",
    "NamedGoods",
    "NoRate",
    "NotReleasable",
    "OfferChanged",
    "OfferSpec",
    "Plan",
    "PlanLine",
    "PriceDoubted",
    "PriceSpec",
    "QuoteExpired",
    "QuoteTaken",
    "Recomputed",
    "Stock",
    "TermsSpec",
    "UsageIn",
    "UsageResult",
    "accept_quote",
    "activate_order",
    "apply_import",
    "cancel_order",
    "carry_on_import",
    "change_offer",
    "create_offer",
    "delete_search",
    "delist_offer",
    "discard_import",
    "draw_sample",
    "expire_quotes",
    "forget_changes",
    "give_up_import",
    "make_quotes",
    "preview_import",
    "recompute_charge",
    "recompute_charges",
    "record_rate",
    "record_usage",
    "release_order",
    "release_row",
    "relist_offer",
    "revision_of",
    "save_search",
    "set_price",
    "set_relation",
    "set_tier_rate",
    "settle_order",
    "undo_import",
]
