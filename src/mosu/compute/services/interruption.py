"""Interruptible capacity: cheaper, since it gives way to orders at full price, after a notice.

To who pays in full, what an interruptible attempt holds is free `NOTICE` from now. When such an order takes it, the
attempt is told to stop (politely first: what it writes in the engine's grace is its checkpoint), its files come back,
and, if the task's `job_recovery` wants that, a new attempt goes on with them where there is room. An attempt still
starts at most once: the next one begins only after this one has ended.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from mosu.compute.models import Allocation, Attempt, Device
from mosu.compute.moves import notify_pool, notify_run
from mosu.compute.placement import HORIZON, Need, Placement, Unplaced
from mosu.compute.quotas import earliest_within
from mosu.compute.requests import RunRequest, request_of
from mosu.compute.services.attempts import locked_attempt
from mosu.compute.services.capacity import allocate, find_place, range_of, release
from mosu.compute.services.endings import fail_attempt
from mosu.compute.services.reports import INTERRUPTED
from mosu.compute.services.sharing import limits_of
from mosu.compute.states import HELD, AttemptState
from mosu.kernel.time import Period
from mosu.platform.actors import SYSTEM
from mosu.platform.each import on_each
from mosu.platform.services import notify, record_audit


def give_way(placement: Placement, *, need: Need, now: datetime) -> None:
    """Take from interruptible attempts what the placement needs; the caller holds the pool's lock.

    Who holds one of its cards gives way, then, youngest first, who is in the way of its cores and memory.
    """
    nodes = [share.node_id for share in placement.shares]
    held = Allocation.objects.filter(
        node_id__in=nodes, live=True, yields=True, period__overlap=range_of(placement.period)
    )
    rows = list(held.prefetch_related("devices").order_by("-id"))
    chosen: list[Allocation] = []
    for share in placement.shares if rows else ():
        here = [one for one in rows if one.node_id == share.node_id]
        wanted = list(Device.objects.filter(node_id=share.node_id, index__in=share.card_indices))
        leaving = [one for one in here if _holds_any(one, wanted)]
        others = [one for one in here if one not in leaving]
        while others and not _fits(share.node_id, need, placement.period, without=leaving):
            leaving.append(others.pop(0))
        chosen += leaving
    for attempt_id in sorted({one.attempt_id for one in chosen if one.attempt_id}):
        _interrupt(attempt_id, from_=placement.period.start, now=now)


def _holds_any(allocation: Allocation, wanted: Iterable[Device]) -> bool:
    """Whether it holds a part of one of the cards, which may have been cut anew since."""
    return any(
        held.card == one.card and held.part.lower < one.part.upper and one.part.lower < held.part.upper
        for held in allocation.devices.all()
        for one in wanted
    )


def _fits(node_id: UUID, need: Need, period: Period, *, without: Iterable[Allocation]) -> bool:
    """Whether cores and memory suffice; counted as if all that touches the period were held all through it."""
    ids = [one.id for one in without]
    held = Allocation.objects.filter(node_id=node_id, live=True, period__overlap=range_of(period))
    held = held.filter(Q(attempt=None) | Q(block=None))
    rows = list(held.exclude(id__in=ids).select_related("node"))
    if not rows:
        return True
    node = rows[0].node
    cores = sum(one.cores for one in rows)
    memory_bytes = sum(one.memory_bytes for one in rows)
    return cores + need.cores <= node.cores and memory_bytes + need.memory_bytes <= node.memory_bytes


def _interrupt(attempt_id: UUID, *, from_: datetime, now: datetime) -> None:
    """What it holds ends at `from_`; what has not started holds nothing until it is placed again.

    The attempt's row is not touched: whoever has its lock may wait for the node, which is locked here.
    """
    attempt = Attempt.objects.select_related("run__order").get(id=attempt_id)
    record_audit(
        actor=SYSTEM,
        action="attempt.interrupted",
        subject_id=attempt_id,
        before=attempt.state,
        after=attempt.state,
        now=now,
        organisation_id=attempt.run.organisation_id,
        why=INTERRUPTED,
    )
    if attempt.state not in HELD:
        release(attempt_id, now=now)
        return
    for allocation in Allocation.objects.filter(attempt_id=attempt_id, live=True).order_by("id"):
        period = range_of(Period(min(allocation.period.lower, from_), from_))
        allocation.devices.filter(live=True).update(period=period)
        Allocation.objects.filter(id=allocation.id).update(period=period, gave_way_at=now)
    notify_run(attempt.run_id)
    run = attempt.run
    notify(
        user_ids=[run.order.placed_by] if run.order.placed_by else [],
        kind="run.interrupted",
        title={
            "zh": f"{run.name or run.order.number}：被中断",
            "en": f"{run.name or run.order.number} is interrupted",
        },
        body={
            "zh": "可中断的资源让给了全价订单。作业已收到停止通知，结果会保存"
            + ("；有空位时接着运行。" if run.request.get("recovers") else "。"),
            "en": "Its interruptible place goes to an order at full price. It was told to stop; its outputs are saved"
            + ("; it goes on where there is room." if run.request.get("recovers") else "."),
        },
        now=now,
        link=f"/orders/{run.order.public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
    )


@transaction.atomic(durable=True)
def place_again(*, attempt_id: UUID, now: datetime) -> bool:
    """Find the first place for an attempt that waits without one; False: there is none in sight."""
    attempt = locked_attempt(attempt_id)
    if (
        attempt.state != AttemptState.WAITING
        or Allocation.objects.filter(attempt=attempt, live=True).exists()
    ):
        return True
    request = request_of(attempt)
    found = _place_within_quota(attempt, request, now=now)
    if not isinstance(found, Placement):
        return False
    allocate(attempt=attempt, need=request.need, placement=found)
    notify_pool(attempt.pool_id)
    return True


def _place_within_quota(attempt: Attempt, request: RunRequest, *, now: datetime) -> Placement | Unplaced:
    """The first place at a time at which others of its organisation leave it room in the quota.

    A quota that is too small for it since it was ordered does not end it: what was promised stays.
    """
    limits = limits_of(
        organisation_id=attempt.run.organisation_id,
        project_id=attempt.run.project_id,
        need=request.need,
        now=now,
        without=attempt.id,
        lock=True,
    )
    earliest = now
    while True:
        allowed = earliest_within(
            limits, units=request.need.held, earliest=earliest, duration=request.duration
        )
        found = find_place(
            pool_id=attempt.pool_id,
            need=request.need,
            earliest=allowed or now,
            latest=now + HORIZON,
            duration=request.duration,
            now=now,
        )
        if not isinstance(found, Placement) or allowed in (None, found.period.start):
            return found
        earliest = found.period.start


def place_interrupted(*, now: datetime) -> None:
    """Place all that wait for a place after an interruption; what finds none ends, and nothing is charged."""
    placed = Allocation.objects.filter(attempt=OuterRef("pk"), live=True)
    waiting = Attempt.objects.filter(~Exists(placed), state=AttemptState.WAITING).order_by("id")
    on_each(partial(_place_or_end, now=now), list(waiting.values_list("id", flat=True)))


def _place_or_end(attempt_id: UUID, *, now: datetime) -> None:
    if not place_again(attempt_id=attempt_id, now=now):
        fail_attempt(attempt_id=attempt_id, why="no place was free again", keeps_capacity=False, now=now)
