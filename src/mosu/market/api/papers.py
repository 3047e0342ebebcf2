"""Papers: bill, receipt and settlement statement as PDF, in the language that `Accept-Language` asks for."""

from django.http import HttpRequest, HttpResponse
from ninja import Router

from mosu.market import queries
from mosu.market.api.receipts import billed
from mosu.market.bills import month_of
from mosu.market.papers import paper_of_bill, paper_of_receipt, paper_of_statement
from mosu.market.shapes import Word
from mosu.platform.auth import token_auth
from mosu.platform.doors import door
from mosu.platform.requests import actor_of, language_of_request
from mosu.platform.rows import row_of

router = Router(tags=["market"])


@router.get("/bills/{month}/pdf", auth=token_auth, operation_id="getBillPaper")
@door("receipt.read")
def get_bill_paper(request: HttpRequest, month: str, organisation_id: Word = "") -> HttpResponse:
    """The month's frozen bill as PDF; there is none while the month is open."""
    actor, first = actor_of(request), month_of(month)
    whose = billed(actor, organisation_id)
    paper = paper_of_bill(actor, whose, month=first, language=language_of_request(request))
    return pdf_answer(paper, f"bill-{first:%Y-%m}")


@router.get("/receipts/{receipt_id}/pdf", auth=token_auth, operation_id="getReceiptPaper")
@door("receipt.read")
def get_receipt_paper(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """The receipt as PDF."""
    receipt = row_of(queries.receipts_visible_to(actor_of(request)), receipt_id)
    return pdf_answer(paper_of_receipt(receipt, language=language_of_request(request)), receipt.number)


@router.get("/statements/{statement_id}/pdf", auth=token_auth, operation_id="getStatementPaper")
@door("sale.read")
def get_statement_paper(request: HttpRequest, statement_id: str) -> HttpResponse:
    """The settlement statement as PDF."""
    actor = actor_of(request)
    statement = row_of(queries.statements_visible_to(actor), statement_id)
    paper = paper_of_statement(actor, statement, language=language_of_request(request))
    return pdf_answer(paper, statement.number)


def pdf_answer(paper: bytes, name: str) -> HttpResponse:
    """A paper as a file of this name."""
    answer = HttpResponse(paper, content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="{name}.pdf"'
    answer["Vary"] = "Accept-Language"
    return answer
