"""What others ask of subsidies."""

from mosu.subsidies.rules import Choice, Share, Source, Spend, SpendKind, Split, split_at
from mosu.subsidies.services.redemptions import (
    accounts_of,
    accounts_of_order,
    best_split,
    capture_redemptions,
    redeem,
    release_redemptions,
)

__all__ = [
    "Choice",
    "Share",
    "Source",
    "Spend",
    "SpendKind",
    "Split",
    "accounts_of",
    "accounts_of_order",
    "best_split",
    "capture_redemptions",
    "redeem",
    "release_redemptions",
    "split_at",
]
