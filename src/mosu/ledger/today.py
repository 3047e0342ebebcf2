"""What of the ledger waits on whom."""

from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet

from mosu.ledger.models import Deposit, DepositState
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.waiting import Turn, Waiting, arm, gathered


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Deposits and refunds to confirm; one query. Nobody confirms their own: those wait on others."""
    found = []
    steps = (
        ("deposit", DepositState.PROPOSED, "maker", "proposed_at"),
        ("refund", DepositState.REFUNDING, "refund_maker", "decided_at"),
    )
    for what, state, maker, since in steps:
        rows = Deposit.objects.filter(state=state)
        if allows(actor, "deposit.confirm"):
            found.append(_arm(rows.exclude(**{maker: actor.id}), f"{what}.confirm", Turn.YOURS, since))
            rows = rows.filter(**{maker: actor.id})
        elif not allows(actor, "deposit.propose"):
            rows = rows.filter(organisation__in=actor.organisation_ids)
        found.append(_arm(rows, f"{what}.awaited", Turn.OTHERS, since))
    if allows(actor, "deposit.propose"):
        found.append(arm(Deposit.objects.all(), kind="hub.deposit", turn=Turn.DONE, subject=F("id"))[:1])
    return gathered(found)


def _arm(rows: QuerySet[Deposit], kind: str, turn: Turn, since: str) -> QuerySet[Any, Any]:
    return arm(
        rows,
        kind=kind,
        turn=turn,
        subject=F("id"),
        title=F("bank_reference"),
        who=F("organisation__name"),
        amount=F("amount_micros"),
        since=F(since),
    )
