"""A month's bill on paper: what the close froze, then every receipt behind it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mosu.kernel.languages import Language
from mosu.kernel.money import decimal_of, micros_of
from mosu.market.hub import hub_zone
from mosu.market.models import Bill, CreditNote, Receipt
from mosu.market.papers.frozen import LINES_MAX, more, opened
from mosu.market.papers.sheet import INK, PUBLIC, Column, Sheet
from mosu.market.papers.words import grouped, minus, say, told


def bill_paper(
    bill: Bill, *, receipts: Iterable[Receipt], notes: Iterable[CreditNote], language: Language
) -> bytes:
    """The bill as PDF: `receipts` are its month's, oldest first, `notes` those that its credits sum."""
    content = bill.content
    sheet = opened("bill", bill, of="organisation", language=language)
    _sums(sheet, content, language)
    _parts(
        sheet,
        "by_programme",
        [(told(one["title"], language), one["amount"]) for one in content["programmes"]],
        language,
        PUBLIC,
    )
    _parts(sheet, "by_supplier", [(one["name"], one["amount"]) for one in content["suppliers"]], language)
    _notes(sheet, notes, language)
    sheet.heading(say("receipts", language))
    _listed(sheet, receipts, int(content["receipts"]), language)
    return sheet.done()


def _sums(sheet: Sheet, content: Mapping[str, Any], language: Language) -> None:
    sheet.leader(say("total", language), grouped(content["total"]), size=12)
    sheet.leader(say("vouchers", language), minus(content["vouchers"]), colour=PUBLIC)
    sheet.leader(say("paid", language), grouped(content["paid"]), size=12)
    sheet.bar([(micros_of(content["vouchers"]), PUBLIC), (micros_of(content["paid"]), INK)])
    beside = {
        "by_suppliers": content["billed_by_suppliers"],
        "tax_in": content["tax"],
        "refund_later": content["refund_later"],
        "credited": content["credited"],
    }
    for word, amount in beside.items():
        if micros_of(amount):
            sheet.leader(say(word, language), grouped(amount))
    if content["credit_notes"]:
        sheet.rule()
        sheet.leader(say("credits", language), minus(content["credits"]))
        sheet.leader(say("due", language), grouped(content["due"]), size=12)


def _parts(
    sheet: Sheet, title: str, parts: Sequence[tuple[str, str]], language: Language, colour: Any = INK
) -> None:
    if not parts:
        return
    sheet.heading(say(title, language))
    for name, amount in parts:
        sheet.leader(name, grouped(amount), colour=colour)


def _notes(sheet: Sheet, notes: Iterable[CreditNote], language: Language) -> None:
    for number, note in enumerate(notes):
        if not number:
            sheet.heading(say("credit_notes", language))
        sheet.leader(
            f"{note.number} · {note.receipt.number} · {note.why}",
            minus(decimal_of(note.amount_micros, currency=note.currency)),
        )


def _listed(sheet: Sheet, receipts: Iterable[Receipt], count: int, language: Language) -> None:
    words = {
        key: say(key, language) for key in ("number", "date", "what", "supplier", "total", "vouchers", "paid")
    }
    columns = [
        Column(words["number"], 84),
        Column(words["date"], 48),
        Column(words["what"], 140),
        Column(words["supplier"], 77),
        Column(words["total"], 52, right=True),
        Column(words["vouchers"], 49, right=True),
        Column(words["paid"], 49, right=True),
    ]
    listed = sheet.table(columns, _rows(islice(receipts, LINES_MAX), language))
    more(sheet, listed, count, language)


def _rows(receipts: Iterable[Receipt], language: Language) -> Iterator[Sequence[str]]:
    zone = hub_zone()
    for receipt in receipts:
        content = receipt.content
        yield (
            receipt.number,
            f"{receipt.issued_at.astimezone(zone):%Y-%m-%d}",
            told(content["lines"][0]["text"], language) if content["lines"] else "",
            content["seller"]["name"],
            grouped(content["total"]),
            grouped(content["voucher_share"]),
            grouped(content["paid"]),
        )
