"""A supplier's settlement statement on paper: how its net comes about, then every order behind it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from mosu.kernel.languages import Language
from mosu.kernel.money import micros_of
from mosu.market.hub import hub_zone
from mosu.market.models import Receipt, SoldBy, Statement
from mosu.market.papers.frozen import LINES_MAX, more, opened
from mosu.market.papers.sheet import PUBLIC, Column
from mosu.market.papers.words import grouped, minus, say, told


def statement_paper(statement: Statement, *, receipts: Iterable[Receipt], language: Language) -> bytes:
    """The statement as PDF: `receipts` are those of its month's sales, oldest first. It does not name the buyers."""
    content = statement.content
    sheet = opened("statement", statement, of="supplier", language=language)
    sheet.leader(say("vouchers", language), grouped(content["vouchers"]), colour=PUBLIC)
    sheet.leader(say("buyers", language), grouped(content["buyers"]))
    sheet.leader(say("gross", language), grouped(content["gross"]))
    sheet.leader(say("fee", language), minus(content["fee"]))
    if micros_of(content["credits"]):
        sheet.leader(say("supplier_credits", language), minus(content["credits"]))
        sheet.leader(say("credit_notes", language), ", ".join(content["credit_notes"]))
    sheet.leader(say("net", language), grouped(content["net"]), size=12)
    sheet.rule()
    sheet.leader(say("tax_in", language), grouped(content["tax"]))
    if micros_of(content["to_invoice"]):
        sheet.leader(say("to_invoice", language), grouped(content["to_invoice"]))
    if content["programmes"]:
        sheet.heading(say("by_programme", language))
        for one in content["programmes"]:
            sheet.leader(told(one["title"], language), grouped(one["amount"]), colour=PUBLIC)
    sheet.heading(say("orders", language))
    columns = [
        Column(say("order", language), 84),
        Column(say("date", language), 52),
        Column(say("what", language), 163),
        Column(say("vouchers", language), 65, right=True),
        Column(say("buyers", language), 65, right=True),
        Column(say("to_invoice", language), 70, right=True),
    ]
    listed = sheet.table(columns, _rows(islice(receipts, LINES_MAX), language))
    more(sheet, listed, int(content["orders"]), language)
    return sheet.done()


def _rows(receipts: Iterable[Receipt], language: Language) -> Iterator[Sequence[str]]:
    zone = hub_zone()
    for receipt in receipts:
        content = receipt.content
        by_itself = content["billed_by"] == SoldBy.SUPPLIER
        yield (
            content["order"]["number"],
            f"{receipt.issued_at.astimezone(zone):%Y-%m-%d}",
            told(content["lines"][0]["text"], language) if content["lines"] else "",
            grouped(content["voucher_share"]),
            "" if by_itself else grouped(content["paid"]),
            grouped(content["paid"]) if by_itself else "",
        )
