"""Papers to save and to file: bill, receipt and settlement statement as PDF, in the page's language."""

from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language
from django.views.decorators.http import require_GET

from mosu.kernel.languages import Language, language_of
from mosu.market.bills import month_of
from mosu.market.papers import paper_of_bill, paper_of_receipt, paper_of_statement
from mosu.market.queries import receipts_visible_to, statements_visible_to
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.web.pages import page
from mosu.web.views.bills import organisation_asked


@require_GET
@page("receipt.read")
def bill(request: HttpRequest, month: str) -> HttpResponse:
    """The month's frozen bill."""
    organisation, first = organisation_asked(request), month_of(month)
    paper = paper_of_bill(actor_of(request), organisation.id, month=first, language=_language())
    return _file(paper, f"bill-{first:%Y-%m}")


@require_GET
@page("receipt.read")
def receipt(request: HttpRequest, receipt_id: str) -> HttpResponse:
    """One receipt."""
    row = row_of(receipts_visible_to(actor_of(request)), receipt_id)
    return _file(paper_of_receipt(row, language=_language()), row.number)


@require_GET
@page("sale.read")
def statement(request: HttpRequest, statement_id: str) -> HttpResponse:
    """One settlement statement."""
    actor = actor_of(request)
    row = row_of(statements_visible_to(actor), statement_id)
    return _file(paper_of_statement(actor, row, language=_language()), row.number)


def _language() -> Language:
    return language_of(get_language() or "")


def _file(paper: bytes, name: str) -> HttpResponse:
    answer = HttpResponse(paper, content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="{name}.pdf"'
    return answer
