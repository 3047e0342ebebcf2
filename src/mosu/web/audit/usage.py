"""What was used of an order: the charge, the usage behind it, and what the hub observed itself."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from mosu.compute.blocks import lost_s, period_of
from mosu.compute.models import Attempt, Block
from mosu.compute.services import attempt_epoch_of, seen_s
from mosu.compute.states import BlockState
from mosu.kernel.digests import sha256_of
from mosu.market import rules as market_rules
from mosu.market.blocks import BlockTerms, ended_early
from mosu.market.models import OrderLine, OrderState, Outcome, UsageRecord, UsageState
from mosu.web.audit.checks import NOT_SETTLED, TITLES, Link, differences, faultless, same, same_sum, unknown
from mosu.web.audit.evidence import Evidence
from mosu.web.audit.terms import price_of


def charge_link(e: Evidence) -> Link:
    """What each line was charged, computed again."""
    if e.order.state != OrderState.SETTLED:
        return Link("charge", TITLES["charge"], [], NOT_SETTLED)
    stored = e.charges
    total = sum(charge.amount_micros for charge in stored.values())
    return Link(
        "charge",
        TITLES["charge"],
        [
            faultless(
                "charge.lines",
                _lazy("Quantity, amount, tax and credit of each line come out the same"),
                _recomputed(e),
                of=len(e.lines),
            ),
            same_sum(
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
            quantity, price_of(line), outcome=Outcome(str(e.order.outcome)), currency=e.order.currency
        )
        fields = ("amount_micros", "tax_micros", "credited_micros")
        yield from differences(
            line.meter,
            {
                "quantity": (charge.quantity, quantity),
                **{field: (getattr(charge, field), getattr(anew, field)) for field in fields},
            },
        )


# Usage


def usage_link(e: Evidence) -> Link:
    """The usage records: whole, in turn, none twice."""
    lines = {line.id: line for line in e.lines}
    over = [line.meter for line in e.lines if used_on(e, line.id) > line.quantity_max]
    checks = [
        faultless(
            "usage.claims",
            _lazy("What counts is within the claim; what does not is quarantined with its reason"),
            (record.public_id for record in e.usage if not _sound(record)),
            of=len(e.usage),
        ),
        faultless(
            "usage.lines",
            _lazy("Each record is of a line of this order, and there once"),
            [
                *(
                    record.public_id
                    for record in e.usage
                    if record.order_line_id not in lines or not _of_line(record, lines[record.order_line_id])
                ),
                *_repeated(e),
            ],
            of=len(e.usage),
        ),
        faultless("usage.limit", _lazy("What counts is within the order's limit"), over, of=len(e.lines)),
    ]
    if e.receipt is not None:
        rows = sorted(e.usage, key=lambda one: (str(one.order_line_id), one.sequence))
        digest = sha256_of(
            [
                [str(one.order_line_id), one.sequence, one.quantity, one.quantity_accepted, one.state]
                + ([] if one.quantity_observed is None else [one.quantity_observed])
                for one in rows
            ]
        )
        seen = e.receipt.content["evidence"]
        checks += [
            same(
                "usage.count", _lazy("As many records as the receipt says"), len(rows), seen["usage_records"]
            ),
            same("usage.digest", _lazy("Their digest is the receipt's"), digest, seen["usage_sha256"]),
        ]
    return Link("usage", TITLES["usage"], checks)


def _of_line(record: UsageRecord, line: OrderLine) -> bool:
    return record.meter == line.meter and record.accepted_month == line.accepted_month


def _sound(record: UsageRecord) -> bool:
    least, most = sorted((0, record.quantity))  # a negative one takes back
    if record.end < record.start or not least <= record.quantity_accepted <= most:
        return False
    if record.state == UsageState.QUARANTINED:
        return bool(record.reason)
    return record.reason == "" and record.quantity_accepted == record.quantity


def _repeated(e: Evidence) -> list[str]:
    keys = [(record.order_line_id, record.meter, record.sequence) for record in e.usage]
    return [str(sequence) for line, meter, sequence in set(keys) if keys.count((line, meter, sequence)) > 1]


# What the hub observed


def observed_link(e: Evidence) -> Link:
    """The attempts and allocations against what was claimed; of a block, its hours against what it held."""
    if e.block is not None:
        return _block_link(e, e.block)
    if e.attempts is None:
        return Link(
            "observed",
            TITLES["observed"],
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
        TITLES["observed"],
        [
            faultless(
                "observed.attempts",
                _lazy("What counts is of an attempt that the hub handed out"),
                late,
                of=len(attempts),
            ),
            faultless(
                "observed.bound",
                _lazy("What counts is within allocation × observed time"),
                over,
                of=len(attempts),
            ),
            faultless(
                "observed.allocation",
                _lazy("Each attempt held at least what was sold"),
                (one.public_id for one in e.attempts if not _held_enough(e, one)),
                of=len(attempts),
            ),
        ],
    )


def _block_link(e: Evidence, block: Block) -> Link:
    counted = {record.sequence: record.quantity_accepted for record in e.usage if record.quantity_accepted}
    return Link(
        "observed",
        TITLES["observed"],
        [
            same(
                "observed.block",
                _lazy("What counts is the block's time that was delivered, and what its rules keep"),
                _in_turn(counted),
                _in_turn(hours_of(e, block)),
            ),
            faultless(
                "observed.held",
                _lazy("The block held the nodes and units that were sold"),
                [] if _block_held_enough(block) else [block.public_id],
                of=1,
            ),
            faultless(
                "observed.losses",
                _lazy("What was not delivered lies within the block's time"),
                (
                    loss.node.name
                    for loss in block.losses.all()
                    if loss.since < block.period.lower or (loss.until or loss.since) > block.period.upper
                ),
                of=len(block.losses.all()),
            )
            if block.losses.all()
            else unknown(
                "observed.losses",
                _lazy("What was not delivered lies within the block's time"),
                _("nothing was lost"),
            ),
        ],
    )


def hours_of(e: Evidence, block: Block) -> dict[int, int]:
    """What counts of a block by the hub's own clock, in unit-seconds by record: what was had, what the rules keep."""
    period = period_of(block)
    if block.state == BlockState.ENDED:
        whole = block.units * int(period.duration.total_seconds())
        found = {0: max(0, whole - lost_s(block, now=period.end))}
    elif block.state == BlockState.CANCELLED and block.ended_at is not None:
        terms, at = BlockTerms.of_json(e.quote.terms["block"]), block.ended_at
        early = ended_early(terms, units=block.units, period=period, at=at, lost=lost_s(block, now=at))
        found = {0: early.used, 1: early.kept}
    else:
        found = {}
    return {sequence: quantity for sequence, quantity in found.items() if quantity}


def _in_turn(by_sequence: dict[int, int]) -> str:
    return ", ".join(str(by_sequence[sequence]) for sequence in sorted(by_sequence)) or "0"


def _block_held_enough(block: Block) -> bool:
    holds = [one for one in block.allocations.all() if one.attempt_id is None]
    if len({one.node_id for one in holds}) < block.nodes:
        return False
    held = sum(len(one.devices.all()) if block.cards else one.cores for one in holds)
    return held >= block.units


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
