"""Who pays what, in one bar, the same order everywhere: voucher by voucher, then the balance.

A refund expected later is a part of what is paid now: hatched, never summed as paid.
"""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mosu.cli.text import Language, clean

if TYPE_CHECKING:
    from mosu.client.models import Quote, Share

BAR_COLUMNS: Final = 32
VOUCHER, OWN, REFUND = "▓", "█", "░"
_ORDER: Final = MappingProxyType({"voucher": 0, "balance": 1, "refund": 2})
_LABELS: Final = MappingProxyType(
    {
        "zh": {"voucher": "券", "balance": "余额", "refund": "预计后补", "pay": "现付", "most": "最多"},
        "en": {
            "voucher": "Voucher",
            "balance": "Balance",
            "refund": "Refund later",
            "pay": "Pay now",
            "most": "at most",
        },
    }
)


def ordered(split: "Sequence[Share]") -> "list[Share]":
    """The shares in the order of the bar."""
    return sorted(split, key=lambda share: _ORDER.get(share.source, len(_ORDER)))


def label_of(share: "Share", lang: Language) -> str:
    """What to call a share."""
    return clean(share.label.in_language(lang)) or _LABELS[lang].get(share.source, clean(share.source))


def bar_of(*, voucher: Decimal, own: Decimal, refund: Decimal, columns: int = BAR_COLUMNS) -> str:
    """A bar of `columns`: voucher, own money, and at its end the part of own money that comes back.

    A part that is not zero shows, as long as there are columns for it.
    """
    total = voucher + own
    if total <= 0:
        return ""
    refund = min(refund, own)
    parts = [voucher, own - refund, refund]
    edges = [round(sum(parts[:count]) * columns / total) for count in range(4)]
    widths = [end - start for start, end in pairwise(edges)]
    for index, part in enumerate(parts):
        if part > 0 and widths[index] == 0:
            widths[widths.index(max(widths))] -= 1
            widths[index] = 1
    return "".join(sign * width for sign, width in zip((VOUCHER, OWN, REFUND), widths, strict=True))


def lines_of(quote: "Quote", lang: Language) -> list[str]:
    """A quote's bar and the figures below it."""
    words = _LABELS[lang]
    bar = bar_of(voucher=quote.voucher_now, own=quote.pay_now, refund=quote.refund_later)
    figures = [
        f"{VOUCHER} {label_of(share, lang)} {share.amount:f}"
        for share in ordered(quote.split)
        if share.source == "voucher"
    ]
    figures.append(f"{OWN} {words['pay']} {quote.pay_now:f}")
    if quote.refund_later:
        figures.append(f"{REFUND} {words['refund']} {quote.refund_later:f}")
    return [bar, " · ".join(figures), f"{words['most']} {quote.total_max:f} {clean(quote.currency)}"]
