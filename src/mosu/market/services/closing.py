"""The month's close: bills and settlement statements are frozen, once, if they equal what was posted."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import DomainError
from mosu.kernel.time import Period
from mosu.ledger import services as ledger
from mosu.ledger.queries import day_heads
from mosu.market.bills import span_of
from mosu.market.closing import bills_of, statements_of, usage_behind
from mosu.market.hub import hub_currency, hub_zone
from mosu.market.models import MonthClose
from mosu.platform.actors import Actor
from mosu.platform.models import Organisation
from mosu.platform.policy import require
from mosu.platform.services import emit, record_audit

MONTH_CLOSED: Final = "market.month_closed"

_BILL: Final = (
    "copy market_bill (id, number, organisation_id, month, currency, receipts, total_micros, vouchers_micros,"
    " paid_micros, billed_by_suppliers_micros, refund_later_micros, credited_micros, tax_micros, credits_micros,"
    " content, sha256, issued_at) from stdin"
)
_STATEMENT: Final = (
    "copy market_statement (id, number, supplier_id, month, currency, orders, gross_micros, vouchers_micros,"
    " buyers_micros, fee_micros, tax_micros, credits_micros, net_micros, to_invoice_micros, content, sha256,"
    " issued_at) from stdin"
)


class MonthNotOver(DomainError):
    """The month still runs, by the hub's zone."""

    code = "month_not_over"


class MonthNotSealed(DomainError):
    """No day since the month's end is over in the hub's books: a hub of today closes nothing yet."""

    code = "month_not_sealed"


class UsageDisagrees(DomainError):
    """Charges of the month do not come out of the usage that is kept; nothing was closed."""

    code = "usage_disagrees"


def close_month(*, actor: Actor, month: date, now: datetime) -> MonthClose:
    """Freeze a bill for each organisation and a statement for each supplier of the month; all or none.

    Repeating it returns the first close; broken off, it starts anew and nothing but seals is left behind. The days of
    the month are sealed first, so nothing can be posted into them, each in a transaction of its own: nobody waits for
    the close to post. All usage behind the charges is summed again, and the database takes the close only if each
    bill and statement equals the postings. Sums are made in SQL; memory does not grow with the month.

    Raises:
        Forbidden: not an operator.
        MonthNotOver: `now` lies in the month, or before it.
        MonthNotSealed: the hub's books have no whole day since the month's end.
        UsageDisagrees: a charge is not what its usage comes to.
    """
    require(actor, "month.close")
    span = span_of(month, zone=hub_zone())
    if now < span.end:
        raise MonthNotOver(
            f"{month:%Y-%m} is not over.", hint=f"Close it after {span.end.astimezone(hub_zone()):%Y-%m-%d}."
        )
    ledger.seal_days(now=now)
    if not day_heads().filter(ends_at__gte=span.end).exists():
        raise MonthNotSealed(
            "No day of this hub's books has ended since then.",
            hint="Close it tomorrow, once today is sealed.",
        )
    return _close(actor=actor, month=month, span=span, now=now)


@transaction.atomic(durable=True)
def _close(*, actor: Actor, month: date, span: Period, now: datetime) -> MonthClose:
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('market.close_month'))")
    done = MonthClose.objects.filter(month=month).first()
    if done is not None:
        return done
    records, wrong = usage_behind(span)
    if wrong:
        raise UsageDisagrees(
            f"{wrong} charges of {month:%Y-%m} are not what their usage comes to.",
            hint="The nightly check names them: see the desk's books.",
            found=wrong,
        )
    digest = hashlib.sha256()
    bills = statements = receipts = total = 0
    for rows in bills_of(span):
        frozen = [_bill(row, number=bills + n, month=month, now=now) for n, row in enumerate(rows, 1)]
        _copy(_BILL, frozen, digest)
        bills += len(rows)
        receipts += sum(row[2] for row in rows)
        total += sum(int(row[3]) for row in rows)
    for rows in statements_of(span):
        frozen = [
            _statement(row, number=statements + n, month=month, now=now) for n, row in enumerate(rows, 1)
        ]
        _copy(_STATEMENT, frozen, digest)
        statements += len(rows)
    close = MonthClose.objects.create(
        month=month,
        starts_at=span.start,
        ends_at=span.end,
        bills=bills,
        statements=statements,
        receipts=receipts,
        usage_records=records,
        total_micros=total,
        currency=hub_currency(),
        sha256=digest.hexdigest(),
        closed_at=now,
    )
    _tell(close, actor=actor, now=now)
    return close


