"""What of the ledger waits on whom."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, QuerySet

from mosu.kernel.time import last_days
from mosu.ledger.models import Deposit, DepositState, Payout, PayoutState
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.waiting import Turn, Waiting, arm, gathered


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Deposits, refunds and payouts; one query. Nobody confirms their own: those wait on others."""
    found = [*_deposits(actor), *_payouts(actor, now)]
    if allows(actor, "deposit.propose"):
        found.append(arm(Deposit.objects.all(), kind="hub.deposit", turn=Turn.DONE, subject=F("id"))[:1])
    return gathered(found)


def _deposits(actor: Actor) -> list[QuerySet[Any, Any]]:
    found = []
    steps = (
        ("deposit", DepositState.PROPOSED, "maker", "proposed_at"),
        ("refund", DepositState.REFUNDING, "refund_maker", "decided_at"),
    )
    for what, state, maker, since in steps:
        rows = Deposit.objects.filter(state=state)
        columns: Any = {"subject": "id", "since": since}
        if allows(actor, "deposit.confirm"):
            found.append(_arm(rows.exclude(**{maker: actor.id}), f"{what}.confirm", Turn.YOURS, **columns))
            rows = rows.filter(**{maker: actor.id})
        elif not allows(actor, "deposit.propose"):
            rows = rows.filter(organisation__in=actor.organisation_ids)
        found.append(_arm(rows, f"{what}.awaited", Turn.OTHERS, **columns))
    return found


def _payouts(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    """Each by what it pays: its page is the statement's."""
    found = []
    waits = Payout.objects.filter(state=PayoutState.PROPOSED)
    columns: Any = {"subject": "subject_id", "since": "proposed_at"}
    if allows(actor, "payout.confirm"):
        found.append(_arm(waits.exclude(maker=actor.id), "payout.confirm", Turn.YOURS, **columns))
        waits = waits.filter(maker=actor.id)
    elif not allows(actor, "payout.propose"):
        waits = waits.filter(organisation__in=actor.organisation_ids)
    found.append(_arm(waits, "payout.awaited", Turn.OTHERS, **columns))
    if actor.organisation_ids:
        paid = Payout.objects.filter(
            state=PayoutState.CONFIRMED,
            organisation__in=actor.organisation_ids,
            decided_at__gte=last_days(1, now=now, zone=ZoneInfo(settings.HUB_ZONE)).start,
        )
        found.append(_arm(paid, "payout.paid", Turn.DONE, subject="subject_id", since="decided_at"))
    return found


def _arm(rows: QuerySet[Any], kind: str, turn: Turn, *, subject: str, since: str) -> QuerySet[Any, Any]:
    return arm(
        rows,
        kind=kind,
        turn=turn,
        subject=F(subject),
        title=F("bank_reference"),
        who=F("organisation__name"),
        amount=F("amount_micros"),
        since=F(since),
    )
