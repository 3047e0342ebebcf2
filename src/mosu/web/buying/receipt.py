"""What each amount of a receipt rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from mosu.kernel.digests import sha256_of
from mosu.kernel.money import micros_of
from mosu.ledger.models import Posting
from mosu.ledger.queries import postings_about
from mosu.market import rules
from mosu.market.models import Receipt, UsageRecord
from mosu.market.queries import usage_visible_to
from mosu.market.receipts import usage_digest
from mosu.platform.actors import Actor
from mosu.subsidies.models import ProgrammeVersion, Voucher
from mosu.subsidies.queries import vouchers_visible_to
from mosu.subsidies.services import Split
from mosu.web.presenters import Bilingual

RECORDS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class LineEvidence:
    """What one line of a receipt rests on: records of usage, the frozen price, and the sum made again."""

    number: int
    text: Bilingual
    meter: str
    unit: str
    price: int
    per: int
    metered: int
    reported: int
    """What the supplier's engine reported, whatever of it counts."""
    observed: int | None
    """The most that the hub itself can have seen used; None where it sees nothing."""
    records: Sequence[UsageRecord]
    records_more: int
    quarantined: int
    recomputed: int
    amount: int
    credited: bool

    @property
    def agrees(self) -> bool:
        return self.recomputed == self.amount


@dataclass(frozen=True, slots=True)
class ShareEvidence:
    """What a voucher's part rests on: the programme's version, its rate and limit."""

    number: int
    label: Bilingual
    source: str
    amount: int
    limit: int
    rate: str
    voucher_id: str
    programme_code: str
    version: int
    version_sha256: str
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a receipt can be followed back to."""

    lines: Sequence[LineEvidence]
    shares: Sequence[ShareEvidence]
    postings: Sequence[Posting]
    quote_id: str
    quoted_at: datetime
    usage_records: int
    usage_agrees: bool
    content_agrees: bool


def evidence_of(actor: Actor, receipt: Receipt) -> Evidence:
    """The receipt followed back, its sums and hashes made again; a fixed number of queries."""
    order, content = receipt.order, receipt.content
    records = list(usage_visible_to(actor, order.id))
    quote = order.quote
    vouchers = {
        voucher.public_id: voucher
        for voucher in vouchers_visible_to(actor).filter(
            id__in=[share.voucher_id for share in Split.from_json(quote.split).shares if share.voucher_id]
        )
    }
    accounts = [voucher.account_id for voucher in vouchers.values() if voucher.account_id]
    return Evidence(
        lines=[
            _line_evidence(number, line, frozen, records, content)
            for number, (line, frozen) in enumerate(
                zip(content["lines"], rules.lines_of_json(quote.lines), strict=False), start=1
            )
        ],
        shares=[
            _share_evidence(number, share, vouchers)
            for number, share in enumerate(content["split"], start=1)
            if share["voucher_id"]
        ],
        postings=list(postings_about(actor, order.id, also=accounts)),
        quote_id=quote.public_id,
        quoted_at=quote.created_at,
        usage_records=content["evidence"]["usage_records"],
        usage_agrees=usage_digest(records) == content["evidence"]["usage_sha256"],
        content_agrees=sha256_of(content) == receipt.sha256,
    )


def _line_evidence(
    number: int,
    line: Mapping[str, Any],
    frozen: rules.QuotedLine,
    records: Sequence[UsageRecord],
    content: Mapping[str, Any],
) -> LineEvidence:
    own = [record for record in records if record.order_line.public_id == frozen.id]
    accepted = sum(record.quantity_accepted for record in own)
    credited = content["outcome"] == "platform_failure"
    return LineEvidence(
        number=number,
        text=line["text"],
        meter=frozen.meter,
        unit=frozen.unit,
        price=frozen.unit_price_micros,
        per=frozen.per,
        metered=accepted,
        reported=sum(record.quantity for record in own),
        observed=max(
            (one.quantity_observed for one in own if one.quantity_observed is not None), default=None
        ),
        records=own[:RECORDS_MAX],
        records_more=max(0, len(own) - RECORDS_MAX),
        quarantined=sum(record.quantity - record.quantity_accepted for record in own),
        recomputed=0
        if credited
        else rules.amount_of(accepted, frozen.price, currency=str(content["currency"])),
        amount=micros_of(line["amount"]),
        credited=credited,
    )


def _share_evidence(number: int, share: Mapping[str, Any], vouchers: Mapping[str, Voucher]) -> ShareEvidence:
    voucher = vouchers.get(share["voucher_id"])
    version: ProgrammeVersion | None = voucher.version if voucher else None
    return ShareEvidence(
        number=number,
        label=share["label"],
        source=share["source"],
        amount=micros_of(share["amount"]),
        limit=micros_of(share["limit"]),
        rate=f"{(Decimal(share['rate'] or 0) * 100).normalize():f}%",
        voucher_id=share["voucher_id"],
        programme_code=version.programme.code if version else "",
        version=share["programme"]["version"],
        version_sha256=version.sha256 if version else "",
        released_at=version.released_at if version else None,
    )
