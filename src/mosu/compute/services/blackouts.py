"""Blackouts: spans in which a supplier keeps a node for itself. What was sold before is not taken back."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Allocation, Blackout, Node
from mosu.compute.moves import move_blackout, record_made
from mosu.compute.placement import HORIZON
from mosu.compute.services.capacity import range_of
from mosu.compute.states import BlackoutKind, BlackoutState
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.time import Period
from mosu.platform.actors import Actor
from mosu.platform.policy import require

AHEAD_MAX = HORIZON * 26
WHY_MAX = 200


class AlreadyTaken(DomainError):
    """Something holds the node in that span: an order, or another blackout."""

    code = "already_taken"


@transaction.atomic
def set_blackout(
    *,
    actor: Actor,
    node_id: UUID,
    period: Period,
    why: str,
    now: datetime,
    kind: BlackoutKind = BlackoutKind.MAINTENANCE,
) -> Blackout:
    """Sell nothing of the node in `period`.

    Raises:
        AlreadyTaken: orders hold it, or another blackout; the hint says until when.
        Invalid: the span is empty, over already or further than a year ahead, or no reason is given.
        NotFound: there is no such node.
    """
    node = _locked(node_id)
    require(actor, "pool.manage", node.pool.organisation_id)
    _check(period, why, now=now)
    span = range_of(period)
    orders = Allocation.objects.filter(node=node, live=True, period__overlap=span).order_by("-period")
    # A live allocation past its period holds its share until it is released: its end is unknown.
    late = Allocation.objects.filter(node=node, live=True, period__fully_lt=range_of(Period(now, period.end)))
    held = orders.first() or late.first()
    if held is not None:
        raise AlreadyTaken(
            f"Orders hold {node.name} in that span.",
            hint=f"Drain the node first, and start after {held.period.upper:%Y-%m-%d %H:%M} UTC.",
            orders=orders.count() or 1,
            until=held.period.upper.isoformat(),
        )
    other = Blackout.objects.filter(node=node, state=BlackoutState.SET, period__overlap=span).first()
    if other is not None:
        raise AlreadyTaken(
            f"{node.name} has a blackout from {other.period.lower:%Y-%m-%d %H:%M} "
            f"to {other.period.upper:%Y-%m-%d %H:%M} UTC.",
            hint="Lift that one first, or choose another span.",
            until=other.period.upper.isoformat(),
        )
    blackout = Blackout.objects.create(node=node, period=span, kind=kind, why=why.strip(), created_at=now)
    record_made(blackout, actor=actor, now=now, why=why.strip())
    return blackout


@transaction.atomic
def lift_blackout(*, actor: Actor, blackout_id: UUID, now: datetime) -> Blackout:
    """Sell from the node again.

    Raises:
        IllegalMove: it is lifted already.
        NotFound: there is none.
    """
    blackout = Blackout.objects.select_related("node__pool").filter(id=blackout_id).first()
    if blackout is None:
        raise NotFound("There is no such blackout.", hint="See the pool's nodes.")
    require(actor, "pool.manage", blackout.node.pool.organisation_id)
    _locked(blackout.node_id)
    blackout.refresh_from_db(fields=["state"])
    move_blackout(blackout, to=BlackoutState.LIFTED, actor=actor, now=now)
    return blackout


def span_between(start: datetime, end: datetime) -> Period:
    """The span of a blackout from two instants that somebody gave.

    Raises:
        Invalid: it ends before it starts.
    """
    if end <= start:
        raise _no_span()
    return Period(start, end)


def _locked(node_id: UUID) -> Node:
    rows = Node.objects.select_for_update(of=("self",), no_key=True).select_related("pool")
    node = rows.filter(id=node_id).first()
    if node is None:
        raise NotFound("There is no such node.", hint="See the pool's nodes.")
    return node


def _check(period: Period, why: str, *, now: datetime) -> None:
    if period.end <= period.start or period.end <= now or period.start > now + AHEAD_MAX:
        raise _no_span()
    if not why.strip() or len(why.strip()) > WHY_MAX:
        raise Invalid("why: a reason is needed.", hint=f"Write 1 to {WHY_MAX} characters.", field="why")


def _no_span() -> Invalid:
    return Invalid(
        "This span cannot be kept.",
        hint="Let it end after it starts, later than now, and start within a year.",
        field="period",
    )
