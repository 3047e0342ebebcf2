"""Bill, receipt and statement as PDF: the same figures to the fen, in both languages, the same bytes each time."""

import re
import tracemalloc
from decimal import Decimal
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from pypdf import PdfReader
from tests.conftest import NOW
from tests.ledger.test_api import Caller
from tests.market.conftest import YUAN, World, make_organisation
from tests.market.test_bills import MARCH, bought
from tests.market.test_closing import APRIL, checker, close, issue, operator, propose
from tests.market.vouchers import give_voucher

from mosu.kernel.languages import Language
from mosu.market.models import Bill, Receipt, Statement
from mosu.market.papers import BillNotFrozen, paper_of_bill, paper_of_receipt, paper_of_statement
from mosu.market.papers.bill import LINES_MAX, bill_paper
from mosu.market.papers.sheet import clean
from mosu.platform.actors import Actor

__all__ = ["checker", "operator"]
"""Fixtures."""

BOTH: tuple[Language, ...] = ("zh", "en")


def text_of(paper: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(BytesIO(paper)).pages)


def after(text: str, name: str) -> Decimal:
    """The amount that stands at a name."""
    found = re.search(rf"^{re.escape(name)}\n(?:CNY )?(−?[\d,]+\.\d\d)$", text, re.M)
    assert found, (name, text)
    return Decimal(found[1].replace(",", "").replace("−", "-"))


def embedded(paper: bytes) -> bool:
    """Whether every font of every page stands in the file."""
    found = []
    for page in PdfReader(BytesIO(paper)).pages:
        fonts: Any = page["/Resources"]["/Font"]  # type: ignore[index]
        found += [font.get_object() for font in fonts.values()]
    return bool(found) and all("/FontFile2" in one["/FontDescriptor"] for one in found)


@pytest.fixture
def month(world: World, operator: Actor) -> World:
    give_voucher(world)
    for number in range(3):
        bought(world, key=f"k{number}")
    close(operator)
    return world


@pytest.mark.parametrize(
    ("language", "total", "vouchers", "paid"),
    [("zh", "合计", "券抵扣", "实付"), ("en", "Total", "Vouchers", "Paid")],
)
def test_a_bill_on_paper_is_the_bill(
    month: World, language: Language, total: str, vouchers: str, paid: str
) -> None:
    bill = Bill.objects.get()
    paper = paper_of_bill(month.actor, month.buyer.id, month=MARCH, language=language)
    assert paper == paper_of_bill(month.actor, month.buyer.id, month=MARCH, language=language)
    text = text_of(paper)
    assert after(text, total) * YUAN == bill.total_micros > 0
    assert after(text, vouchers) * YUAN == -bill.vouchers_micros < 0
    assert after(text, paid) * YUAN == bill.paid_micros > 0
    assert bill.number in text and bill.sha256 in text and month.buyer.name in text
    assert all(one.number in text for one in Receipt.objects.all())
    for one in bill.content["programmes"]:
        assert after(text, one["title"][language]) == Decimal(one["amount"])
    assert embedded(paper)


def test_a_credit_note_stands_on_the_bill_of_its_own_month(
    month: World, operator: Actor, checker: Actor
) -> None:
    first = paper_of_bill(month.actor, month.buyer.id, month=MARCH, language="zh")
    receipt = Receipt.objects.earliest("issued_at")
    note = issue(checker, propose(operator, receipt.id, YUAN))
    assert paper_of_bill(month.actor, month.buyer.id, month=MARCH, language="zh") == first
    april = MARCH.replace(month=4)
    close(operator, april, now=APRIL.replace(month=5))
    text = text_of(paper_of_bill(month.actor, month.buyer.id, month=april, language="zh"))
    assert note.number and note.number in text and note.why in text
    assert after(text, "本月红字更正单退回") == -1
    assert after(text, "更正后实付") == -1


def test_there_is_no_paper_of_an_open_month_nor_of_anothers(month: World) -> None:
    stranger = make_organisation("Stranger")
    for whose, which in ((month.buyer.id, MARCH.replace(month=4)), (stranger.id, MARCH)):
        with pytest.raises(BillNotFrozen):
            paper_of_bill(month.actor, whose, month=which, language="zh")


