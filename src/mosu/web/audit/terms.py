"""What was agreed: the order's lines and the frozen quote."""

from typing import Any, Final
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.money import decimal_of, micros_of
from mosu.market import rules as market_rules
from mosu.subsidies.models import Voucher
from mosu.subsidies.services import Share, Split, split_at
from mosu.web.audit.checks import TITLES, Check, Link, differences, faultless, side_by_side, unknown
from mosu.web.audit.evidence import Evidence

_FROZEN: Final = (
    "meter",
    "unit",
    "units",
    "per",
    "unit_price_micros",
    "tax_rate_bp",
    "tax_included",
    "quantity_max",
    "amount_max_micros",
)


def quote_link(e: Evidence) -> Link:
    """The order's lines and split against the quote that was accepted."""
    order, quote = e.order, e.quote
    frozen = {line.meter: line for line in market_rules.lines_of_json(quote.lines)}
    split = Split.from_json(quote.split)
    faults = [] if set(frozen) == {line.meter for line in e.lines} else [_("other meters")]
    for line in e.lines:
        if line.meter in frozen:
            pairs = {field: (getattr(line, field), getattr(frozen[line.meter], field)) for field in _FROZEN}
            faults += differences(line.meter, pairs)
    most = [
        line.meter
        for line in e.lines
        if line.amount_max_micros
        != market_rules.most_of(line.quantity_max, price_of(line), currency=quote.currency)
    ]
    sums = (
        sum(line.amount_max_micros for line in e.lines),
        order.total_max_micros,
        split.charge_micros,
        split.pay_now_micros + split.voucher_now_micros,
    )
    checks = [
        faultless("quote.lines", _lazy("The order's lines are the quote's, frozen"), faults, of=len(e.lines)),
        _price_in_force(e),
        faultless(
            "quote.most", _lazy("The most of each line is its limit at its price"), most, of=len(e.lines)
        ),
        faultless(
            "quote.total",
            _lazy("Lines, order and split name one total"),
            [decimal_of(one, currency=quote.currency) for one in sums if one != quote.total_max_micros],
            of=len(sums),
        ),
        faultless(
            "quote.terms",
            _lazy("It was accepted in time, by the same buyer, for the same offer"),
            differences(
                "",
                {
                    "buyer": (order.organisation_id, quote.organisation_id),
                    "offer": (order.offer_id, quote.offer_id),
                    "quote": (order.quote_id, quote.id),
                    "tax": (
                        {(line.tax_rate_bp, line.tax_included) for line in e.lines},
                        {(quote.terms["tax"]["rate_bp"], quote.terms["tax"]["included"])},
                    ),
                    "supplier": (e.quote.terms["supplier"]["id"], order.offer.supplier.public_id),
                    "seller": (order.supplier_id, order.offer.supplier_id),
                    "currency": (order.currency, quote.currency),
                    "shelf": (order.shelf, quote.shelf),
                    "in time": (quote.created_at <= order.placed_at <= quote.valid_until, True),
                },
            ),
            of=1,
        ),
    ]
    if e.receipt is not None:
        actual = split_at(split, order.total_micros or 0)
        said = [
            (share["source"], share["voucher_id"], micros_of(share["amount"]))
            for share in e.receipt.content["split"]
        ]
        anew = [(share.source.value, _public(share), share.amount_micros) for share in actual.shares]
        checks.append(
            faultless(
                "quote.split",
                _lazy("The split at the actual charge, evaluated anew, is the receipt's"),
                [f"{found} ≠ {wanted}" for found, wanted in side_by_side(said, anew) if found != wanted],
                of=len(anew),
            )
        )
    return Link("quote", TITLES["quote"], checks)


def _public(share: Share) -> str | None:
    return _voucher_name(share.voucher_id) if share.voucher_id else None


def _voucher_name(voucher_id: UUID) -> str:
    return Voucher(id=voucher_id).public_id


def price_of(line: Any) -> market_rules.Price:
    """The frozen price of an order's line."""
    return market_rules.Price(
        meter=line.meter,
        unit=line.unit,
        per=line.per,
        unit_price_micros=line.unit_price_micros,
        tax_rate_bp=line.tax_rate_bp,
        tax_included=line.tax_included,
    )


def _price_in_force(e: Evidence) -> Check:
    title = _lazy("The price is the one that the offer had when it was quoted")
    if e.quote.fx:
        return unknown(
            "quote.price", title, _("converted from a foreign list price at the quote's dated rate")
        )
    if "paid_by" in e.quote.terms:
        dear = [line.meter for line in e.lines if line.unit_price_micros]
        title = _lazy("An earlier order paid for it: its price is nothing")
        return faultless("quote.price", title, dear, of=len(e.lines))
    faults = []
    for line in e.lines:
        price = e.prices.get(line.meter)
        if price is None:
            faults.append(line.meter + ": " + _("no price"))
            continue
        fields = ("unit", "per", "unit_price_micros")
        faults += differences(line.meter, {one: (getattr(line, one), getattr(price, one)) for one in fields})
    return faultless("quote.price", title, faults, of=len(e.lines))
