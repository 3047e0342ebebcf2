"""Settlement statements: what a closed month came to for its supplier, and the payouts that pay them."""

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.ledger import services as ledger
from mosu.ledger.models import JournalEntry, Payout, PayoutState
from mosu.ledger.queries import payouts_visible_to
from mosu.market import queries, services
from mosu.market.bills import month_of
from mosu.market.models import Statement
from mosu.market.shapes import Word
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import Bilingual, In, Out

router = Router(tags=["market"])


class StatementProgramme(Out):
    id: str
    title: Bilingual
    amount: str


class StatementOut(Out):
    """A supplier's month, frozen at its close: net = gross - fee - credits, gross = voucher_share + buyer_share.

    `to_invoice` the supplier bills its buyers itself; it is no part of the others. `sha256` is that of `content`.
    """

    id: str
    number: str
    supplier_id: str
    supplier: str
    month: str
    currency: str
    orders: int
    gross: str
    voucher_share: str
    buyer_share: str
    fee: str
    tax: str
    credits: str
    net: str
    to_invoice: str
    programmes: list[StatementProgramme]
    credit_notes: list[str]
    sha256: str
    issued_at: datetime

    @classmethod
    def of(cls, row: Statement) -> "StatementOut":
        def money(micros: int) -> str:
            return decimal_of(micros, currency=row.currency)

        return cls(
            id=row.public_id,
            number=row.number,
            supplier_id=typeid(Organisation.prefix, row.supplier_id),
            supplier=row.content["supplier"]["name"],
            month=f"{row.month:%Y-%m}",
            currency=row.currency,
            orders=row.orders,
            gross=money(row.gross_micros),
            voucher_share=money(row.vouchers_micros),
            buyer_share=money(row.buyers_micros),
            fee=money(row.fee_micros),
            tax=money(row.tax_micros),
            credits=money(row.credits_micros),
            net=money(row.net_micros),
            to_invoice=money(row.to_invoice_micros),
            programmes=row.content["programmes"],
            credit_notes=row.content["credit_notes"],
            sha256=row.sha256,
            issued_at=row.issued_at,
        )


class PayoutIn(In):
    """What the bank's statement says of the transfer."""

    bank_reference: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]


class PayoutReasonIn(In):
    why: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class PayoutOut(Out):
    """Money that the hub's bank pays for a statement. Booked, with `entry_id`, once a second person confirmed it."""

    id: str
    organisation_id: str
    statement_id: str
    amount: str
    currency: str
    bank_reference: str
    state: PayoutState
    proposed_at: datetime
    decided_at: datetime | None
    entry_id: str | None

    @classmethod
    def of(cls, payout: Payout) -> "PayoutOut":
        return cls(
            id=payout.public_id,
            organisation_id=typeid(Organisation.prefix, payout.organisation_id),
            statement_id=typeid(Statement.prefix, payout.subject_id),
            amount=decimal_of(payout.amount_micros, currency=payout.currency),
            currency=payout.currency,
            bank_reference=payout.bank_reference,
            state=PayoutState(payout.state),
            proposed_at=payout.proposed_at,
            decided_at=payout.decided_at,
            entry_id=typeid(JournalEntry.prefix, payout.entry_id) if payout.entry_id else None,
        )


@router.get("/statements", response=Listed[StatementOut], auth=token_auth, operation_id="listStatements")
@door("sale.read")
def list_statements(
    request: HttpRequest, paging: Annotated[Paging, Query()], month: Word = ""
) -> dict[str, object]:
    """Statements of the actor's organisations, or all for the hub's people; newest month first."""
    rows = queries.statements_visible_to(actor_of(request))
    if month:
        rows = rows.filter(month=month_of(month))
    page, after = page_of(rows, paging.cursor, paging.limit)
    return {"items": [StatementOut.of(one) for one in page], "next": after}


@router.get("/statements/{statement_id}", response=StatementOut, auth=token_auth, operation_id="getStatement")
@door("sale.read")
def get_statement(request: HttpRequest, statement_id: str) -> StatementOut:
    return StatementOut.of(row_of(queries.statements_visible_to(actor_of(request)), statement_id))


@router.post(
    "/statements/{statement_id}/payouts",
    response={201: PayoutOut},
    auth=token_auth,
    operation_id="proposePayout",
)
@door("payout.propose")
def propose_payout(request: HttpRequest, statement_id: str, body: PayoutIn) -> Status[PayoutOut]:
    """Enter the bank's transfer that pays the statement's net; no money is booked until a second person confirms it."""
    payout = services.pay_statement(
        actor=actor_of(request),
        statement_id=Statement.key_of(statement_id),
        bank_reference=body.bank_reference,
        now=timezone.now(),
    )
    return Status(201, PayoutOut.of(payout))


@router.get("/payouts", response=Listed[PayoutOut], auth=token_auth, operation_id="listPayouts")
@door("sale.read")
def list_payouts(request: HttpRequest, paging: Annotated[Paging, Query()]) -> dict[str, object]:
    """Payouts to the actor's organisations, or all for the hub's people; newest first."""
    page, after = page_of(payouts_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [PayoutOut.of(payout) for payout in page], "next": after}


@router.get("/payouts/{payout_id}", response=PayoutOut, auth=token_auth, operation_id="getPayout")
@door("sale.read")
def get_payout(request: HttpRequest, payout_id: str) -> PayoutOut:
    return PayoutOut.of(row_of(payouts_visible_to(actor_of(request)), payout_id))


@router.post(
    "/payouts/{payout_id}/confirm", response=PayoutOut, auth=token_auth, operation_id="confirmPayout"
)
@door("payout.confirm")
def confirm_payout(request: HttpRequest, payout_id: str) -> PayoutOut:
    """The second person's word: the hub owes the supplier that much less. Repeating it changes nothing."""
    payout = ledger.confirm_payout(
        actor=actor_of(request), payout_id=Payout.key_of(payout_id), now=timezone.now()
    )
    return PayoutOut.of(payout)


@router.post("/payouts/{payout_id}/reject", response=PayoutOut, auth=token_auth, operation_id="rejectPayout")
@door("payout.confirm")
def reject_payout(request: HttpRequest, payout_id: str, body: PayoutReasonIn) -> PayoutOut:
    """Refused for good by the second person: no money moves, and the statement can be paid by another transfer."""
    payout = ledger.reject_payout(
        actor=actor_of(request), payout_id=Payout.key_of(payout_id), why=body.why, now=timezone.now()
    )
    return PayoutOut.of(payout)
