"""What papers of a closed month begin and end with, alike for who buys and who sells."""

from typing import Final, Literal

from mosu.kernel.languages import Language
from mosu.market.hub import hub_name, hub_zone
from mosu.market.models import Bill, Statement
from mosu.market.papers.sheet import Sheet
from mosu.market.papers.words import say

LINES_MAX: Final = 10_000
"""So many receipts are listed; beyond, the paper says how many more are in its sums. FOCUS has them all."""


def opened(
    kind: Literal["bill", "statement"],
    frozen: Bill | Statement,
    *,
    of: Literal["organisation", "supplier"],
    language: Language,
) -> Sheet:
    """A sheet that says what paper it is, of which month and of whom."""
    content = frozen.content
    name, word = content[of]["name"], say(kind, language)
    sheet = Sheet(
        title=f"{word} {frozen.number} {name}",
        foot=f"{frozen.number} · sha256 {frozen.sha256}",
        author=hub_name(),
        language=language,
    )
    sheet.text(hub_name())
    sheet.text(f"{word} {content['month']}", size=20)
    sheet.space(6)
    facts = {
        "number": frozen.number,
        of: name,
        "issued": f"{frozen.issued_at.astimezone(hub_zone()):%Y-%m-%d %H:%M %z}",
        "currency": frozen.currency,
    }
    for told, value in facts.items():
        sheet.leader(say(told, language), value)
    sheet.rule()
    return sheet


def more(sheet: Sheet, listed: int, of: int, language: Language) -> None:
    """That not all are listed, where it is so."""
    if of > listed:
        sheet.space(4)
        sheet.text(say("more", language).format(f"{of - listed:,}"))
