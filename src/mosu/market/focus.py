"""A month's cost in FOCUS, the FinOps Open Cost and Usage Specification: versions 1.2 and 1.4.

One row for each line of each receipt, one of category Credit, negative, for each voucher's part of it and for each
credit note: the sum of `BilledCost` is what the bill says is due. Amounts include tax, as the receipts do.
Source: the specification's columns of "Cost and Usage"; the mandatory ones are all here.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Final, Literal, get_args
from uuid import UUID

from mosu.kernel.csv import csv_lines
from mosu.kernel.ids import typeid
from mosu.kernel.money import MICROS
from mosu.kernel.parquet import Column, Kind, parquet_of
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period
from mosu.market.bills import span_of
from mosu.market.hub import hub_name, hub_zone
from mosu.market.models import Bill, CreditNote, CreditNoteState, Offer, Receipt, SoldBy
from mosu.market.queries import receipts_visible_to
from mosu.platform.actors import Actor
from mosu.platform.models import Project

Version = Literal["1.2", "1.4"]
VERSIONS: Final[tuple[Version, ...]] = get_args(Version)

_COMMON: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceId",
    "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ResourceId", "ServiceCategory", "ServiceName",
    "SkuId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
_PARTIES: Final[Mapping[Version, tuple[str, str]]] = {
    "1.2": ("ProviderName", "PublisherName"),
    "1.4": ("ServiceProviderName", "HostProviderName"),
}
"""Who sells and who makes: the hub and its supplier, under each version's names."""

_UNITS: Final = {"core_hour": "Core-Hours", "card_hour": "Card-Hours", "gb_month": "GB-Months"}
_METERED: Final = {"core_second": "Core-Seconds", "card_second": "Card-Seconds", "gb_second": "GB-Seconds"}
_CATEGORIES: Final = {"compute": "Compute", "storage": "Storage"}
_CHUNK: Final = 500
_FIGURES: Final = ("Cost", "Price", "Quantity")

