"""All that stands behind one order, gathered once; `chain` decides on it without asking the database again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from mosu.compute.blocks import block_held
from mosu.compute.models import Attempt, Block
from mosu.compute.queries import observed_run
from mosu.ledger.models import Account, Hold, JournalEntry, Posting
from mosu.ledger.queries import day_heads, entries_about, holds_about, postings_before
from mosu.market.models import Charge, OfferPrice, Order, OrderLine, Quote, Receipt, UsageRecord
from mosu.market.queries import charges_of, lines_of, prices_at, usage_of
from mosu.platform.actors import Actor
from mosu.platform.models import AuditRecord, Fact
from mosu.platform.queries import audit_visible_to, facts_visible_to
from mosu.subsidies.models import Claim, Redemption
from mosu.subsidies.queries import claim_of, drawn_from, facts_of, redemptions_of

GRANTED = "voucher.released"
"""The kind of the entry by which a programme's pool fills a voucher."""
RUNS_ON = "compute"
"""The shelf whose use the hub observes itself."""


@dataclass(frozen=True)
class Evidence:
    """The rows behind an order, as one query each found them."""

    order: Order
    quote: Quote
    prices: Mapping[str, OfferPrice]
    """Of the offer, by meter, in force when the quote was made."""
    lines: Sequence[OrderLine]
    charges: Mapping[UUID, Charge]
    """By line; none before the settlement."""
    usage: Sequence[UsageRecord]
    attempts: Sequence[Attempt] | None
    """With allocations and cards; None where the hub observes nothing itself."""
    request: Mapping[str, Any]
    """What the run asked for, frozen."""
    block: Block | None
    """What the order bought, if it is one, with what it held and what of it was not delivered."""
    receipt: Receipt | None
    entries: Sequence[JournalEntry]
    """With their postings, those with their accounts."""
    grants: Sequence[JournalEntry]
    """By which the order's vouchers were filled from their programmes' pools."""
    before: Mapping[tuple[UUID, int], Posting]
    """The posting before each of theirs, by account and sequence."""
    sealed_until: datetime | None
    holds: Sequence[Hold]
    redemptions: Sequence[Redemption]
    drawn: Mapping[UUID, int]
    """What all orders took from each voucher."""
    claim: Claim | None
    facts: Mapping[UUID, Mapping[str, Any]]
    """By voucher: what clauses could ask of the organisation when it was made out."""
    fact_rows: Sequence[Fact]
    moves: Sequence[AuditRecord]
    """The audit records of the order's own moves, oldest first."""

    @property
    def postings(self) -> list[Posting]:
        return [posting for entry in (*self.entries, *self.grants) for posting in entry.postings.all()]

    @property
    def accounts(self) -> dict[UUID, Account]:
        return {posting.account_id: posting.account for posting in self.postings}


def evidence_of(actor: Actor, order: Order) -> Evidence:
    """What stands behind an order that the actor, one of the hub's people, may see; a fixed number of queries.

    `order` comes with its quote, organisation, offer and supplier, and its receipt.
    """
    redemptions = redemptions_of(actor, order.id)
    entries = entries_about(actor, order.id, *{one.voucher_id for one in redemptions})
    run = observed_run(actor, order.id) if order.shelf == RUNS_ON else None
    vouchers = {one.voucher_id: one.voucher for one in redemptions}
    lines = lines_of(order)
    return Evidence(
        order=order,
        quote=order.quote,
        prices=prices_at(order.offer_id, at=order.quote.created_at),
        lines=lines,
        charges=charges_of(lines),
        usage=usage_of(order),
        attempts=sorted(run.attempts.all(), key=lambda one: one.epoch) if run else None,
        request=run.request if run else {},
        block=block_held(actor, order.id) if order.shelf == RUNS_ON and run is None else None,
        receipt=getattr(order, "receipt", None),
        entries=[entry for entry in entries if entry.subject_id == order.id],
        grants=[entry for entry in entries if entry.kind == GRANTED],
        before=postings_before(
            [
                posting
                for entry in entries
                if entry.subject_id == order.id or entry.kind == GRANTED
                for posting in entry.postings.all()
            ]
        ),
        sealed_until=day_heads().values_list("ends_at", flat=True).first(),
        holds=holds_about(actor, order.id),
        redemptions=redemptions,
        drawn=drawn_from(list(vouchers)) if vouchers else {},
        claim=claim_of(actor, order.id) if redemptions else None,
        facts={key: facts_of(order.organisation, now=voucher.issued_at) for key, voucher in vouchers.items()},
        fact_rows=_facts(actor, order) if vouchers else [],
        moves=list(audit_visible_to(actor).filter(subject_id=order.id).order_by("id")),
    )


def _facts(actor: Actor, order: Order) -> list[Fact]:
    rows = facts_visible_to(actor).filter(
        organisation=order.organisation_id, recorded_at__lte=order.placed_at
    )
    return list(rows.select_related("recorded_by", "verified_by"))
