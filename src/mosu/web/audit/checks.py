"""Whether what stands behind an order holds: each link from posting to policy, each check by name.

Pure: a function of the `Evidence` alone. Where a check cannot be made, it says so and why; it never passes by default.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.compute.models import Attempt
from mosu.compute.services import attempt_epoch_of, seen_s
from mosu.kernel.digests import sha256_of
from mosu.kernel.money import decimal_of, floored, micros_of
from mosu.kernel.refusals import DomainError
from mosu.ledger import rules as ledger_rules
from mosu.ledger.models import JournalEntry
from mosu.ledger.services import faults_of
from mosu.market import rules as market_rules
from mosu.market.models import OrderState, Outcome, SoldBy, UsageRecord, UsageState
from mosu.subsidies.models import Redemption, Voucher
from mosu.subsidies.queries import terms_of
from mosu.subsidies.rules import RedemptionState, Terms, VersionState, parse_programme, results_of
from mosu.subsidies.services import Share, Source, Split, split_at
from mosu.web.audit.evidence import Evidence

Words = Any


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. `holds` None: it cannot be checked here, `found` says why."""

    code: str
    title: Words
    holds: bool | None
    found: str = ""
    expected: str = ""

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "fails", None: "unknown"}[self.holds]


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain with its checks; `note` says why there are none."""

    code: str
    title: Words
    checks: Sequence[Check]
    note: Words = ""

    @property
    def verdict(self) -> str:
        if any(check.holds is False for check in self.checks):
            return "fails"
        return "holds" if any(check.holds for check in self.checks) else "unknown"


@dataclass(frozen=True, slots=True)
class Chain:
    """The links from posting to policy."""

    links: Sequence[Link]

    @property
    def checks(self) -> list[Check]:
        return [check for link in self.links for check in link.checks]

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.holds is False]

    @property
    def held(self) -> int:
        return sum(check.holds is True for check in self.checks)

    @property
    def unknown(self) -> int:
        return sum(check.holds is None for check in self.checks)

    @property
    def holds(self) -> bool:
        return not self.failed


def chain_of(evidence: Evidence) -> Chain:
    """Every link of an order, checked."""
    return Chain([_made(code, link, evidence) for code, link in _LINKS.items()])


def _made(code: str, link: Callable[[Evidence], Link], evidence: Evidence) -> Link:
    """The link; where a row has not even the form that it should have, that is what it says."""
    try:
        return link(evidence)
    except (KeyError, TypeError, ValueError, ArithmeticError, DomainError) as error:
        unread = Check(
            f"{code}.form", _lazy("What is stored can be read"), holds=False, found=type(error).__name__
        )
        return Link(code, _TITLES[code], [unread])


_TITLES: Final = {
    "journal": _lazy("Journal entries and postings"),
    "charge": _lazy("Charge: recomputed from usage and the frozen price"),
    "usage": _lazy("Usage: claimed, counted, quarantined"),
    "observed": _lazy("Attempts and allocations: what the hub observed itself"),
    "quote": _lazy("Order lines and quote: frozen terms and split"),
    "vouchers": _lazy("Vouchers: made out by one person, released by another"),
    "programme": _lazy("Programme version: the policy itself"),
    "facts": _lazy("The organisation's facts at the time"),
    "receipt": _lazy("Receipt: what the buyer was told"),
    "moves": _lazy("Audit records of the order's moves"),
}


# How checks are made


def _all(code: str, title: Words, faults: Iterable[str], *, of: int) -> Check:
    """Holds if there are no faults among `of` things; none at all cannot be checked."""
    found = list(faults)
    if found:
        return Check(code, title, holds=False, found="; ".join(found[:3]))
    if not of:
        return Check(code, title, holds=None, found=_("nothing to check"))
    return Check(code, title, holds=True, found=str(of))


def _same(code: str, title: Words, found: object, expected: object) -> Check:
    return Check(code, title, holds=found == expected, found=str(found), expected=str(expected))


def _sum(code: str, title: Words, found: int, expected: int, *, currency: str) -> Check:
    """Two sums of money that must be one."""
    return _same(code, title, decimal_of(found, currency=currency), decimal_of(expected, currency=currency))


def _unknown(code: str, title: Words, why: str) -> Check:
    return Check(code, title, holds=None, found=why)


def _differences(name: str, pairs: Mapping[str, tuple[object, object]]) -> list[str]:
    return [
        f"{name}: {field} {found} ≠ {expected}"
        for field, (found, expected) in pairs.items()
        if found != expected
    ]


_NOT_SETTLED: Final = _lazy("the order is not settled")


# Journal entries and postings


def _journal(e: Evidence) -> Link:
    postings, entries = e.postings, [*e.entries, *e.grants]
    checks = [
        _all(
            "entry.digest",
            _lazy("Each entry's digest, recomputed from what it says"),
            (entry.public_id for entry in entries if _digest(entry) != entry.digest),
            of=len(entries),
        ),
        _all(
            "entry.balance",
            _lazy("Each entry's postings are its moves, and sum to nothing"),
            (entry.public_id for entry in entries if not _balances(entry)),
            of=len(entries),
        ),
        _all(
            "posting.chain",
            _lazy("Each posting's hash, recomputed and following the one before it"),
            _broken(e),
            of=len(postings),
        ),
        _sealed(e),
    ]
    if e.receipt is not None:
        checks += _paid(e)
    return Link("journal", _TITLES["journal"], checks)


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
        return _unknown("entry.sealed", title, _("nothing to check"))
    if e.sealed_until is None or last >= e.sealed_until:
        return _unknown("entry.sealed", title, _("not yet: a day is sealed when it is over"))
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
        _sum(
            "paid.vouchers",
            _lazy("What left vouchers in the ledger is what their redemptions say"),
            _moved(e, "voucher.captured"),
            from_vouchers,
            currency=currency,
        ),
        _sum(
            "paid.own",
            _lazy("What left the buyer's own balance is its share of the charge"),
            _moved(e, "order.charge"),
            own,
            currency=currency,
        ),
        _sum(
            "paid.fee",
            _lazy("The hub's fee is its frozen rate of what passed through"),
            _moved(e, "order.fee"),
            fee,
            currency=currency,
        ),
        _all(
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


# The charge


def _charge(e: Evidence) -> Link:
    if e.order.state != OrderState.SETTLED:
        return Link("charge", _TITLES["charge"], [], _NOT_SETTLED)
    stored = e.charges
    total = sum(charge.amount_micros for charge in stored.values())
    return Link(
        "charge",
        _TITLES["charge"],
        [
            _all(
                "charge.lines",
                _lazy("Quantity, amount, tax and credit of each line come out the same"),
                _recomputed(e),
                of=len(e.lines),
            ),
            _sum(
                "charge.total",
                _lazy("The order's total is the sum of its charges"),
                e.order.total_micros or 0,
                total,
                currency=e.order.currency,
            ),
        ],
    )


def used_on(e: Evidence, line_id: UUID) -> int:
    """What of a line's usage counts."""
    return sum(record.quantity_accepted for record in e.usage if record.order_line_id == line_id)


