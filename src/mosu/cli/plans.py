"""Quotes as text: ranked, each with its split bar, and below them why the rest does not fit."""

from datetime import tzinfo
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mosu.cli.copying import copying_of
from mosu.cli.output import time_of
from mosu.cli.split import lines_of
from mosu.cli.text import Language
from mosu.kernel.languages import said

if TYPE_CHECKING:
    from mosu.client.models import Quotes, RefusedOffer

GROUPS_MAX: Final = 5
_WORDS: Final = MappingProxyType(
    {
        "zh": {
            "some": "{count} 个商品不符合 (--all 逐一说明原因):",
            "each": "不符合的商品:",
            "alike": "（等，同类原因）",
            "more": "... 以及其他原因",
        },
        "en": {
            "some": "Not fitting: {count} offers (--all names each):",
            "each": "Not fitting:",
            "alike": " (and alike)",
            "more": "... and other reasons",
        },
    }
)


def plans_text(answer: "Quotes", lang: Language, *, zone: tzinfo | None, each: bool = False) -> str:
    """All plans, numbered from 1; then the refused offers counted by their reasons, or with `each` one by one."""
    lines = []
    for number, quote in enumerate(answer.quotes, start=1):
        supplier = quote.offer.supplier.name if quote.offer.supplier is not None else ""
        title = " · ".join(part for part in (quote.offer.title.in_language(lang), supplier) if part)
        lines.append(f"{number}. {title} · {time_of(quote.starts_at, zone)}")
        copying = "" if quote.copying is None else copying_of(quote.copying, lang)
        lines += [f"   {line}" for line in (*lines_of(quote, lang), copying) if line]
    if answer.refused:
        lines += _each(answer, lang) if each or len(answer.refused) == 1 else _grouped(answer, lang)
    return "\n".join(lines)


def _each(answer: "Quotes", lang: Language) -> list[str]:
    told = [f"   {_title(offer, lang)}: {_why(offer, lang)}" for offer in answer.refused]
    return [_WORDS[lang]["each"], *told]


def _grouped(answer: "Quotes", lang: Language) -> list[str]:
    words = _WORDS[lang]
    # By code: a reason's message may name what is the offer's own, such as its card.
    groups: dict[tuple[str, ...], list[str]] = {}
    for offer in answer.refused:
        groups.setdefault(tuple(reason.code for reason in offer.reasons), []).append(_why(offer, lang))
    lines = [words["some"].format(count=len(answer.refused))]
    for whys in sorted(groups.values(), key=len, reverse=True)[:GROUPS_MAX]:
        alike = words["alike"] if len(set(whys)) > 1 else ""
        lines.append(f"   {len(whys):>3} x {whys[0]}{alike}")
    return [*lines, f"   {words['more']}"] if len(groups) > GROUPS_MAX else lines


def _title(offer: "RefusedOffer", lang: Language) -> str:
    return offer.title.in_language(lang) or offer.offer_id


def _why(offer: "RefusedOffer", lang: Language) -> str:
    marks = "；" if lang == "zh" else "; "
    return marks.join(said(reason.message, lang) for reason in offer.reasons) or "?"
