"""The counter's JSON: money as decimal strings, ids as TypeIDs, times in UTC."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.market import rules
from mosu.market.bills import Bill, MonthSum
from mosu.market.comparison import Row
from mosu.market.models import Order, Quote, Receipt, SavedSearch
from mosu.market.queries import FacetShown, OfferPage, Sample, ShownOffer, work_of
from mosu.market.receipts import code_of, percent_of, share_json
from mosu.platform.models import Organisation
from mosu.platform.schemas import In, Out
from mosu.subsidies.services import Split

Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
Key = Annotated[str, StringConstraints(max_length=100)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]


class Bilingual(Out):
    zh: str
    en: str


class BilingualIn(In):
    zh: Text
    en: Text


class Named(Out):
    id: str
    name: str


class PriceOut(Out):
    meter: str
    unit_price: str
    unit: str


class TaxTerms(Out):
    included: bool
    rate: str


class Limits(Out):
    min_units: int
    max_units: int
    wall_s_max: int


class StockOut(Out):
    free: int
    reserved: int
    taken: int
    total: int


class OfferOut(Out):
    """Something for sale, as it stands now."""

    id: str
    shelf: str
    title: Bilingual
    supplier: Named
    accelerator: str | None
    region: str | None
    mode: str | None
    currency: str
    prices: list[PriceOut]
    tax: TaxTerms
    sold_by: Literal["hub", "supplier"]
    limits: Limits
    stock: StockOut | None
    live: bool
    why_not_live: str | None
    buyer_organisation_id: str | None

    @classmethod
    def of(cls, shown: ShownOffer) -> "OfferOut":
        offer, stock = shown.offer, shown.stock
        return cls(
            id=offer.public_id,
            shelf=offer.shelf,
            title=Bilingual(zh=offer.title_zh, en=offer.title_en),
            supplier=Named(id=offer.supplier.public_id, name=offer.supplier.name),
            accelerator=offer.attributes.get("accelerator"),
            region=offer.attributes.get("region"),
            mode=offer.attributes.get("mode"),
            currency=settings.HUB_CURRENCY,
            prices=[
                PriceOut(meter=price.meter, unit_price=_money(price.unit_price_micros), unit=price.unit)
                for price in shown.prices
            ],
            tax=TaxTerms(included=offer.tax_included, rate=percent_of(offer.tax_rate_bp)),
            sold_by=offer.sold_by,
            limits=Limits(min_units=offer.min_units, max_units=offer.max_units, wall_s_max=offer.wall_s_max),
            stock=StockOut(**asdict(stock)) if stock else None,
            live=shown.live,
            why_not_live=shown.why_not_live,
            buyer_organisation_id=typeid(Organisation.prefix, offer.buyer_organisation_id)
            if offer.buyer_organisation_id
            else None,
        )


class FacetValueOut(Out):
    """`count`: how many offers fit if it is chosen beside all that other facets ask."""

    value: str
    label: Bilingual
    count: int
    chosen: bool


class FacetOut(Out):
    code: str
    title: Bilingual
    values: list[FacetValueOut]

    @classmethod
    def of(cls, shown: FacetShown) -> "FacetOut":
        facet = shown.facet
        return cls(
            code=facet.code,
            title=Bilingual(zh=facet.title_zh, en=facet.title_en),
            values=[
                FacetValueOut(
                    value=one.value.value,
                    label=Bilingual(zh=one.value.zh, en=one.value.en),
                    count=one.count,
                    chosen=one.chosen,
                )
                for one in shown.values
            ],
        )


class OffersOut(Out):
    """One page of a search; `total` fit in all."""

    items: list[OfferOut]
    next: str | None
    total: int
    facets: list[FacetOut] | None

    @classmethod
    def of(cls, page: OfferPage, *, with_facets: bool) -> "OffersOut":
        return cls(
            items=[OfferOut.of(shown) for shown in page.items],
            next=page.next,
            total=page.total,
            facets=[FacetOut.of(facet) for facet in page.facets] if with_facets else None,
        )


class ComparedOut(Out):
    """One property: of each offer its value, null where it is not known. Prices are those of `unit_price`."""

    code: str
    title: Bilingual | None
    values: list[str | None]
    differs: bool

    @classmethod
    def of(cls, row: Row) -> "ComparedOut":
        is_price = row.code.startswith("price:")
        return cls(
            code=row.code,
            title=Bilingual(zh=row.facet.title_zh, en=row.facet.title_en) if row.facet else None,
            values=[
                None
                if cell in (None, "")
                else _money(cell)
                if is_price and isinstance(cell, int)
                else str(cell)
                for cell in row.cells
            ],
            differs=row.differs,
        )


class ComparisonOut(Out):
    """Offers side by side, in the order in which they were named."""

    offers: list[OfferOut]
    rows: list[ComparedOut]

    @classmethod
    def of(cls, offers: Sequence[ShownOffer], rows: Sequence[Row]) -> "ComparisonOut":
        return cls(offers=[OfferOut.of(one) for one in offers], rows=[ComparedOut.of(row) for row in rows])


class SavedSearchIn(In):
    """`query`: the parameters of `GET /offers`, each with its values."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    query: dict[Slug, Annotated[list[Word], Field(max_length=50)]] = Field(default={}, max_length=40)