def _recomputed(e: Evidence) -> Iterable[str]:
    for line in e.lines:
        charge = e.charges.get(line.id)
        if charge is None:
            yield line.meter + ": " + _("no charge")
            continue
        quantity = used_on(e, line.id)
        anew = market_rules.charged(
            quantity, _price_of(line), outcome=Outcome(str(e.order.outcome)), currency=e.order.currency
        )
        fields = ("amount_micros", "tax_micros", "credited_micros")
        yield from _differences(
            line.meter,
            {
                "quantity": (charge.quantity, quantity),
                **{field: (getattr(charge, field), getattr(anew, field)) for field in fields},
            },
        )


# Usage


def _usage(e: Evidence) -> Link:
    lines = {line.id: line for line in e.lines}
    over = [line.meter for line in e.lines if used_on(e, line.id) > line.quantity_max]
    checks = [
        _all(
            "usage.claims",
            _lazy("What counts is within the claim; what does not is quarantined with its reason"),
            (record.public_id for record in e.usage if not _sound(record)),
            of=len(e.usage),
        ),
        _all(
            "usage.lines",
            _lazy("Each record is of a line of this order, and there once"),
            [
                *(
                    record.public_id
                    for record in e.usage
                    if record.order_line_id not in lines or record.meter != lines[record.order_line_id].meter
                ),
                *_repeated(e),
            ],
            of=len(e.usage),
        ),
        _all("usage.limit", _lazy("What counts is within the order's limit"), over, of=len(e.lines)),
    ]
    if e.receipt is not None:
        rows = sorted(e.usage, key=lambda one: (str(one.order_line_id), one.sequence))
        digest = sha256_of(
            [
                [str(one.order_line_id), one.sequence, one.quantity, one.quantity_accepted, one.state]
                for one in rows
            ]
        )
        seen = e.receipt.content["evidence"]
        checks += [
            _same(
                "usage.count", _lazy("As many records as the receipt says"), len(rows), seen["usage_records"]
            ),
            _same("usage.digest", _lazy("Their digest is the receipt's"), digest, seen["usage_sha256"]),
        ]
    return Link("usage", _TITLES["usage"], checks)