@pytest.mark.parametrize("language", BOTH)
def test_a_statement_on_paper_is_the_statement_and_names_no_buyer(month: World, language: Language) -> None:
    statement = Statement.objects.get()
    paper = paper_of_statement(month.seller, statement, language=language)
    assert paper == paper_of_statement(month.seller, statement, language=language)
    text = text_of(paper)
    net, fee = ("应付净额", "平台服务费") if language == "zh" else ("To be paid", "The hub's fee")
    assert after(text, net) * YUAN == statement.net_micros > 0
    assert after(text, fee) * YUAN == -statement.fee_micros
    assert month.buyer.name not in text
    assert all(one.order.number in text for one in Receipt.objects.select_related("order"))


@pytest.mark.parametrize("language", BOTH)
def test_a_receipt_on_paper_is_the_receipt(month: World, language: Language) -> None:
    receipt = Receipt.objects.earliest("issued_at")
    text = text_of(paper_of_receipt(receipt, language=language))
    total, paid = ("合计", "实付") if language == "zh" else ("Total", "Paid")
    assert after(text, total) == Decimal(receipt.content["total"])
    assert after(text, paid) == Decimal(receipt.content["paid"])
    for line in receipt.content["lines"]:
        assert line["text"][language] in text and line["amount"] in text
    assert receipt.sha256 in text and f"/verify/{receipt.number}/" in text.replace("\n", "")


def test_what_the_font_lacks_is_marked_and_nothing_breaks_the_line() -> None:
    assert clean("珺喆镕 國際\n算力\t😀") == "珺喆镕 國際 算力 〓"


def _made(count: int) -> Any:
    for number in range(count):
        yield SimpleNamespace(
            number=f"R-2026-{number:06d}",
            issued_at=NOW,
            content={
                "lines": [{"text": {"zh": "昇腾 910B · 卡时", "en": "Ascend 910B · card-hours"}}],
                "seller": {"name": "上海智算中心有限公司"},
                "total": "1.00",
                "voucher_share": "0.40",
                "paid": "0.60",
            },
        )


def test_pages_are_numbered_and_memory_does_not_grow_with_the_lines(month: World) -> None:
    bill = Bill.objects.get()
    few: Any = bill_paper(bill, receipts=_made(200), notes=[], language="zh")
    tracemalloc.start()
    paper = bill_paper(bill, receipts=_made(1200), notes=[], language="zh")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    pages = PdfReader(BytesIO(paper)).pages
    assert len(pages) > 15
    for number in (1, len(pages)):
        text = pages[number - 1].extract_text().replace("\n", "")
        assert f"第 {number} 页，共{len(pages)} 页" in text
    assert "R-2026-001199" in pages[-1].extract_text()
    assert len(paper) - len(few) < 100 * 1000
    assert peak < 8_000_000


def test_beyond_so_many_lines_the_paper_says_how_many_more(
    month: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosu.market.papers.bill.LINES_MAX", 2)
    text = text_of(paper_of_bill(month.actor, month.buyer.id, month=MARCH, language="en"))
    assert LINES_MAX == 10_000 and "1 more receipts are in the sums and not listed here." in text


@pytest.mark.urls("tests.market.urls")
def test_papers_by_the_api(month: World) -> None:
    buyer, seller = Caller("buyer", organisation=month.buyer), Caller("seller", organisation=month.supplier)
    stranger = Caller("stranger", organisation=make_organisation("Stranger"))
    receipt, statement = Receipt.objects.earliest("issued_at"), Statement.objects.get()
    papers = {
        "/bills/2026-03/pdf": (buyer, 409),
        f"/receipts/{receipt.public_id}/pdf": (buyer, 404),
        f"/statements/{statement.public_id}/pdf": (seller, 404),
    }
    for path, (whose, refused) in papers.items():
        answer = whose.get(path)
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf"), answer.content
        assert answer.content.startswith(b"%PDF-")
        assert stranger.get(path).status_code == refused
    assert buyer.get("/bills/2026-04/pdf").json()["type"] == "urn:mosu:bill_not_frozen"
