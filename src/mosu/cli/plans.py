"""Quotes as text: ranked, each with its split bar, and below them why the rest does not fit."""

from typing import TYPE_CHECKING

from mosu.cli.output import time_of
from mosu.cli.split import lines_of
from mosu.cli.text import Language

if TYPE_CHECKING:
    from mosu.client.models import Quotes, RefusedOffer


def plans_text(answer: "Quotes", lang: Language) -> str:
    """All plans, numbered from 1, and the refused offers with their reasons."""
    lines = []
    for number, quote in enumerate(answer.quotes, start=1):
        supplier = quote.offer.supplier.name if quote.offer.supplier is not None else ""
        title = " · ".join(part for part in (quote.offer.title.in_language(lang), supplier) if part)
        lines.append(f"{number}. {title} · {time_of(quote.starts_at)}")
        lines += [f"   {line}" for line in lines_of(quote, lang)]
    if answer.refused:
        lines.append("不符合的商品:" if lang == "zh" else "Not fitting:")
        lines += [f"   {_title(offer, lang)}: {_why(offer)}" for offer in answer.refused]
    return "\n".join(lines)


def _title(offer: "RefusedOffer", lang: Language) -> str:
    return offer.title.in_language(lang) or offer.offer_id


def _why(offer: "RefusedOffer") -> str:
    return "; ".join(reason.message for reason in offer.reasons) or "?"
