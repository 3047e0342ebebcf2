"""Quotes, orders and samples of orders."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.market import rules
from mosu.market.models import Order, Quote
from mosu.market.queries import AuditSample, work_of
from mosu.market.receipts import share_json
from mosu.market.shapes.blocks import BlockTermsOut
from mosu.market.shapes.parts import Key, Named
from mosu.platform.models import Organisation
from mosu.platform.schemas import Bilingual, In, Out
from mosu.subsidies.services import Split


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


class CopyingOut(Out):
    """What is copied to where a run is, and back, and how long that is expected to take by what was last measured
    there. Null: nobody knows yet. Nothing is charged for it: the meter runs from the program's start to its end.
    """

    in_bytes: int
    in_s: int | None
    in_bytes_per_s: int | None
    out_bytes: int | None
    out_s: int | None
    out_bytes_per_s: int | None


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
    block: BlockTermsOut | None
    """Of a reserved block: the terms by which it is cancelled."""
    copying: CopyingOut | None
    """Of a run; not of what is in its volumes, which are there already."""

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
            total_max=decimal_of(quote.total_max_micros, currency=quote.currency),
            currency=quote.currency,
            split=_shares(split),
            pay_now=decimal_of(split.pay_now_micros, currency=quote.currency),
            voucher_now=decimal_of(split.voucher_now_micros, currency=quote.currency),
            refund_later=decimal_of(split.refund_later_micros, currency=quote.currency),
            holds_until=quote.holds_until,
            block=BlockTermsOut(**quote.terms["block"]) if "block" in quote.terms else None,
            copying=CopyingOut(**quote.facts["copying"]) if "copying" in quote.facts else None,
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
            total=None
            if order.total_micros is None
            else decimal_of(order.total_micros, currency=order.currency),
            total_max=decimal_of(order.total_max_micros, currency=order.currency),
            split=split,
            receipt_id=receipt.public_id if receipt else None,
        )

    @classmethod
    def all_of(cls, orders: Sequence[Order]) -> list["OrderOut"]:
        """Each order; what they set going is asked from the shelves in one batch."""
        work = work_of(orders)
        return [cls.of(order, run_id=work.get(order.id)) for order in orders]


class AuditSampleOut(Out):
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
    def of(cls, sample: AuditSample) -> "AuditSampleOut":
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


def _lines(quote: Quote) -> list[LineOut]:
    return [
        LineOut(
            id=line.id,
            meter=line.meter,
            units=line.units,
            unit=line.unit,
            unit_price=decimal_of(line.unit_price_micros, currency=quote.currency),
            quantity_max=line.quantity_max,
            amount_max=decimal_of(line.amount_max_micros, currency=quote.currency),
        )
        for line in rules.lines_of_json(quote.lines)
    ]


def _shares(split: Split) -> list[ShareOut]:
    return [ShareOut(**share_json(share, currency=split.currency)) for share in split.shares]
