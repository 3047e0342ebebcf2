"""The month's sum of an organisation: the bill that its close froze; before, what its receipts add up to so far."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, DecimalField, QuerySet, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncMonth

from mosu.kernel.money import MICROS, micros_of
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period, span_of_month
from mosu.market.models import Bill, Receipt
from mosu.market.queries import bills_visible_to, receipts_visible_to
from mosu.platform.actors import Actor


@dataclass(frozen=True, slots=True)
class PaidFor:
    """What one programme paid of a bill, in micros."""

    title: Mapping[str, str]
    amount_micros: int


@dataclass
class BillSum:
    """A month of one organisation, in micros: `total = vouchers + paid`.

    `billed_by_suppliers` is the part of `paid` that suppliers invoice themselves; `refund_later` is asked back
    from programmes afterwards and is never part of `vouchers`.
    """

    organisation_id: UUID
    month: date
    """Its first day, in the hub's zone."""
    receipts: int = 0
    total_micros: int = 0
    vouchers_micros: int = 0
    paid_micros: int = 0
    billed_by_suppliers_micros: int = 0
    refund_later_micros: int = 0
    credited_micros: int = 0
    tax_micros: int = 0
    credits_micros: int = 0
    """What credit notes issued in this month gave back; known once the month is closed."""
    programmes: dict[str, PaidFor] = field(default_factory=dict)
    """By the programme's public id."""
    suppliers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """What was bought of each, by name."""
    frozen: Bill | None = None
    """The bill itself, once the month is closed."""

    @property
    def due_micros(self) -> int:
        """What the organisation itself bears, less what was given back."""
        return self.paid_micros - self.credits_micros


def month_of(text: str) -> date:
    """The first day of a month written 2026-03.

    Raises:
        Invalid: it is not one.
    """
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise Invalid(f"{text[:20]!r} is not a month.", hint="Write it as 2026-03.", field="month") from error


def span_of(month: date, *, zone: ZoneInfo) -> Period:
    """The instants of a month in the hub's zone."""
    return span_of_month(month, zone=zone)


@dataclass(frozen=True, slots=True)
class MonthSum:
    """A month in the list of bills, in micros."""

    month: date
    receipts: int
    total_micros: int
    vouchers_micros: int
    paid_micros: int
    number: str | None = None
    """Of the bill, once the month is closed."""
    credits_micros: int = 0
    bill_id: UUID | None = None


def months_summed(actor: Actor, organisation_id: UUID, *, zone: ZoneInfo) -> list[MonthSum]:
    """The months of an organisation, newest first: each closed one by its bill; two queries."""
    months = {one.month: one for one in _months_so_far(actor, organisation_id, zone=zone)}
    for bill in bills_visible_to(actor).filter(organisation_id=organisation_id):
        months[bill.month] = MonthSum(
            month=bill.month,
            receipts=bill.receipts,
            total_micros=bill.total_micros,
            vouchers_micros=bill.vouchers_micros,
            paid_micros=bill.paid_micros,
            number=bill.number,
            credits_micros=bill.credits_micros,
            bill_id=bill.id,
        )
    return sorted(months.values(), key=lambda one: one.month, reverse=True)


def _months_so_far(actor: Actor, organisation_id: UUID, *, zone: ZoneInfo) -> list[MonthSum]:
    rows = receipts_visible_to(actor).filter(organisation_id=organisation_id).order_by()
    sums = (
        rows.annotate(month=TruncMonth("issued_at", tzinfo=zone))
        .values("month")
        .annotate(
            receipts=Count("id"),
            total=Sum(_amount("total")),
            vouchers=Sum(_amount("voucher_share")),
            paid=Sum(_amount("paid")),
        )
    )
    return [
        MonthSum(
            month=row["month"].date(),
            receipts=row["receipts"],
            total_micros=int(row["total"] * MICROS),
            vouchers_micros=int(row["vouchers"] * MICROS),
            paid_micros=int(row["paid"] * MICROS),
        )
        for row in sums
    ]


def _amount(key: str) -> Cast:
    """An amount of a receipt's content, a decimal string."""
    return Cast(KeyTextTransform(key, "content"), DecimalField(max_digits=24, decimal_places=6))


def receipts_of_month(
    actor: Actor, organisation_id: UUID, *, month: date, zone: ZoneInfo
) -> QuerySet[Receipt]:
    """The receipts behind a bill, newest first."""
    span = span_of(month, zone=zone)
    return receipts_visible_to(actor).filter(
        organisation_id=organisation_id, issued_at__gte=span.start, issued_at__lt=span.end
    )


def bill_of(actor: Actor, organisation_id: UUID, *, month: date, zone: ZoneInfo) -> BillSum:
    """The frozen bill, or what the receipts of an open month add up to so far; in bounded memory."""
    frozen = frozen_bill_of(actor, organisation_id, month=month)
    if frozen is not None:
        return _as_frozen(frozen)
    bill = BillSum(organisation_id=organisation_id, month=month)
    rows = receipts_of_month(actor, organisation_id, month=month, zone=zone)
    contents: Iterator[Any] = rows.order_by().values_list("content", flat=True).iterator(chunk_size=1000)
    for content in contents:
        _add(bill, content)
    return bill


def frozen_bill_of(actor: Actor, organisation_id: UUID, *, month: date) -> Bill | None:
    """The bill that the month's close froze; None while it is open, or where the actor sees none."""
    return bills_visible_to(actor).filter(organisation_id=organisation_id, month=month).first()


def _as_frozen(bill: Bill) -> BillSum:
    """As it stands in the bill: nothing is summed again."""
    content = bill.content
    suppliers: dict[str, int] = defaultdict(int)
    for one in content["suppliers"]:
        suppliers[one["name"]] += micros_of(one["amount"])
    return BillSum(
        organisation_id=bill.organisation_id,
        month=bill.month,
        receipts=bill.receipts,
        total_micros=bill.total_micros,
        vouchers_micros=bill.vouchers_micros,
        paid_micros=bill.paid_micros,
        billed_by_suppliers_micros=bill.billed_by_suppliers_micros,
        refund_later_micros=bill.refund_later_micros,
        credited_micros=bill.credited_micros,
        tax_micros=bill.tax_micros,
        credits_micros=bill.credits_micros,
        programmes={
            one["id"]: PaidFor(one["title"], micros_of(one["amount"])) for one in content["programmes"]
        },
        suppliers=suppliers,
        frozen=bill,
    )


def _add(bill: BillSum, content: Mapping[str, Any]) -> None:
    total, paid = micros_of(content["total"]), micros_of(content["paid"])
    bill.receipts += 1
    bill.total_micros += total
    bill.paid_micros += paid
    bill.vouchers_micros += micros_of(content["voucher_share"])
    bill.credited_micros += micros_of(content["credited"])
    bill.tax_micros += micros_of(content["tax"]["amount"])
    bill.suppliers[content["seller"]["name"]] += total
    if content["billed_by"] == "supplier":
        bill.billed_by_suppliers_micros += paid
    for share in content["split"]:
        amount = micros_of(share["amount"])
        if share["source"] == "refund":
            bill.refund_later_micros += amount
        if share["source"] == "voucher" and share["programme"]:
            key = share["programme"]["id"]
            known = bill.programmes.get(key, PaidFor(share["programme"]["title"], 0))
            bill.programmes[key] = PaidFor(known.title, known.amount_micros + amount)
