"""What of the compute shelf waits on whom."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import (
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce

from mosu.compute.models import Attempt, Blackout, Node, Pool, Run
from mosu.compute.queries import LIVE
from mosu.compute.states import AttemptState, BlackoutState, Fitness, NodeState, PoolState, RunState
from mosu.platform.actors import Actor
from mosu.platform.policy import allows
from mosu.platform.queries import organisations_where
from mosu.platform.waiting import Turn, Waiting, arm, gathered

BLACKOUT_WITHIN: Final = timedelta(days=14)


def waiting_for(actor: Actor, *, now: datetime) -> list[Waiting]:
    """Runs under way, pools that are silent, nodes that are down or unfit, attempts to fence; one query."""
    return gathered([*_of_operators(actor), *_of_members(actor), *_of_suppliers(actor, now)])


def _of_operators(actor: Actor) -> list[QuerySet[Any, Any]]:
    if not allows(actor, "attempt.fence"):
        return []
    return [
        arm(
            Attempt.objects.filter(state=AttemptState.UNREACHABLE),
            kind="attempt.fence",
            turn=Turn.YOURS,
            subject=F("id"),
            title=F("run__name"),
            who=F("pool__name"),
            since=F("last_contact_at"),
        )
    ]


def _of_members(actor: Actor) -> list[QuerySet[Any, Any]]:
    if not actor.organisation_ids:
        return []
    under_way = Run.objects.filter(
        organisation__in=actor.organisation_ids, state__in=[RunState.QUEUED, RunState.RUNNING]
    )
    # One's own sessions have a place of their own.
    under_way = under_way.exclude(state=RunState.RUNNING, request__kind="session", order__placed_by=actor.id)
    extended = Attempt.objects.filter(run=OuterRef("pk"), extended_s__gt=0).order_by("-epoch")
    limit_s = F("order__quote__wall_limit_s") + Coalesce(Subquery(extended.values("extended_s")[:1]), 0)
    limit = ExpressionWrapper(
        limit_s * Value(timedelta(seconds=1), output_field=DurationField()),
        output_field=DurationField(),
    )
    return [
        arm(
            under_way.filter(state=state),
            kind=kind,
            turn=Turn.UNDER_WAY,
            subject=F("order_id"),
            title=F("name"),
            who=F("pool__name"),
            amount=F("order__total_max_micros"),
            since=Coalesce("started_at", "created_at"),
            due=ExpressionWrapper(F("started_at") + limit, output_field=DateTimeField()),
            order="-id",
        )
        for state, kind in ((RunState.RUNNING, "run.running"), (RunState.QUEUED, "run.queued"))
    ]


def _of_suppliers(actor: Actor, now: datetime) -> list[QuerySet[Any, Any]]:
    managed = organisations_where(actor, "pool.manage") & actor.organisation_ids
    if not managed:
        return []
    silent = Pool.objects.filter(organisation__in=managed).exclude(state=PoolState.CLOSED)
    silent = silent.filter(Q(last_seen_at=None) | Q(last_seen_at__lt=now - LIVE))
    unwell = Q(state=NodeState.DOWN) | Q(fitness=Fitness.UNFIT)
    down = Node.objects.filter(unwell, pool__organisation__in=managed)
    ahead = Blackout.objects.filter(
        node__pool__organisation__in=managed,
        state=BlackoutState.SET,
        period__endswith__gt=now,
        period__startswith__lte=now + BLACKOUT_WITHIN,
    )
    return [
        arm(
            Pool.objects.filter(organisation__in=managed),
            kind="pool.any",
            turn=Turn.DONE,
            subject=F("id"),
        )[:1],
        arm(
            silent,
            kind="pool.wake",
            turn=Turn.YOURS,
            subject=F("id"),
            title=F("name"),
            who=F("organisation__name"),
            since=Coalesce("last_seen_at", "created_at"),
        ),
        arm(
            down,
            kind="node.mend",
            turn=Turn.YOURS,
            subject=F("pool_id"),
            title=F("name"),
            who=F("pool__name"),
        ),
        arm(
            ahead,
            kind="blackout.ahead",
            turn=Turn.UNDER_WAY,
            subject=F("node__pool_id"),
            title=F("node__name"),
            who=F("why"),
            since=F("period__startswith"),
            due=F("period__endswith"),
            order="period",
        ),
    ]
