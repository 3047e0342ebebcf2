"""The counter's operations of `/api/v1`, one file for each subject."""

from typing import Final

from mosu.market.api import (
    budgets,
    credit_notes,
    imports,
    offers,
    orders,
    papers,
    receipts,
    sales,
    statements,
    tiers,
)

routers: Final = [
    ("", offers.router),
    ("", orders.router),
    ("", receipts.router),
    ("", imports.router),
    ("", sales.router),
    ("", budgets.router),
    ("", tiers.router),
    ("", credit_notes.router),
    ("", statements.router),
    ("", papers.router),
]
