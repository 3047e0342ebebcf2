"""What the books say of an order: journal entries and postings, the receipt, the records of its moves."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.digests import sha256_of
from mosu.kernel.money import micros_of
from mosu.ledger import rules as ledger_rules
from mosu.ledger.models import JournalEntry
from mosu.ledger.services import faults_of
from mosu.market import rules as market_rules
from mosu.market.models import SoldBy
from mosu.market.receipts import goods_text
from mosu.subsidies.rules import RedemptionState
from mosu.subsidies.services import Source, Split, split_at
from mosu.web.audit.checks import (
    NOT_SETTLED,
    TITLES,
    Check,
    Link,
    differences,
    faultless,
    same,
    same_sum,
    side_by_side,
    unknown,
)
from mosu.web.audit.evidence import Evidence


def journal_link(e: Evidence) -> Link:
    """The entries and postings of the order: balanced, chained, and what was to be moved."""
    postings, entries = e.postings, [*e.entries, *e.grants]
    checks = [
        faultless(
            "entry.digest",
            _lazy("Each entry's digest, recomputed from what it says"),
            (entry.public_id for entry in entries if _digest(entry) != entry.digest),
            of=len(entries),
        ),
        faultless(
            "entry.balance",
            _lazy("Each entry's postings are its moves, and sum to nothing"),
            (entry.public_id for entry in entries if not _balances(entry)),
            of=len(entries),
        ),
        faultless(
            "posting.chain",
            _lazy("Each posting's hash, recomputed and following the one before it"),
            _broken(e),
            of=len(postings),
        ),
        _sealed(e),
    ]
    if e.receipt is not None:
        checks += _paid(e)
    return Link("journal", TITLES["journal"], checks)


def _digest(entry: JournalEntry) -> str:
    return ledger_rules.digest_of(
        key=entry.key,
        kind=entry.kind,
        moves=_moves_of(entry),
        subject_id=entry.subject_id,
        memo=entry.memo,
        hold_id=entry.hold_id,
        reverses_id=entry.reverses_id,
    )


def _moves_of(entry: JournalEntry) -> list[ledger_rules.Move]:
    return [ledger_rules.Move(UUID(source), UUID(to), amount) for source, to, amount in entry.moves]


def _balances(entry: JournalEntry) -> bool:
    posted = {posting.account_id: posting.amount_micros for posting in entry.postings.all()}
    return posted == ledger_rules.net_by_account(_moves_of(entry)) and sum(posted.values()) == 0


def _broken(e: Evidence) -> Iterable[str]:
    for posting in e.postings:
        before = e.before.get((posting.account_id, posting.sequence - 1))
        if before is None and posting.sequence > 1:
            yield f"{posting.account.public_id}: {posting.sequence - 1}"
            continue
        yield from faults_of(
            posting,
            sequence=before.sequence if before else 0,
            balance_micros=before.balance_after_micros if before else 0,
            head=before.hash if before else ledger_rules.GENESIS,
        )


def _sealed(e: Evidence) -> Check:
    title = _lazy("The days of the entries are sealed by a published head")
    last = max((entry.posted_at for entry in (*e.entries, *e.grants)), default=None)
    if last is None:
        return unknown("entry.sealed", title, _("nothing to check"))
    if e.sealed_until is None or last >= e.sealed_until:
        return unknown("entry.sealed", title, _("not yet: a day is sealed when it is over"))
    return Check("entry.sealed", title, holds=True, found=e.sealed_until.isoformat())


def _paid(e: Evidence) -> list[Check]:
    """What moved is what was charged: from vouchers, from the buyer's own, and the hub's fee on both."""
    currency, total = e.order.currency, e.order.total_micros or 0
    actual = split_at(Split.from_json(e.quote.split), total)
    by_hub = e.quote.terms["sold_by"] == SoldBy.HUB
    captured = [one for one in e.redemptions if one.state == RedemptionState.CAPTURED]
    from_vouchers = sum(one.amount_micros or 0 for one in captured)
    own = actual.pay_now_micros if by_hub else 0
    now = sum(one.amount_micros or 0 for one in captured if one.source == Source.VOUCHER)
    fee = market_rules.fee_of(now + own, rate_bp=e.quote.terms["fee_bp"], currency=currency)
    return [
        same_sum(
            "paid.vouchers",
            _lazy("What left vouchers in the ledger is what their redemptions say"),
            _moved(e, "voucher.captured"),
            from_vouchers,
            currency=currency,
        ),
        same_sum(
            "paid.own",
            _lazy("What left the buyer's own balance is its share of the charge"),
            _moved(e, "order.charge"),
            own,
            currency=currency,
        ),
        same_sum(
            "paid.fee",
            _lazy("The hub's fee is its frozen rate of what passed through"),
            _moved(e, "order.fee"),
            fee,
            currency=currency,
        ),
        faultless(
            "holds.closed",
            _lazy("Each hold is used up: captured and released are what was held"),
            [
                *(
                    hold.public_id
                    for hold in e.holds
                    if hold.captured_micros + hold.released_micros != hold.amount_micros
                    and not _waits(e, hold.id)
                ),
                *_captured_otherwise(e),
            ],
            of=len(e.holds),
        ),
    ]


def _waits(e: Evidence, hold_id: UUID) -> bool:
    """A refund that may still be claimed keeps its holds."""
    due = [one for one in e.redemptions if one.state == RedemptionState.DUE]
    return any(hold_id in (one.voucher_hold_id, one.cap_hold_id) for one in due)


def _captured_otherwise(e: Evidence) -> Iterable[str]:
    for hold in e.holds:
        taken = sum(
            amount for entry in e.entries if entry.hold_id == hold.id for _s, _d, amount in entry.moves
        )
        if taken != hold.captured_micros:
            yield hold.public_id


def _moved(e: Evidence, kind: str) -> int:
    return sum(amount for entry in e.entries if entry.kind == kind for _source, _to, amount in entry.moves)


def receipt_link(e: Evidence) -> Link:
    """The receipt against the charges and its own digest."""
    receipt = e.receipt
    if receipt is None:
        return Link("receipt", TITLES["receipt"], [], NOT_SETTLED)
    content, currency = receipt.content, e.order.currency
    charges = [e.charges[line.id] for line in e.lines if line.id in e.charges]
    said = sorted((line["meter"], line["metered"], micros_of(line["amount"])) for line in content["lines"])
    anew = sorted(
        (line.meter, e.charges[line.id].quantity, e.charges[line.id].amount_micros)
        for line in e.lines
        if line.id in e.charges
    )
    evidence = content["evidence"]
    return Link(
        "receipt",
        TITLES["receipt"],
        [
            same(
                "receipt.sha256",
                _lazy("Its sha256, recomputed from its content"),
                sha256_of(content),
                receipt.sha256,
            ),
            faultless(
                "receipt.lines",
                _lazy("Its lines are the charges"),
                [f"{found} ≠ {wanted}" for found, wanted in side_by_side(said, anew) if found != wanted],
                of=len(anew),
            ),
            same_sum(
                "receipt.total",
                _lazy("Its total is the order's"),
                micros_of(content["total"]),
                e.order.total_micros or 0,
                currency=currency,
            ),
            same_sum(
                "receipt.adds_up",
                _lazy("Vouchers and own money make its total"),
                micros_of(content["voucher_share"]) + micros_of(content["paid"]),
                micros_of(content["total"]),
                currency=currency,
            ),
            faultless(
                "receipt.names",
                _lazy("It names this order, quote, buyer and these charges"),
                differences(
                    "",
                    {
                        "number": (receipt.number, content["number"]),
                        "order": (content["order"]["id"], e.order.public_id),
                        "order number": (content["order"]["number"], e.order.number),
                        "buyer": (content["buyer"]["id"], e.order.organisation.public_id),
                        "seller": (content["seller"], e.quote.terms["supplier"]),
                        "quote": (evidence["quote_id"], e.quote.public_id),
                        "charges": (sorted(evidence["charge_ids"]), sorted(one.public_id for one in charges)),
                        "outcome": (content["outcome"], str(e.order.outcome)),
                        "goods": _goods(content, e, "en"),
                        "goods, zh": _goods(content, e, "zh"),
                    },
                ),
                of=1,
            ),
        ],
    )


def _goods(content: Mapping[str, Any], e: Evidence, tongue: str) -> tuple[set[str], set[str]]:
    """What the receipt's lines name, and what was quoted."""
    return {line["text"][tongue].rpartition(" · ")[0] for line in content["lines"]}, {
        goods_text(e.quote)[tongue]
    }


def moves_link(e: Evidence) -> Link:
    """Every change of the order's state has its record, each going on from the one before."""
    befores = [record.before for record in e.moves]
    afters = [record.after for record in e.moves]
    return Link(
        "moves",
        TITLES["moves"],
        [
            same(
                "moves.follow",
                _lazy("Each record goes on from the one before"),
                befores,
                [None, *afters[:-1]],
            ),
            same(
                "moves.end",
                _lazy("The last one says what the order is now"),
                afters[-1] if afters else None,
                e.order.state,
            ),
        ],
    )