Row = dict[str, str | None]
Format = Literal["csv", "parquet"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def columns_of(version: Version) -> tuple[str, ...]:
    """The columns of a version, in order."""
    return (*_COMMON, *_PARTIES[version])


def version_of(text: str) -> Version:
    """Raises:
    Invalid: no version that is written here.
    """
    for version in VERSIONS:
        if text == version:
            return version
    raise Invalid(
        f"FOCUS {text[:10]!r} is not written.", hint=f"One of {', '.join(VERSIONS)}.", field="version"
    )


def costs_of(actor: Actor, organisation_id: UUID, *, month: date, version: Version) -> Iterator[Row]:
    """The rows of an organisation's month, oldest receipt first; in bounded memory. Nothing of what is not seen."""
    span = span_of(month, zone=hub_zone())
    bill = Bill.objects.filter(organisation_id=organisation_id, month=month).values_list("number", flat=True)
    parts = _Parts(span, version, hub_name(), bill.first())
    receipts = receipts_visible_to(actor).filter(
        organisation_id=organisation_id, issued_at__gte=span.start, issued_at__lt=span.end
    )
    rows = receipts.select_related("order__project").order_by("issued_at", "id")
    for receipt in rows.iterator(chunk_size=_CHUNK):
        yield from parts.of_receipt(receipt)
    if not actor.sees(organisation_id):
        return
    notes = CreditNote.objects.filter(
        organisation_id=organisation_id,
        state=CreditNoteState.ISSUED,
        decided_at__gte=span.start,
        decided_at__lt=span.end,
    )
    for note in notes.select_related("receipt__order__project").order_by("decided_at", "id"):
        yield parts.of_note(note)


def file_of(
    rows: Iterable[Row], version: Version, kind: Format
) -> tuple[str, Iterator[str] | Iterator[bytes]]:
    """The file's media type and its pieces."""
    if kind == "csv":
        return "text/csv; charset=utf-8", csv_of(rows, version)
    return "application/vnd.apache.parquet", parquet_file(rows, version)


def csv_of(rows: Iterable[Row], version: Version) -> Iterator[str]:
    """The rows as CSV with a heading, line by line; null is an empty field."""
    columns = columns_of(version)
    return csv_lines(chain([columns], ([_cell(name, row.get(name)) for name in columns] for row in rows)))


def parquet_file(rows: Iterable[Row], version: Version) -> Iterator[bytes]:
    """The rows as Parquet, a row group at a time: costs and quantities as decimals, periods as instants."""
    columns = [Column(name, _kind(name)) for name in columns_of(version)]
    read: Mapping[Kind, Callable[[str], Any]] = {
        "decimal": Decimal,
        "time": datetime.fromisoformat,
        "text": str,
    }
    typed = (
        {one.name: read[one.kind](value) for one in columns if (value := row.get(one.name)) is not None}
        for row in rows
    )
    return parquet_of(columns, typed)


def _kind(column: str) -> Kind:
    if column.endswith(_FIGURES):
        return "decimal"
    return "time" if column.endswith(("PeriodStart", "PeriodEnd")) else "text"


def _cell(column: str, value: str | None) -> Decimal | str | None:
    """A figure as a number: what is negative is no formula."""
    return Decimal(value) if value and column.endswith(_FIGURES) else value


class _Parts:
    """Rows of one bill: what they have in common is kept here."""

    def __init__(self, span: Period, version: Version, hub: str, bill: str | None) -> None:
        self._span, self._hub, self._bill = span, hub, bill
        self._columns, self._parties = columns_of(version), _PARTIES[version]

    def of_receipt(self, receipt: Receipt) -> Iterator[Row]:
        """Its lines, then its vouchers' parts."""
        content = receipt.content
        for line in content["lines"]:
            amount = line["amount"]
            yield self._row(
                receipt,
                amount,
                ChargeCategory="Usage",
                ChargeFrequency="Usage-Based",
                ChargeDescription=line["text"]["en"],
                ConsumedQuantity=str(line["metered"]),
                ConsumedUnit=_METERED.get(line["meter"], line["meter"]),
                ContractedCost=amount,
                ListCost=amount,
                PricingQuantity=line["quantity"],
                PricingUnit=_UNITS.get(line["unit"], line["unit"]),
            )
        for share in content["split"]:
            if share["source"] == "voucher" and Decimal(share["amount"]):
                yield self._credit(receipt, share["amount"], share["label"]["en"])

    def of_note(self, note: CreditNote) -> Row:
        """What was given back, of whatever month."""
        return self._credit(note.receipt, str(Decimal(note.amount_micros) / MICROS), note.why) | {
            "ChargeClass": "Correction",
            "ChargePeriodStart": _time(self._span.start),
            "ChargePeriodEnd": _time(self._span.end),
        }

    def _credit(self, receipt: Receipt, amount: str, text: str) -> Row:
        back = f"-{amount}"
        return self._row(
            receipt,
            back,
            ChargeCategory="Credit",
            ChargeFrequency="One-Time",
            ChargeDescription=text,
            ContractedCost=back,
            ListCost=back,
        )

    def _row(self, receipt: Receipt, cost: str, **own: str) -> Row:
        content, order = receipt.content, receipt.order
        seller = content["seller"]["name"]
        common: Row = {
            "BilledCost": cost,
            "EffectiveCost": cost,
            "BillingAccountId": content["buyer"]["id"],
            "BillingAccountName": content["buyer"]["name"],
            "BillingCurrency": content["currency"],
            "BillingPeriodStart": _time(self._span.start),
            "BillingPeriodEnd": _time(self._span.end),
            "ChargePeriodStart": _time(max(order.placed_at, self._span.start)),
            "ChargePeriodEnd": _time(
                min(max(order.ended_at or order.placed_at, self._span.start), self._span.end)
            ),
            "InvoiceId": self._bill,
            "InvoiceIssuerName": seller if content["billed_by"] == SoldBy.SUPPLIER else self._hub,
            "ResourceId": order.public_id,
            "ServiceCategory": _CATEGORIES.get(order.shelf, "Other"),
            "ServiceName": f"{self._hub}: {order.shelf}",
            "SkuId": typeid(Offer.prefix, order.offer_id),
            "SubAccountId": typeid(Project.prefix, order.project_id),
            "SubAccountName": order.project.name,
            "Tags": json.dumps({"receipt": receipt.number, "order": order.number}),
            self._parties[0]: self._hub,
            self._parties[1]: seller,
        }
        return dict.fromkeys(self._columns) | common | own


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