def _sound(record: UsageRecord) -> bool:
    if record.end < record.start or not 0 <= record.quantity_accepted <= record.quantity:
        return False
    if record.state == UsageState.QUARANTINED:
        return bool(record.reason)
    return record.reason == "" and record.quantity_accepted == record.quantity


def _repeated(e: Evidence) -> list[str]:
    keys = [(record.order_line_id, record.meter, record.sequence) for record in e.usage]
    return [str(sequence) for line, meter, sequence in set(keys) if keys.count((line, meter, sequence)) > 1]


# What the hub observed


def _observed(e: Evidence) -> Link:
    if e.attempts is None:
        return Link(
            "observed",
            _TITLES["observed"],
            [],
            _lazy("This shelf observes nothing by itself: the claim is bounded by the order's limit."),
        )
    attempts = {one.epoch: one for one in e.attempts}
    used: dict[int, list[Any]] = {}
    for record in e.usage:
        if record.quantity_accepted:
            used.setdefault(attempt_epoch_of(record.sequence), []).append(record)
    late = [str(epoch) for epoch in used if epoch not in attempts]
    over = [
        f"{attempt.public_id}: {sum(one.quantity_accepted for one in used[epoch])} > {bound_of(e, attempt)}"
        for epoch, attempt in attempts.items()
        if epoch in used and sum(one.quantity_accepted for one in used[epoch]) > bound_of(e, attempt)
    ]
    return Link(
        "observed",
        _TITLES["observed"],
        [
            _all(
                "observed.attempts",
                _lazy("What counts is of an attempt that the hub handed out"),
                late,
                of=len(attempts),
            ),
            _all(
                "observed.bound",
                _lazy("What counts is within allocation × observed time"),
                over,
                of=len(attempts),
            ),
            _all(
                "observed.allocation",
                _lazy("Each attempt held at least what was sold"),
                (one.public_id for one in e.attempts if not _held_enough(e, one)),
                of=len(attempts),
            ),
        ],
    )


def bound_of(e: Evidence, attempt: Attempt) -> int:
    """The most that the hub can have seen used, in the line's own unit: units x seconds from start to last word.

    The last word is a heartbeat, a report, or the usage itself, by the hub's clock.
    """
    received = [
        record.received_at for record in e.usage if attempt_epoch_of(record.sequence) == attempt.epoch
    ]
    last = [at for at in (attempt.last_contact_at, *received) if at is not None]
    units = max((line.units for line in e.lines), default=0)
    return units * max(0, seen_s(attempt, until=max(last))) if last else 0


def _held_enough(e: Evidence, attempt: Attempt) -> bool:
    allocations = list(attempt.allocations.all())
    units = max((line.units for line in e.lines), default=0)
    if e.request.get("cards"):
        return sum(len(one.devices.all()) for one in allocations) >= units
    return sum(one.cores for one in allocations) >= units


# The quote


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


