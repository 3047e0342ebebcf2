"""The ledger's doors: balances, statements, deposits, day heads."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of, micros_of
from mosu.kernel.refusals import Invalid
from mosu.ledger import queries, services
from mosu.ledger.models import Account, AccountKind, DayHead, Deposit, JournalEntry, Posting
from mosu.platform.auth import public_auth, token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router = Router(tags=["ledger"], auth=token_auth)
routers = [("", router)]


class AccountOut(Out):
    id: str
    kind: str
    currency: str
    balance: str
    held: str
    available: str

    @classmethod
    def of(cls, account: Account) -> "AccountOut":
        figures, currency = queries.balance_in(account), account.currency
        return cls(
            id=account.public_id,
            kind=account.kind,
            currency=currency,
            balance=decimal_of(figures.balance_micros, currency=currency),
            held=decimal_of(figures.held_micros, currency=currency),
            available=decimal_of(figures.available_micros, currency=currency),
        )


class BalanceOut(Out):
    """What the organisation has to spend, and all its accounts."""

    currency: str
    balance: str
    held: str
    available: str
    accounts: list[AccountOut]


class StatementLine(Out):
    """A posting: what an entry did to the account."""

    sequence: int
    entry_id: str
    kind: str
    memo: str
    posted_at: datetime
    amount: str
    balance_after: str
    hash: str

    @classmethod
    def of(cls, posting: Posting, currency: str) -> "StatementLine":
        return cls(
            sequence=posting.sequence,
            entry_id=typeid(JournalEntry.prefix, posting.entry_id),
            kind=posting.entry.kind,
            memo=posting.entry.memo,
            posted_at=posting.entry.posted_at,
            amount=decimal_of(posting.amount_micros, currency=currency),
            balance_after=decimal_of(posting.balance_after_micros, currency=currency),
            hash=posting.hash,
        )


class Statement(Listed[StatementLine]):
    account: str
    currency: str


class DepositIn(In):
    organisation_id: str = Field(max_length=80)
    amount: str = Field(max_length=30)
    bank_reference: str = Field(max_length=100)


class ReasonIn(In):
    why: str = Field(max_length=1000)


class DepositOut(Out):
    id: str
    organisation_id: str
    amount: str
    currency: str
    bank_reference: str
    state: str
    proposed_at: datetime
    decided_at: datetime | None
    entry_id: str | None
    refund_entry_id: str | None
    refunded_at: datetime | None

    @classmethod
    def of(cls, deposit: Deposit) -> "DepositOut":
        return cls(
            id=deposit.public_id,
            organisation_id=typeid(Organisation.prefix, deposit.organisation_id),
            amount=decimal_of(deposit.amount_micros, currency=deposit.currency),
            currency=deposit.currency,
            bank_reference=deposit.bank_reference,
            state=deposit.state,
            proposed_at=deposit.proposed_at,
            decided_at=deposit.decided_at,
            entry_id=typeid(JournalEntry.prefix, deposit.entry_id) if deposit.entry_id else None,
            refund_entry_id=typeid(JournalEntry.prefix, deposit.refund_entry_id)
            if deposit.refund_entry_id
            else None,
            refunded_at=deposit.refunded_at,
        )


class DayHeadOut(Out):
    date: date
    ends_at: datetime
    sha256: str
    accounts: int

    @classmethod
    def of(cls, head: DayHead) -> "DayHeadOut":
        return cls(date=head.date, ends_at=head.ends_at, sha256=head.sha256, accounts=head.accounts)


def _organisation_of(request: HttpRequest, public_id: str | None) -> UUID:
    """The organisation asked for, else the one that the actor speaks for."""
    actor = actor_of(request)
    organisation_id = Organisation.key_of(public_id) if public_id else actor.organisation_id
    if organisation_id is None:
        raise Invalid(
            "Whose balance?", hint="Add ?organisation=org_... to the address.", field="organisation"
        )
    require(actor, "ledger.read", organisation_id)
    return organisation_id


@router.get("/balance", response=BalanceOut, operation_id="readBalance")
@door("ledger.read")
def read_balance(request: HttpRequest, organisation: str | None = None) -> BalanceOut:
    owner_id = _organisation_of(request, organisation)
    accounts = list(
        queries.accounts_visible_to(actor_of(request)).filter(
            owner_id=owner_id, kind__in=queries.ORGANISATION_KINDS
        )
    )
    spent_from = next(
        (
            account
            for account in accounts
            if account.kind == AccountKind.BALANCE and account.currency == settings.HUB_CURRENCY
        ),
        Account(kind=AccountKind.BALANCE, owner_id=owner_id, currency=settings.HUB_CURRENCY, floor_micros=0),
    )
    main = AccountOut.of(spent_from)
    return BalanceOut(
        currency=main.currency,
        balance=main.balance,
        held=main.held,
        available=main.available,
        accounts=[AccountOut.of(account) for account in accounts],
    )


@router.get("/statement", response=Statement, operation_id="readStatement")
@door("ledger.read")
def read_statement(request: HttpRequest, account: str, paging: Query[Paging]) -> dict[str, Any]:
    account_id = Account.key_of(account)
    rows, following = page_of(queries.statement(actor_of(request), account_id), paging.cursor, paging.limit)
    currency = Account.objects.values_list("currency", flat=True).get(id=account_id)
    return {
        "account": account,
        "currency": currency,
        "items": [StatementLine.of(posting, currency) for posting in rows],
        "next": following,
    }


@router.get("/deposits", response=Listed[DepositOut], operation_id="listDeposits")
@door("ledger.read")
def list_deposits(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, following = page_of(queries.deposits_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return {"items": [DepositOut.of(deposit) for deposit in rows], "next": following}


@router.post("/deposits", response={201: DepositOut}, operation_id="proposeDeposit")
@door("deposit.propose")
def propose_deposit(request: HttpRequest, body: DepositIn) -> Status[DepositOut]:
    deposit = services.propose_deposit(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        amount_micros=micros_of(body.amount),
        bank_reference=body.bank_reference,
        now=timezone.now(),
    )
    return Status(201, DepositOut.of(deposit))


@router.post("/deposits/{deposit_id}/confirm", response=DepositOut, operation_id="confirmDeposit")
@door("deposit.confirm")
def confirm_deposit(request: HttpRequest, deposit_id: str) -> DepositOut:
    deposit = services.confirm_deposit(
        actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), now=timezone.now()
    )
    return DepositOut.of(deposit)


@router.post("/deposits/{deposit_id}/reject", response=DepositOut, operation_id="rejectDeposit")
@door("deposit.confirm")
def reject_deposit(request: HttpRequest, deposit_id: str, body: ReasonIn) -> DepositOut:
    deposit = services.reject_deposit(
        actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), why=body.why, now=timezone.now()
    )
    return DepositOut.of(deposit)


@router.post("/deposits/{deposit_id}/refund", response=DepositOut, operation_id="proposeRefund")
@door("deposit.propose")
def propose_refund(request: HttpRequest, deposit_id: str, body: ReasonIn) -> DepositOut:
    """Ask to give a deposit back; a second person confirms it."""
    deposit = services.propose_refund(
        actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), why=body.why, now=timezone.now()
    )
    return DepositOut.of(deposit)


@router.post("/deposits/{deposit_id}/refund/confirm", response=DepositOut, operation_id="confirmRefund")
@door("deposit.confirm")
def confirm_refund(request: HttpRequest, deposit_id: str) -> DepositOut:
    deposit = services.confirm_refund(
        actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), now=timezone.now()
    )
    return DepositOut.of(deposit)


@router.post("/deposits/{deposit_id}/refund/decline", response=DepositOut, operation_id="declineRefund")
@door("deposit.confirm")
def decline_refund(request: HttpRequest, deposit_id: str, body: ReasonIn) -> DepositOut:
    deposit = services.decline_refund(
        actor=actor_of(request), deposit_id=Deposit.key_of(deposit_id), why=body.why, now=timezone.now()
    )
    return DepositOut.of(deposit)


@router.get("/ledger/heads", response=Listed[DayHeadOut], operation_id="listDayHeads", auth=public_auth)
@door("hub.look")
def list_day_heads(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    rows, following = page_of(queries.day_heads(), paging.cursor, paging.limit)
    return {"items": [DayHeadOut.of(head) for head in rows], "next": following}
