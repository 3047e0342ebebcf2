"""Writes of the counter; one function per intention."""

from mosu.market.blocks import BlockTerms, CancellationRule, EndedEarly, ended_early
from mosu.market.rates import NoRate
from mosu.market.services.budgets import OverBudget, lift_budget, set_budget
from mosu.market.services.closing import MonthNotOver, MonthNotSealed, UsageDisagrees, close_month
from mosu.market.services.corrections import (
    MonthOpen,
    MoreThanPaid,
    NothingToPay,
    issue_credit_note,
    pay_statement,
    propose_credit_note,
    reject_credit_note,
)
from mosu.market.services.imports import (
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
    stop_order,
)
from mosu.market.services.prepaid import quote_prepaid
from mosu.market.services.quotes import NotForSale, TooLittle, check_chargeable, expire_quotes, make_quotes
from mosu.market.services.rates import record_rate
from mosu.market.services.samples import draw_sample
from mosu.market.services.searches import delete_search, save_search
from mosu.market.services.settlement import (
    RECOMPUTED,
    lock_for_settlement,
    recompute_charge,
    recompute_charges,
    settle_order,
)
from mosu.market.services.tiers import set_relation, set_tier_rate
from mosu.market.services.usage import record_usage
from mosu.market.services.watching import watch_budgets
from mosu.market.shelves import NamedGoods, Plan, PlanLine, Stock, UsageIn

__all__ = [
    "RECOMPUTED",
    "SINCE",
    "BlockTerms",
    "CancellationRule",
    "ChangedSince",
    "EndedEarly",
    "ImportStale",
    "MonthNotOver",
    "MonthNotSealed",
    "MonthOpen",
    "MoreThanPaid",
    "NamedGoods",
    "NoRate",
    "NotForSale",
    "NotReleasable",
    "NothingToPay",
    "OfferChanged",
    "OfferSpec",
    "OverBudget",
    "Plan",
    "PlanLine",
    "PriceDoubted",
    "PriceSpec",
    "QuoteExpired",
    "QuoteTaken",
    "Stock",
    "TermsSpec",
    "TooLittle",
    "UsageDisagrees",
    "UsageIn",
    "accept_quote",
    "activate_order",
    "apply_import",
    "cancel_order",
    "carry_on_import",
    "change_offer",
    "check_chargeable",
    "close_month",
    "create_offer",
    "delete_search",
    "delist_offer",
    "discard_import",
    "draw_sample",
    "ended_early",
    "expire_quotes",
    "forget_changes",
    "give_up_import",
    "issue_credit_note",
    "lift_budget",
    "lock_for_settlement",
    "make_quotes",
    "pay_statement",
    "preview_import",
    "propose_credit_note",
    "quote_prepaid",
    "recompute_charge",
    "recompute_charges",
    "record_rate",
    "record_usage",
    "reject_credit_note",
    "release_order",
    "release_row",
    "relist_offer",
    "revision_of",
    "save_search",
    "set_budget",
    "set_price",
    "set_relation",
    "set_tier_rate",
    "settle_order",
    "stop_order",
    "undo_import",
    "watch_budgets",
]