def _quote(e: Evidence) -> Link:
    order, quote = e.order, e.quote
    frozen = {line.meter: line for line in market_rules.lines_of_json(quote.lines)}
    split = Split.from_json(quote.split)
    faults = [] if set(frozen) == {line.meter for line in e.lines} else [_("other meters")]
    for line in e.lines:
        if line.meter in frozen:
            pairs = {field: (getattr(line, field), getattr(frozen[line.meter], field)) for field in _FROZEN}
            faults += _differences(line.meter, pairs)
    most = [
        line.meter
        for line in e.lines
        if line.amount_max_micros
        != market_rules.amount_of(line.quantity_max, _price_of(line), currency=quote.currency)
    ]
    sums = (
        sum(line.amount_max_micros for line in e.lines),
        order.total_max_micros,
        split.charge_micros,
        split.pay_now_micros + split.voucher_now_micros,
    )
    checks = [
        _all("quote.lines", _lazy("The order's lines are the quote's, frozen"), faults, of=len(e.lines)),
        _price_in_force(e),
        _all("quote.most", _lazy("The most of each line is its limit at its price"), most, of=len(e.lines)),
        _all(
            "quote.total",
            _lazy("Lines, order and split name one total"),
            [decimal_of(one, currency=quote.currency) for one in sums if one != quote.total_max_micros],
            of=len(sums),
        ),
        _all(
            "quote.terms",
            _lazy("It was accepted in time, by the same buyer, for the same offer"),
            _differences(
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
            _all(
                "quote.split",
                _lazy("The split at the actual charge, evaluated anew, is the receipt's"),
                [f"{found} ≠ {wanted}" for found, wanted in _pairs(said, anew) if found != wanted],
                of=len(anew),
            )
        )
    return Link("quote", _TITLES["quote"], checks)


def _pairs(found: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Side by side, also where one is longer."""
    longest = max(len(found), len(wanted))
    return list(
        zip(
            [*found, *[None] * (longest - len(found))],
            [*wanted, *[None] * (longest - len(wanted))],
            strict=True,
        )
    )


def _public(share: Share) -> str | None:
    return _voucher_name(share.voucher_id) if share.voucher_id else None


def _voucher_name(voucher_id: UUID) -> str:
    return Voucher(id=voucher_id).public_id


def _price_of(line: Any) -> market_rules.Price:
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
        return _unknown(
            "quote.price", title, _("converted from a foreign list price at the quote's dated rate")
        )
    faults = []
    for line in e.lines:
        price = e.prices.get(line.meter)
        if price is None:
            faults.append(line.meter + ": " + _("no price"))
            continue
        fields = ("unit", "per", "unit_price_micros")
        faults += _differences(line.meter, {one: (getattr(line, one), getattr(price, one)) for one in fields})
    return _all("quote.price", title, faults, of=len(e.lines))


# Vouchers, programmes, facts


_NO_PUBLIC_MONEY: Final = _lazy("No public money is in this order.")


def _vouchers(e: Evidence) -> Link:
    if not e.redemptions:
        frozen = [share for share in Split.from_json(e.quote.split).shares if share.voucher_id]
        checks = (
            [
                Check(
                    "voucher.shares",
                    _lazy("Each share of the quote has its redemption"),
                    holds=False,
                    found="0",
                    expected=str(len(frozen)),
                )
            ]
            if frozen
            else []
        )
        return Link("vouchers", _TITLES["vouchers"], checks, "" if checks else _NO_PUBLIC_MONEY)
    shares = {share.voucher_id: share for share in Split.from_json(e.quote.split).shares if share.voucher_id}
    digest = sha256_of({"quote_id": e.quote.public_id, "lines": e.quote.lines, "split": e.quote.split})
    count = len(e.redemptions)
    checks = [
        _all(
            "voucher.shares",
            _lazy("Each share of the quote has its redemption, as it was frozen"),
            _shares(e, shares),
            of=count,
        ),
        _all(
            "voucher.evidence",
            _lazy("Each redemption names the digest of this quote"),
            (one.public_id for one in e.redemptions if digest not in one.evidence),
            of=count,
        ),
        _all(
            "voucher.persons",
            _lazy("Each voucher has a maker and another person as checker, or was issued by rule"),
            (one.voucher.public_id for one in e.redemptions if not _two(one.voucher)),
            of=count,
        ),
        _all(
            "voucher.valid",
            _lazy("Each was the buyer's, released and not expired when the order was placed"),
            (one.voucher.public_id for one in e.redemptions if not _valid(e, one.voucher)),
            of=count,
        ),
        _all(
            "voucher.granted",
            _lazy("Each was filled once, from its programme's pool, with what it was made out for"),
            _granted_otherwise(e),
            of=count,
        ),
        _all(
            "voucher.amount",
            _lazy("No voucher gave more, to all orders together, than it was made out for"),
            (
                one.voucher.public_id
                for one in e.redemptions
                if e.drawn.get(one.voucher_id, 0) > one.voucher.amount_micros
            ),
            of=count,
        ),
    ]
    if e.order.state == OrderState.SETTLED:
        actual = {
            one.voucher_id: one.amount_micros
            for one in split_at(Split.from_json(e.quote.split), e.order.total_micros or 0).shares
        }
        checks.append(
            _all(
                "voucher.actual",
                _lazy("Each paid its share of the actual charge, within its hold"),
                (one.public_id for one in e.redemptions if not _paid_its_share(e, one, actual)),
                of=count,
            )
        )
    return Link("vouchers", _TITLES["vouchers"], checks)


def _granted_otherwise(e: Evidence) -> Iterable[str]:
    """Vouchers that the ledger filled with something else, or not once, or not from a pool."""
    for voucher in {one.voucher_id: one.voucher for one in e.redemptions}.values():
        moves = [
            (e.accounts[UUID(source)].kind, UUID(to), amount)
            for entry in e.grants
            if entry.subject_id == voucher.id
            for source, to, amount in entry.moves
        ]
        if moves != [("pool", voucher.account_id, voucher.amount_micros)]:
            yield voucher.public_id


def _shares(e: Evidence, shares: Mapping[UUID, Share]) -> Iterable[str]:
    if len(e.redemptions) != len(shares):
        yield f"{len(e.redemptions)} ≠ {len(shares)}"
    for one in e.redemptions:
        share = shares.get(one.voucher_id)
        if share is None or one.share != share.to_json() or one.source != share.source:
            yield one.public_id


def _two(voucher: Voucher) -> bool:
    if voucher.by_rule:
        return voucher.maker_id is None
    return None not in (voucher.maker_id, voucher.checker_id) and voucher.maker_id != voucher.checker_id


def _valid(e: Evidence, voucher: Voucher) -> bool:
    placed = e.order.placed_at
    return (
        voucher.organisation_id == e.order.organisation_id
        and voucher.released_at is not None
        and voucher.released_at <= placed
        and voucher.valid_from <= placed < voucher.expires_at
    )


def _paid_its_share(e: Evidence, one: Redemption, actual: Mapping[UUID | None, int]) -> bool:
    hold = next((hold for hold in e.holds if hold.id == one.voucher_hold_id), None)
    if hold is None or one.amount_micros is None or one.amount_micros > hold.amount_micros:
        return False
    if one.state == RedemptionState.RELEASED:
        # Nothing of it was needed, or nobody claimed it in time.
        return one.amount_micros == 0 and (actual.get(one.voucher_id) == 0 or one.source == Source.REFUND)
    captured = one.amount_micros if one.state == RedemptionState.CAPTURED else 0
    return one.amount_micros == actual.get(one.voucher_id) and hold.captured_micros == captured


def _programmes(e: Evidence) -> Link:
    if not e.redemptions:
        return Link("programme", _TITLES["programme"], [], _NO_PUBLIC_MONEY)
    versions = {one.voucher.version_id: one.voucher.version for one in e.redemptions}
    count = len(versions)
    return Link(
        "programme",
        _TITLES["programme"],
        [
            _all(
                "programme.sha256",
                _lazy("The file's sha256, recomputed"),
                (
                    one.public_id
                    for one in versions.values()
                    if hashlib.sha256(one.document.encode()).hexdigest() != one.sha256
                ),
                of=count,
            ),
            _all(
                "programme.terms",
                _lazy("The terms in force are what the file says, read anew"),
                (one.public_id for one in versions.values() if not _says(one)),
                of=count,
            ),
            _all(
                "programme.persons",
                _lazy("Proposed by one person, released by another, before the voucher"),
                (one.voucher.version.public_id for one in e.redemptions if not _released_by_two(one.voucher)),
                of=count,
            ),
            _all(
                "programme.rate",
                _lazy("Each share is within the programme's rate, its cap for one order and its shelves"),
                (
                    f"{one.voucher.version.programme.code}: {fault}"
                    for one in e.redemptions
                    for fault in _beyond(e, one)
                ),
                of=len(e.redemptions),
            ),
        ],
    )


def _says(version: Any) -> bool:
    try:
        read = parse_programme(version.document, source="programme.yaml", currency=settings.HUB_CURRENCY)
    except DomainError:
        return False
    same = sha256_of(read.to_json()) == sha256_of(version.terms)
    return same and version.pool_micros == read.pool_micros and version.number == read.version


def _released_by_two(voucher: Voucher) -> bool:
    version = voucher.version
    return (
        version.state == VersionState.RELEASED
        and None not in (version.maker_id, version.checker_id)
        and version.maker_id != version.checker_id
        and version.released_at is not None
        and version.proposed_at <= version.released_at <= voucher.issued_at
    )


def _beyond(e: Evidence, one: Redemption) -> Iterable[str]:
    terms: Terms = terms_of(one.voucher.version)
    share = Share.from_json(one.share)
    most = floored(Decimal(terms.rate) * e.quote.total_max_micros, currency=e.order.currency)
    if share.rate != terms.rate or share.limit_micros > most:
        yield f"{share.rate} ≠ {terms.rate}" if share.rate != terms.rate else _("above its rate")
    if share.programme_version != terms.version or share.programme_code != terms.code:
        yield _("another version")
    if terms.cap_per_order_micros is not None and share.limit_micros > terms.cap_per_order_micros:
        yield _("above its cap for one order")
    if e.order.shelf not in terms.shelves:
        yield _("does not cover this shelf")


def _facts(e: Evidence) -> Link:
    if not e.redemptions:
        return Link("facts", _TITLES["facts"], [], _NO_PUBLIC_MONEY)
    asked = [
        (one.voucher, result)
        for one in e.redemptions
        for result in results_of(terms_of(one.voucher.version).eligibility, e.facts[one.voucher_id])
    ]
    if not asked:
        return Link("facts", _TITLES["facts"], [], _lazy("These programmes ask for no facts."))
    same = [
        fact.public_id
        for fact in e.fact_rows
        if fact.verified_by_id and fact.verified_by_id == fact.recorded_by_id
    ]
    return Link(
        "facts",
        _TITLES["facts"],
        [
            _all(
                "facts.clauses",
                _lazy("Each clause of the programme held when the voucher was made out"),
                (result.clause.id for _voucher, result in asked if not result.passed),
                of=len(asked),
            ),
            _all(
                "facts.persons", _lazy("No fact was verified by who recorded it"), same, of=len(e.fact_rows)
            ),
            _unknown(
                "facts.kind",
                _lazy("The organisation's kind and capabilities at the time"),
                _("taken as they are today: see its audit records for changes"),
            ),
        ],
    )


# The receipt, and the order's own moves


def _receipt(e: Evidence) -> Link:
    receipt = e.receipt
    if receipt is None:
        return Link("receipt", _TITLES["receipt"], [], _NOT_SETTLED)
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
        _TITLES["receipt"],
        [
            _same(
                "receipt.sha256",
                _lazy("Its sha256, recomputed from its content"),
                sha256_of(content),
                receipt.sha256,
            ),
            _all(
                "receipt.lines",
                _lazy("Its lines are the charges"),
                [f"{found} ≠ {wanted}" for found, wanted in _pairs(said, anew) if found != wanted],
                of=len(anew),
            ),
            _sum(
                "receipt.total",
                _lazy("Its total is the order's"),
                micros_of(content["total"]),
                e.order.total_micros or 0,
                currency=currency,
            ),
            _sum(
                "receipt.adds_up",
                _lazy("Vouchers and own money make its total"),
                micros_of(content["voucher_share"]) + micros_of(content["paid"]),
                micros_of(content["total"]),
                currency=currency,
            ),
            _all(
                "receipt.names",
                _lazy("It names this order, quote, buyer and these charges"),
                _differences(
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
                        "goods": (
                            {line["text"]["en"].rpartition(" · ")[0] for line in content["lines"]},
                            {e.quote.terms["title"]["en"]},
                        ),
                        "goods, zh": (
                            {line["text"]["zh"].rpartition(" · ")[0] for line in content["lines"]},
                            {e.quote.terms["title"]["zh"]},
                        ),
                    },
                ),
                of=1,
            ),
        ],
    )


def _moves(e: Evidence) -> Link:
    """Every change of the order's state has its record, each going on from the one before."""
    befores = [record.before for record in e.moves]
    afters = [record.after for record in e.moves]
    return Link(
        "moves",
        _TITLES["moves"],
        [
            _same(
                "moves.follow",
                _lazy("Each record goes on from the one before"),
                befores,
                [None, *afters[:-1]],
            ),
            _same(
                "moves.end",
                _lazy("The last one says what the order is now"),
                afters[-1] if afters else None,
                e.order.state,
            ),
        ],
    )


_LINKS: Final[Mapping[str, Callable[[Evidence], Link]]] = {
    "journal": _journal,
    "charge": _charge,
    "usage": _usage,
    "observed": _observed,
    "quote": _quote,
    "vouchers": _vouchers,
    "programme": _programmes,
    "facts": _facts,
    "receipt": _receipt,
    "moves": _moves,
}
