"""Tables of the counter. What is frozen at the quote is frozen in the database: see the migration's grants."""

from mosu.market.models.budgets import Budget, BudgetEnd, BudgetState, Spending
from mosu.market.models.closing import Bill, BorneBy, CreditNote, CreditNoteState, MonthClose, Statement
from mosu.market.models.imports import Change, Gone, ImportState, OfferImport, OfferImportRow
from mosu.market.models.offers import ExchangeRate, Offer, OfferChange, OfferPrice, OfferState, SoldBy
from mosu.market.models.orders import (
    Charge,
    Order,
    OrderLine,
    OrderState,
    Outcome,
    Quote,
    QuoteState,
    Receipt,
    ReceiptCounter,
    UsageRecord,
    UsageState,
    UsageTotal,
)
from mosu.market.models.searches import SavedSearch
from mosu.market.models.tiers import Relation, Tier, TierRate

__all__ = [
    "Bill",
    "BorneBy",
    "Budget",
    "BudgetEnd",
    "BudgetState",
    "Change",
    "Charge",
    "CreditNote",
    "CreditNoteState",
    "ExchangeRate",
    "Gone",
    "ImportState",
    "MonthClose",
    "Offer",
    "OfferChange",
    "OfferImport",
    "OfferImportRow",
    "OfferPrice",
    "OfferState",
    "Order",
    "OrderLine",
    "OrderState",
    "Outcome",
    "Quote",
    "QuoteState",
    "Receipt",
    "ReceiptCounter",
    "Relation",
    "SavedSearch",
    "SoldBy",
    "Spending",
    "Statement",
    "Tier",
    "TierRate",
    "UsageRecord",
    "UsageState",
    "UsageTotal",
]