def _bill(row: Sequence[Any], *, number: int, month: date, now: datetime) -> tuple[Any, ...]:
    """What is frozen for one organisation, in the columns of `_BILL`."""
    key, name, receipts, *sums, programmes, suppliers, notes = row
    total, vouchers, paid, by_suppliers, refund_later, credited, tax, given_back = map(int, sums)
    numbered = f"B-{month:%Y%m}-{number:06d}"
    content = {
        **_head(numbered, "organisation", key, name, month),
        "receipts": receipts,
        "total": _text(total),
        "vouchers": _text(vouchers),
        "paid": _text(paid),
        "billed_by_suppliers": _text(by_suppliers),
        "refund_later": _text(refund_later),
        "credited": _text(credited),
        "tax": _text(tax),
        "credits": _text(given_back),
        "due": _text(paid - given_back),
        "programmes": _programmes(programmes),
        "suppliers": [
            {"id": typeid(Organisation.prefix, UUID(supplier)), "name": named, "amount": _text(int(amount))}
            for supplier, named, amount in _read(suppliers)
        ],
        "credit_notes": _read(notes),
    }
    return (
        uuid7(), numbered, key, month, hub_currency(), receipts, total, vouchers, paid, by_suppliers, refund_later,
        credited, tax, given_back, json.dumps(content), sha256_of(content), now,
    )  # fmt: skip


def _statement(row: Sequence[Any], *, number: int, month: date, now: datetime) -> tuple[Any, ...]:
    """What is frozen for one supplier, in the columns of `_STATEMENT`."""
    key, name, orders, *sums, programmes, notes = row
    vouchers, buyers, fee, tax, given_back, to_invoice = map(int, sums)
    gross, numbered = vouchers + buyers, f"S-{month:%Y%m}-{number:06d}"
    net = gross - fee - given_back
    content = {
        **_head(numbered, "supplier", key, name, month),
        "orders": orders,
        "gross": _text(gross),
        "vouchers": _text(vouchers),
        "buyers": _text(buyers),
        "fee": _text(fee),
        "tax": _text(tax),
        "credits": _text(given_back),
        "net": _text(net),
        "to_invoice": _text(to_invoice),
        "programmes": _programmes(programmes),
        "credit_notes": _read(notes),
    }
    return (
        uuid7(), numbered, key, month, hub_currency(), orders, gross, vouchers, buyers, fee, tax, given_back, net,
        to_invoice, json.dumps(content), sha256_of(content), now,
    )  # fmt: skip


def _head(number: str, role: str, key: UUID, name: str, month: date) -> dict[str, Any]:
    return {
        "number": number,
        "month": f"{month:%Y-%m}",
        role: {"id": typeid(Organisation.prefix, key), "name": name},
        "currency": hub_currency(),
    }


def _programmes(found: Any) -> list[dict[str, Any]]:
    return [{"id": key, "title": title, "amount": _text(int(amount))} for key, title, amount in _read(found)]


def _read(found: Any) -> Any:
    """Django leaves JSON of raw statements as text."""
    return json.loads(found) if isinstance(found, str) else found


def _text(micros: int) -> str:
    return decimal_of(micros, currency=hub_currency())


def _copy(statement: str, rows: Sequence[tuple[Any, ...]], digest: Any) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            digest.update(row[-2].encode())
            copy.write_row(row)


def _tell(close: MonthClose, *, actor: Actor, now: datetime) -> None:
    facts = {"month": f"{close.month:%Y-%m}", "bills": close.bills, "total_micros": close.total_micros}
    record_audit(
        actor=actor,
        action="month.closed",
        subject_id=close.id,
        before=None,
        after="closed",
        now=now,
        facts={**facts, "sha256": close.sha256},
    )
    emit(name=MONTH_CLOSED, subject_id=close.id, payload=facts, now=now)
