"""Pure decisions: how a price is split, what a programme file says, what may become of a voucher."""

from mosu.subsidies.rules.split import (
    Candidate,
    Choice,
    Share,
    Source,
    Spend,
    SpendKind,
    Split,
    best_split,
    split_at,
)

__all__ = [
    "Candidate",
    "Choice",
    "Share",
    "Source",
    "Spend",
    "SpendKind",
    "Split",
    "best_split",
    "split_at",
]
