"""Receipts and what anyone may check of one; the bills that sum them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from django.conf import settings

from mosu.kernel.ids import typeid
from mosu.market.bills import BillSum, MonthSum
from mosu.market.models import Order, Receipt
from mosu.market.queries import work_of
from mosu.market.receipts import code_of
from mosu.market.shapes.orders import ShareOut
from mosu.market.shapes.parts import Named, hub_money
from mosu.platform.models import Organisation
from mosu.platform.schemas import Bilingual, Out


class ReceiptLineOut(Out):
    text: Bilingual
    quantity: str
    unit: str
    unit_price: str
    amount: str
    meter: str
    metered: int


class ReceiptTax(Out):
    rate: str
    included: bool
    amount: str


class ClaimedOut(Out):
    """As measured where it ran, and not checked: for how many seconds a service was well, and how often it was started
    again."""

    uptime_s: int
    restarts: int


class ReceiptOut(Out):
    """Proof of one order: total = voucher_share + paid. `sha256` is that of `content`'s canonical JSON."""

    id: str
    number: str
    order_id: str
    run_id: str | None
    issued_at: datetime
    currency: str
    outcome: str
    why: str
    lines: list[ReceiptLineOut]
    total: str
    credited: str
    split: list[ShareOut]
    voucher_share: str
    paid: str
    released: str
    billed_by: Literal["hub", "supplier"]
    tax: ReceiptTax
    seller: Named
    buyer: Named
    claimed: ClaimedOut | None = None
    """Of a service; no amount depends on it."""
    content: dict[str, Any]
    sha256: str
    verify_url: str

    @classmethod
    def of(cls, receipt: Receipt, *, run_id: str | None) -> "ReceiptOut":
        content = receipt.content
        return cls(
            id=receipt.public_id,
            order_id=typeid(Order.prefix, receipt.order_id),
            run_id=run_id,
            content=content,
            sha256=receipt.sha256,
            verify_url=verify_url_of(receipt),
            **{key: value for key, value in content.items() if key in cls.model_fields},
        )

    @classmethod
    def all_of(cls, receipts: Sequence[Receipt]) -> list["ReceiptOut"]:
        """Each receipt; what their orders set going is asked from the shelves in one batch."""
        work = work_of([receipt.order for receipt in receipts])
        return [cls.of(receipt, run_id=work.get(receipt.order_id)) for receipt in receipts]


class VerifiedOut(Out):
    """What anyone who holds a receipt may check of it: that it is the hub's, unchanged, and its totals."""

    number: str
    issued_at: datetime
    currency: str
    total: str
    voucher_share: str
    paid: str
    sha256: str


class BillMonthOut(Out):
    """A month in the list of bills: total = voucher_share + paid, due = paid - credits."""

    month: str
    number: str | None
    """Of the bill that the month's close froze; None while the month is open."""
    receipts: int
    total: str
    voucher_share: str
    paid: str
    credits: str
    """What credit notes issued in this month gave back."""
    due: str
    currency: str

    @classmethod
    def of(cls, month: MonthSum) -> "BillMonthOut":
        return cls(
            month=f"{month.month:%Y-%m}",
            number=month.number,
            receipts=month.receipts,
            total=hub_money(month.total_micros),
            voucher_share=hub_money(month.vouchers_micros),
            paid=hub_money(month.paid_micros),
            credits=hub_money(month.credits_micros),
            due=hub_money(month.paid_micros - month.credits_micros),
            currency=settings.HUB_CURRENCY,
        )


class BillsOut(Out):
    items: list[BillMonthOut]


class BillProgrammeOut(Out):
    id: str
    title: Bilingual
    amount: str


class BillSupplierOut(Out):
    name: str
    amount: str


class BillOut(Out):
    """The sum of a month's receipts: total = voucher_share + paid, due = paid - credits.

    Once the month is closed this is the frozen bill, whose `content` has the `sha256`; before, the sum so far.
    `billed_by_suppliers` is the part of `paid` that suppliers invoice themselves; `refund_later` is asked back from
    programmes afterwards and is no part of `voucher_share`.
    """

    month: str
    number: str | None
    """None while the month is open."""
    issued_at: datetime | None
    sha256: str | None
    organisation_id: str
    currency: str
    receipts: int
    total: str
    voucher_share: str
    paid: str
    billed_by_suppliers: str
    refund_later: str
    credited: str
    tax: str
    credits: str
    due: str
    credit_notes: list[str]
    """The numbers of those that `credits` sums."""
    programmes: list[BillProgrammeOut]
    suppliers: list[BillSupplierOut]
    content: dict[str, Any] | None

    @classmethod
    def of(cls, bill: BillSum) -> "BillOut":
        frozen = bill.frozen
        suppliers = sorted(bill.suppliers.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls(
            month=f"{bill.month:%Y-%m}",
            number=frozen.number if frozen else None,
            issued_at=frozen.issued_at if frozen else None,
            sha256=frozen.sha256 if frozen else None,
            organisation_id=typeid(Organisation.prefix, bill.organisation_id),
            currency=settings.HUB_CURRENCY,
            receipts=bill.receipts,
            total=hub_money(bill.total_micros),
            voucher_share=hub_money(bill.vouchers_micros),
            paid=hub_money(bill.paid_micros),
            billed_by_suppliers=hub_money(bill.billed_by_suppliers_micros),
            refund_later=hub_money(bill.refund_later_micros),
            credited=hub_money(bill.credited_micros),
            tax=hub_money(bill.tax_micros),
            credits=hub_money(bill.credits_micros),
            due=hub_money(bill.due_micros),
            credit_notes=frozen.content["credit_notes"] if frozen else [],
            content=frozen.content if frozen else None,
            programmes=[
                BillProgrammeOut(id=key, title=Bilingual(**one.title), amount=hub_money(one.amount_micros))
                for key, one in bill.programmes.items()
            ],
            suppliers=[BillSupplierOut(name=name, amount=hub_money(amount)) for name, amount in suppliers],
        )


def verify_url_of(receipt: Receipt) -> str:
    """The public page on which the receipt can be checked; programs ask /api/v1/verify/ with the same two."""
    return f"{settings.MOSU_URL}/verify/{receipt.number}/{code_of(receipt)}/"
