"""What of the counter waits on whom."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.fields.json import KT
from django.utils.translation import get_language

from mosu.kernel.time import last_days
from mosu.ledger.models import Payout, PayoutState
from mosu.market.hub import hub_zone
from mosu.market.models import (
    CreditNote,
    CreditNoteState,
    ImportState,
    Offer,
    OfferImport,
    Order,
    Quote,
    QuoteState,
    Receipt,
    Statement,
)
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_where
from mosu.platform.waiting import Turn, Waiting, arm, gathered

QUOTES_SHOWN: Final = 3
RECEIPTS_SHOWN: Final = 10
INVOICE_WITHIN: Final = timedelta(days=14)
"""So long a statement reminds its supplier of what it invoices itself; the hub does not hear of the invoice."""


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Quotes, receipts, the last order, imports that are held back, statements to pay, credit notes; one query."""
    return gathered(
        [*_of_members(actor, now), *_held(actor), *_statements(actor, now), *_credit_notes(actor, now)]
    )


def _statements(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    """Those without a payout: the operator's to pay, the supplier's to wait for; and what the supplier invoices."""
    paid = Payout.objects.filter(subject_id=OuterRef("id")).exclude(state=PayoutState.REJECTED)
    unpaid = Statement.objects.filter(~Exists(paid), net_micros__gt=0)
    columns: Any = {
        "subject": F("id"),
        "title": F("number"),
        "who": F("supplier__name"),
        "since": F("issued_at"),
        "order": "issued_at",
    }
    found = []
    if allows(actor, "payout.propose"):
        found.append(arm(unpaid, kind="statement.pay", turn=Turn.YOURS, amount=F("net_micros"), **columns))
    own = actor.organisation_ids
    if not own:
        return found
    to_invoice = Statement.objects.filter(
        supplier__in=own, to_invoice_micros__gt=0, issued_at__gt=now - INVOICE_WITHIN
    )
    return [
        *found,
        arm(
            unpaid.filter(supplier__in=own),
            kind="statement.awaited",
            turn=Turn.OTHERS,
            amount=F("net_micros"),
            **columns,
        ),
        arm(
            to_invoice,
            kind="statement.invoice",
            turn=Turn.YOURS,
            amount=F("to_invoice_micros"),
            **columns,
        ),
    ]


def _credit_notes(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    """Those that wait for their second person, and for whose they are, those of today."""
    columns: Any = {
        "subject": F("id"),
        "title": F("receipt__number"),
        "who": F("organisation__name"),
        "amount": F("amount_micros"),
    }
    found, own = [], actor.organisation_ids
    waits = CreditNote.objects.filter(state=CreditNoteState.PROPOSED)
    if allows(actor, "credit.issue"):
        others = waits.exclude(maker=actor.id)
        found.append(
            arm(others, kind="credit.issue", turn=Turn.YOURS, since=F("proposed_at"), **columns),
        )
        waits = waits.filter(maker=actor.id)
    elif not allows(actor, "credit.propose"):
        waits = waits.filter(organisation__in=own)
    found.append(arm(waits, kind="credit.issue_awaited", turn=Turn.OTHERS, since=F("proposed_at"), **columns))
    if own:
        issued = CreditNote.objects.filter(
            Q(organisation__in=own) | Q(supplier__in=own),
            state=CreditNoteState.ISSUED,
            decided_at__gte=last_days(1, now=now, zone=hub_zone()).start,
        )
        found.append(arm(issued, kind="credit.read", turn=Turn.DONE, since=F("decided_at"), **columns))
    return found


def _held(actor: Actor) -> list[QuerySet[Any, Any]]:
    """Imports with rows that the hub's operator may let through: for the operator, and for whose offers they are."""
    rows = OfferImport.objects.filter(state=ImportState.PREVIEWED, held__gt=0)
    columns: Any = {
        "subject": F("id"),
        "title": F("filename"),
        "who": F("supplier__name"),
        "since": F("created_at"),
        "count": F("held"),
        "order": "created_at",
    }
    if allows(actor, "import.release"):
        return [arm(rows, kind="import.release", turn=Turn.YOURS, **columns)]
    mine = organisations_where(actor, "offer.manage")
    if not mine:
        return []
    return [arm(rows.filter(supplier__in=mine), kind="import.release_awaited", turn=Turn.OTHERS, **columns)]


def _of_members(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    own = actor.organisation_ids
    if not own:
        return []
    midnight = last_days(1, now=now, zone=hub_zone()).start
    zh = (get_language() or "").startswith("zh")
    quotes = Quote.objects.filter(organisation__in=own, state=QuoteState.OPEN, valid_until__gt=now)
    receipts = Receipt.objects.filter(organisation__in=own, issued_at__gte=midnight)
    return [
        arm(
            quotes,
            kind="quote.accept",
            turn=Turn.YOURS,
            subject=F("id"),
            title=KT(f"terms__title__{'zh' if zh else 'en'}"),
            who=KT("terms__supplier__name"),
            amount=F("total_max_micros"),
            since=F("created_at"),
            due=F("valid_until"),
            order="valid_until",
        )[:QUOTES_SHOWN],
        arm(
            receipts,
            kind="receipt.read",
            turn=Turn.DONE,
            subject=F("id"),
            title=F("number"),
            who=F("organisation__name"),
            amount=F("order__total_micros"),
            since=F("issued_at"),
            order="-issued_at",
        )[:RECEIPTS_SHOWN],
        arm(
            Order.objects.filter(organisation__in=own),
            kind="order.last",
            turn=Turn.DONE,
            subject=F("id"),
            title=F("number"),
            since=F("placed_at"),
            order="-placed_at",
        )[:1],
        # Sorted by the supplier, whose index finds that there is none; sorted by id, all offers of the hub are read.
        arm(
            Offer.objects.filter(supplier__in=own),
            kind="offer.any",
            turn=Turn.DONE,
            subject=F("id"),
            order="supplier_id",
        )[:1],
    ]
