"""Papers for who may read what stands on them."""

from datetime import date
from uuid import UUID

from mosu.kernel.languages import Language
from mosu.kernel.refusals import DomainError
from mosu.market.bills import frozen_bill_of, receipts_of_month, span_of
from mosu.market.hub import hub_zone
from mosu.market.models import Receipt, Statement
from mosu.market.papers.bill import bill_paper
from mosu.market.papers.receipt import receipt_paper
from mosu.market.papers.statement import statement_paper
from mosu.market.queries import credit_notes_numbered, receipts_sold_in
from mosu.market.shapes import verify_url_of
from mosu.platform.actors import Actor

_CHUNK = 500


class BillNotFrozen(DomainError):
    """The month is not closed, or nothing was bought in it: there is no bill that could stand on paper."""

    code = "bill_not_frozen"


def paper_of_bill(actor: Actor, organisation_id: UUID, *, month: date, language: Language) -> bytes:
    """The frozen bill of a month as PDF.

    Raises:
        BillNotFrozen: there is none that the actor sees.
    """
    bill = frozen_bill_of(actor, organisation_id, month=month)
    if bill is None:
        raise BillNotFrozen(
            f"There is no bill of {month:%Y-%m} yet.", hint="It is made when the hub closes the month."
        )
    rows = receipts_of_month(actor, organisation_id, month=month, zone=hub_zone()).select_related(None)
    return bill_paper(
        bill,
        receipts=rows.order_by("issued_at", "id").iterator(chunk_size=_CHUNK),
        notes=credit_notes_numbered(actor, bill.content["credit_notes"]),
        language=language,
    )


def paper_of_receipt(receipt: Receipt, *, language: Language) -> bytes:
    """A receipt, which the actor was shown, as PDF."""
    return receipt_paper(receipt, verify_url=verify_url_of(receipt), language=language)


def paper_of_statement(actor: Actor, statement: Statement, *, language: Language) -> bytes:
    """A settlement statement, which the actor was shown, as PDF."""
    span = span_of(statement.month, zone=hub_zone())
    rows = receipts_sold_in(actor, statement.supplier_id, span).order_by("issued_at", "id")
    return statement_paper(statement, receipts=rows.iterator(chunk_size=_CHUNK), language=language)