class SavedSearchOut(Out):
    id: str
    name: str
    query: dict[str, list[str]]
    created_at: datetime

    @classmethod
    def of(cls, search: SavedSearch) -> "SavedSearchOut":
        return cls(id=search.public_id, name=search.name, query=search.query, created_at=search.created_at)


class OfferBrief(Out):
    id: str
    title: Bilingual
    supplier: Named

    @classmethod
    def of(cls, quote: Quote) -> "OfferBrief":
        return cls(
            id=typeid("offer", quote.offer_id),
            title=Bilingual(**quote.terms["title"]),
            supplier=Named(**quote.terms["supplier"]),
        )


class LineOut(Out):
    """A line with its frozen price. `quantity_max` is in the meter's own unit: core-seconds, card-seconds."""

    id: str
    meter: str
    units: int
    unit: str
    unit_price: str
    quantity_max: int
    amount_max: str


class ProgrammeNamedOut(Out):
    id: str
    version: int
    title: Bilingual


class ShareOut(Out):
    source: Literal["voucher", "balance", "refund"]
    voucher_id: str | None
    programme: ProgrammeNamedOut | None
    rate: str | None
    limit: str
    amount: str
    label: Bilingual


class QuoteOut(Out):
    """A price promised until `valid_until`."""

    id: str
    state: Literal["open", "accepted", "expired"]
    valid_until: datetime
    offer: OfferBrief
    sold_by: Literal["hub", "supplier"]
    starts_at: datetime
    wall_limit_s: int
    lines: list[LineOut]
    total_max: str
    currency: str
    split: list[ShareOut]
    pay_now: str
    voucher_now: str
    refund_later: str
    holds_until: datetime

    @classmethod
    def of(cls, quote: Quote, *, now: datetime) -> "QuoteOut":
        """The quote; one past its validity reads as expired before the background task has moved it."""
        split = Split.from_json(quote.split)
        expired = quote.state == "open" and now > quote.valid_until
        return cls(
            id=quote.public_id,
            state="expired" if expired else quote.state,
            valid_until=quote.valid_until,
            offer=OfferBrief.of(quote),
            sold_by=quote.terms["sold_by"],
            starts_at=quote.starts_at,
            wall_limit_s=quote.wall_limit_s,
            lines=_lines(quote),
            total_max=_money(quote.total_max_micros, quote.currency),
            currency=quote.currency,
            split=_shares(split),
            pay_now=_money(split.pay_now_micros, quote.currency),
            voucher_now=_money(split.voucher_now_micros, quote.currency),
            refund_later=_money(split.refund_later_micros, quote.currency),
            holds_until=quote.holds_until,
        )


class OrderIn(In):
    quote_id: Key


class OrderOut(Out):
    """What was bought. `split` is the promised one until the order is settled, then the actual one."""

    id: str
    number: str
    state: Literal["placed", "active", "settled", "cancelled"]
    outcome: str | None
    placed_at: datetime
    settled_at: datetime | None
    quote_id: str
    organisation_id: str
    offer: OfferBrief
    run_id: str | None
    lines: list[LineOut]
    currency: str
    total: str | None
    total_max: str
    split: list[ShareOut]
    receipt_id: str | None

    @classmethod
    def of(cls, order: Order, *, run_id: str | None) -> "OrderOut":
        receipt = getattr(order, "receipt", None) if order.settled_at else None
        split = receipt.content["split"] if receipt else _shares(Split.from_json(order.quote.split))
        return cls(
            id=order.public_id,
            number=order.number,
            state=order.state,
            outcome=order.outcome,
            placed_at=order.placed_at,
            settled_at=order.settled_at,
            quote_id=order.quote.public_id,
            organisation_id=typeid(Organisation.prefix, order.organisation_id),
            offer=OfferBrief.of(order.quote),
            run_id=run_id,
            lines=_lines(order.quote),
            currency=order.currency,
            total=None if order.total_micros is None else _money(order.total_micros, order.currency),
            total_max=_money(order.total_max_micros, order.currency),
            split=split,
            receipt_id=receipt.public_id if receipt else None,
        )

    @classmethod
    def all_of(cls, orders: Sequence[Order]) -> list["OrderOut"]:
        """Each order; what they set going is asked from the shelves in one batch."""
        work = work_of(orders)
        return [cls.of(order, run_id=work.get(order.id)) for order in orders]


