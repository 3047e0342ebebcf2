"""What a receipt says: frozen, in both languages, with the evidence behind it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mosu.kernel.digests import sha256_of
from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.kernel.units import many_units
from mosu.market import rules
from mosu.market.models import Charge, Order, Quote, Receipt, SoldBy, UsageRecord
from mosu.subsidies.services import Share, Source, Split

CODE_CHARACTERS = 16


def receipt_content(
    *,
    number: str,
    order: Order,
    quote: Quote,
    charges: Sequence[Charge],
    split: Split,
    why: str,
    claimed: Mapping[str, int],
    now: datetime,
) -> dict[str, Any]:
    """The receipt as JSON of strings, integers and None: total = voucher_share + paid.

    `paid` is the buyer's own part, which the supplier bills itself when `billed_by` says so. `released` is what
    of the holds came back. `claimed` is what the supplier said beside what is charged, such as how long a service was
    up.
    """
    currency = order.currency
    total = sum(charge.amount_micros for charge in charges)
    return {
        "number": number,
        "issued_at": _time(now),
        "order": {"id": order.public_id, "number": order.number, "placed_at": _time(order.placed_at)},
        "outcome": str(order.outcome),
        "why": why,
        "currency": currency,
        "buyer": {"id": quote.organisation.public_id, "name": quote.organisation.name},
        "seller": quote.terms["supplier"],
        "billed_by": quote.terms["sold_by"],
        "lines": [_line(charge, quote=quote, currency=currency) for charge in charges],
        "total": decimal_of(total, currency=currency),
        "credited": decimal_of(sum(charge.credited_micros for charge in charges), currency=currency),
        "split": [share_json(share, currency=currency) for share in split.shares],
        "voucher_share": decimal_of(split.voucher_now_micros, currency=currency),
        "paid": decimal_of(total - split.voucher_now_micros, currency=currency),
        "released": decimal_of(_released(quote, split), currency=currency),
        "tax": {
            "rate": percent_of(quote.terms["tax"]["rate_bp"]),
            "included": quote.terms["tax"]["included"],
            "amount": decimal_of(sum(charge.tax_micros for charge in charges), currency=currency),
        },
        "evidence": _evidence(order, charges),
        **({"claimed": dict(claimed)} if claimed else {}),
    }


def share_json(share: Share, *, currency: str) -> dict[str, Any]:
    """One share as the API and the receipt show it."""
    return {
        "source": share.source.value,
        "voucher_id": typeid("voucher", share.voucher_id) if share.voucher_id else None,
        "programme": {
            "id": typeid("programme", share.programme_id),
            "version": share.programme_version,
            "title": {"zh": share.title_zh, "en": share.title_en},
        }
        if share.programme_id
        else None,
        "rate": share.rate,
        "limit": decimal_of(share.limit_micros, currency=currency),
        "amount": decimal_of(share.amount_micros, currency=currency),
        "label": {"zh": share.title_zh, "en": share.title_en},
    }


def percent_of(rate_bp: int) -> str:
    """A rate as a decimal string: 600 basis points are "0.06"."""
    return f"{rate_bp // 10_000}.{rate_bp % 10_000:04d}".rstrip("0").rstrip(".")


def goods_text(quote: Quote) -> dict[str, str]:
    """What was quoted, as a receipt's lines name it, in each language."""
    title, own = quote.terms["title"], quote.facts.get("told")
    return {tongue: f"{title[tongue]} · {own[tongue]}" if own else title[tongue] for tongue in ("zh", "en")}


def _released(quote: Quote, split: Split) -> int:
    """What of the holds came back: vouchers always, the buyer's own money when the hub held it."""
    frozen = Split.from_json(quote.split)
    vouchers = sum(share.limit_micros for share in frozen.shares if share.source is Source.VOUCHER)
    back = vouchers - split.voucher_now_micros
    if quote.terms["sold_by"] == SoldBy.HUB:
        back += frozen.pay_hold_micros - split.pay_now_micros
    return back


def _line(charge: Charge, *, quote: Quote, currency: str) -> dict[str, Any]:
    line = charge.order_line
    goods, unit = goods_text(quote), many_units(line.unit)
    return {
        "text": {tongue: f"{goods[tongue]} · {unit[tongue]}" for tongue in goods},
        "quantity": rules.quantity_text(charge.quantity, per=line.per),
        "unit": line.unit,
        "unit_price": decimal_of(line.unit_price_micros, currency=currency),
        "amount": decimal_of(charge.amount_micros, currency=currency),
        "meter": line.meter,
        "metered": charge.quantity,
        "units": line.units,
    }


_DIGESTED: Final = (
    *("order_line_id", "sequence", "quantity", "quantity_accepted", "state", "quantity_observed"),
)


def _evidence(order: Order, charges: Sequence[Charge]) -> dict[str, Any]:
    """What the amounts can be followed back to; `usage_sha256` is over all records of usage in order."""
    rows = UsageRecord.objects.filter(order_line__order=order).order_by("order_line_id", "sequence")
    usage = list(rows.only(*_DIGESTED))
    return {
        "quote_id": typeid("quote", order.quote_id),
        "charge_ids": [charge.public_id for charge in charges],
        "usage_records": len(usage),
        "usage_sha256": usage_digest(usage),
    }


def usage_digest(records: Iterable[UsageRecord]) -> str:
    """The sha256 over an order's records of usage, by line and sequence; what the hub observed, where it did."""
    return sha256_of(
        [
            [str(one.order_line_id), one.sequence, one.quantity, one.quantity_accepted, str(one.state)]
            + ([] if one.quantity_observed is None else [one.quantity_observed])
            for one in records
        ]
    )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def code_of(receipt: Receipt) -> str:
    """What a holder of the receipt proves to have it by: the head of its sha256, which nobody else can know."""
    return receipt.sha256[:CODE_CHARACTERS]
