"""Bills: what a month came to, who paid it, the receipts behind, and the credit notes beside."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET

from mosu.kernel.money import micros_of
from mosu.kernel.refusals import NotFound
from mosu.kernel.time import month_in
from mosu.market.bills import BillSum, bill_of, month_of, months_summed, receipts_of_month, span_of
from mosu.market.hub import hub_zone
from mosu.market.models import CreditNote, Receipt
from mosu.market.queries import credit_notes_beside
from mosu.platform.models import Organisation
from mosu.platform.queries import organisations_visible_to
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.presenters import Bilingual, ShareShown, SplitShown
from mosu.web.tables import Column, Empty, Plan, csv_of, drawn, list_page
from mosu.web.words import supplier_named

NOTES_MAX: Final = 100

MONTHS: Final = Plan(
    name="bills",
    title=_lazy("Bills"),
    columns=(
        Column(
            "month",
            _lazy("Month"),
            lambda row: f"{row.month:%Y-%m}",
            href=lambda row: reverse("bill", args=[f"{row.month:%Y-%m}"]),
        ),
        Column("receipts", _lazy("Receipts"), lambda row: row.receipts, kind="number"),
        Column("vouchers", _lazy("Vouchers"), lambda row: row.vouchers_micros, kind="money"),
        Column("paid", _lazy("Paid"), lambda row: row.paid_micros, kind="money"),
        Column("total", _lazy("Total"), lambda row: row.total_micros, kind="money"),
        Column("number", _lazy("Number"), lambda row: row.number, kind="mono"),
        Column("state", _lazy("State"), lambda row: "bill" if row.number else "bill_open", kind="state"),
    ),
    order="-month",
    empty=Empty(
        _lazy("No bills yet."),
        _lazy("A month's bill begins with its first receipt."),
        "/quote/",
        _lazy("Ask for a quote"),
    ),
)


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt in a bill."""

    public_id: str
    number: str
    receipt: Receipt
    what: Bilingual
    supplier: str
    total: int
    vouchers: int
    paid: int
    tax: int

    @classmethod
    def of(cls, receipt: Receipt) -> "ReceiptRow":
        content = receipt.content
        lines = content["lines"]
        return cls(
            public_id=receipt.public_id,
            number=receipt.number,
            receipt=receipt,
            what=lines[0]["text"] if lines else {"zh": "", "en": ""},
            supplier=supplier_named(content["seller"]["name"]),
            total=micros_of(content["total"]),
            vouchers=micros_of(content["voucher_share"]),
            paid=micros_of(content["paid"]),
            tax=micros_of(content["tax"]["amount"]),
        )


@dataclass(frozen=True, slots=True)
class _NoteRow:
    """A credit note beside a bill: it counts in the month in which it was issued."""

    public_id: str
    number: str
    receipt: Receipt
    why: str
    amount: int
    month: str

    @classmethod
    def of(cls, note: CreditNote) -> "_NoteRow":
        at = note.decided_at or note.proposed_at
        return cls(
            public_id=note.public_id,
            number=note.number or "",
            receipt=note.receipt,
            why=note.why,
            amount=note.amount_micros,
            month=f"{month_in(hub_zone(), at):%Y-%m}",
        )


RECEIPTS: Final = Plan(
    name="bill",
    title=_lazy("Receipts"),
    columns=(
        Column(
            "number",
            _lazy("Number"),
            lambda row: row.number,
            sort="number",
            href=lambda row: reverse("receipt", args=[row.public_id]),
        ),
        Column("issued", _lazy("Issued"), lambda row: row.receipt.issued_at, kind="time", sort="issued_at"),
        Column("what", _lazy("What"), lambda row: row.what),
        Column("supplier", _lazy("Supplier"), lambda row: row.supplier),
        Column("total", _lazy("Total"), lambda row: row.total, kind="money"),
        Column("vouchers", _lazy("Vouchers"), lambda row: row.vouchers, kind="money"),
        Column("paid", _lazy("Paid"), lambda row: row.paid, kind="money"),
        Column("tax", _lazy("Tax in it"), lambda row: row.tax, kind="money"),
    ),
    order="-issued",
    empty=Empty(_lazy("No receipts in this month."), "", "/bills/", _lazy("All bills")),
)


@require_GET
@page("receipt.read")
def bills(request: HttpRequest) -> HttpResponse:
    """The organisation's bills, by month."""
    actor, organisation = actor_of(request), organisation_asked(request)
    months = months_summed(actor, organisation.id, zone=hub_zone())
    if request.GET.get("format") == "csv":
        return csv_of(request, MONTHS, months)
    table = drawn(request, MONTHS, months)
    return render(
        request, "pages/bills.html", {"here": "bills", "organisation": organisation, "table": table}
    )


@require_GET
@page("receipt.read")
def bill(request: HttpRequest, month: str) -> HttpResponse:
    """One month: the bill that its close froze, else the sum so far; every receipt, and the credit notes beside it."""
    actor, organisation, first = actor_of(request), organisation_asked(request), month_of(month)
    span = span_of(first, zone=hub_zone())
    summed = bill_of(actor, organisation.id, month=first, zone=hub_zone())
    rows = receipts_of_month(actor, organisation.id, month=first, zone=hub_zone())
    return list_page(
        request,
        "pages/bill.html",
        RECEIPTS,
        rows,
        prepare=lambda found: [ReceiptRow.of(one) for one in found],
        context={
            "here": "bills",
            "organisation": organisation,
            "month": f"{first:%Y-%m}",
            "asked": f"?organisation={organisation.public_id}" if actor.sees_all else "",
            "bill": summed,
            "frozen": summed.frozen,
            "notes": [
                _NoteRow.of(one) for one in credit_notes_beside(actor, organisation.id, span)[:NOTES_MAX]
            ],
            "split": _split_of(summed),
            "suppliers": [
                (supplier_named(name), amount)
                for name, amount in sorted(summed.suppliers.items(), key=lambda pair: (-pair[1], pair[0]))
            ],
        },
    )


def _split_of(bill: BillSum) -> SplitShown:
    vouchers = [ShareShown(one.title, one.amount_micros) for one in bill.programmes.values()]
    refunds = []
    if bill.refund_later_micros:
        refunds.append(ShareShown({"zh": _("refunds"), "en": _("refunds")}, bill.refund_later_micros))
    return SplitShown(
        pay_now=bill.paid_micros,
        voucher_now=bill.vouchers_micros,
        refund_later=bill.refund_later_micros,
        vouchers=sorted(vouchers, key=lambda share: -share.amount),
        refunds=refunds,
        final=True,
    )


def organisation_asked(request: HttpRequest) -> Organisation:
    """The one for which the person speaks; the hub's people name one: `?organisation=org_...`.

    Raises:
        NotFound: there is none, or it is not theirs to see.
    """
    actor = actor_of(request)
    named = request.GET.get("organisation", "") if actor.sees_all else ""
    key: UUID | None = Organisation.key_of(named) if named else actor.organisation_id
    found = organisations_visible_to(actor).filter(id=key).first() if key else None
    if found is None:
        raise NotFound(
            _("Bills are an organisation's."), hint=_("Open them from the page of an organisation.")
        )
    return found