class SampleOut(Out):
    """Orders drawn at random. `seed`, `from`, `to` and `count` draw the same again."""

    id: str
    seed: str
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    count: int
    drawn_by: str
    drawn_at: datetime
    orders: list[OrderOut]

    @classmethod
    def of(cls, sample: Sample) -> "SampleOut":
        return cls(
            id=sample.public_id,
            seed=sample.seed,
            from_=sample.span.start,
            to=sample.span.end,
            count=sample.count,
            drawn_by=sample.drawn_by,
            drawn_at=sample.drawn_at,
            orders=OrderOut.all_of(sample.orders),
        )


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


class BillMonthOut(Out):
    """A month in the list of bills: total = voucher_share + paid."""

    month: str
    receipts: int
    total: str
    voucher_share: str
    paid: str
    currency: str

    @classmethod
    def of(cls, month: MonthSum) -> "BillMonthOut":
        return cls(
            month=f"{month.month:%Y-%m}",
            receipts=month.receipts,
            total=_money(month.total_micros),
            voucher_share=_money(month.vouchers_micros),
            paid=_money(month.paid_micros),
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
    """The sum of a month's receipts: total = voucher_share + paid.

    `billed_by_suppliers` is the part of `paid` that suppliers invoice themselves; `refund_later` is asked back from
    programmes afterwards and is no part of `voucher_share`.
    """

    month: str
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
    programmes: list[BillProgrammeOut]
    suppliers: list[BillSupplierOut]

    @classmethod
    def of(cls, bill: Bill) -> "BillOut":
        suppliers = sorted(bill.suppliers.items(), key=lambda pair: (-pair[1], pair[0]))
        return cls(
            month=f"{bill.month:%Y-%m}",
            organisation_id=typeid(Organisation.prefix, bill.organisation_id),
            currency=settings.HUB_CURRENCY,
            receipts=bill.receipts,
            total=_money(bill.total_micros),
            voucher_share=_money(bill.vouchers_micros),
            paid=_money(bill.paid_micros),
            billed_by_suppliers=_money(bill.billed_by_suppliers_micros),
            refund_later=_money(bill.refund_later_micros),
            credited=_money(bill.credited_micros),
            tax=_money(bill.tax_micros),
            programmes=[
                BillProgrammeOut(id=key, title=Bilingual(**one.title), amount=_money(one.amount_micros))
                for key, one in bill.programmes.items()
            ],
            suppliers=[BillSupplierOut(name=name, amount=_money(amount)) for name, amount in suppliers],
        )


class VerifiedOut(Out):
    """What anyone who holds a receipt may check of it: that it is the hub's, unchanged, and its totals."""

    number: str
    issued_at: datetime
    currency: str
    total: str
    voucher_share: str
    paid: str
    sha256: str


class PriceIn(In):
    meter: Slug
    unit: Slug
    unit_price: Key
    per: Count = 3600


class OfferIn(In):
    """Goods of the actor's organisation; `subject_id` names them on their shelf (`pool_...`)."""

    shelf: Slug
    subject_id: Key
    title: BilingualIn
    accelerator: Slug | None = None
    region: Word = ""
    mode: Slug = "on_demand"
    kind: Word = ""
    domestic: bool | None = None
    prices: Annotated[list[PriceIn], Field(min_length=1, max_length=20)]
    tax_rate_bp: BasisPoints = 600
    tax_included: bool = True
    min_units: Count = 1
    max_units: Count
    wall_s_max: Count
    sold_by: Literal["hub", "supplier"] = "hub"
    fee_bp: BasisPoints = 0
    supplier_id: Key | None = None
    buyer_organisation_id: Key | None = None


def verify_url_of(receipt: Receipt) -> str:
    """The public page on which the receipt can be checked; programs ask /api/v1/verify/ with the same two."""
    return f"{settings.MOSU_URL}/verify/{receipt.number}/{code_of(receipt)}/"


def _money(micros: int, currency: str = "") -> str:
    return decimal_of(micros, currency=currency or settings.HUB_CURRENCY)


def _lines(quote: Quote) -> list[LineOut]:
    return [
        LineOut(
            id=line.id,
            meter=line.meter,
            units=line.units,
            unit=line.unit,
            unit_price=_money(line.unit_price_micros, quote.currency),
            quantity_max=line.quantity_max,
            amount_max=_money(line.amount_max_micros, quote.currency),
        )
        for line in rules.lines_of_json(quote.lines)
    ]


def _shares(split: Split) -> list[ShareOut]:
    return [ShareOut(**share_json(share, currency=split.currency)) for share in split.shares]
