"""Blocks: capacity bought from one time to another. Taken, begun, ended, cancelled; charged by the hub's own clock."""

from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.blocks import lost_s
from mosu.compute.models import Attempt, Block, Node, Pool
from mosu.compute.moves import move_block, notify_pool, record_made
from mosu.compute.placement import Placement
from mosu.compute.queries import why_not_live
from mosu.compute.requests import BlockRequest
from mosu.compute.services.block_losses import tell_of_losses, watch_losses
from mosu.compute.services.capacity import SoldOut, allocate, find_place, range_of, release_block
from mosu.compute.services.interruption import give_way
from mosu.compute.services.sharing import keep_within, limits_of
from mosu.compute.states import ATTEMPT_ENDS, BLOCK_LIVES, AttemptState, BlockState
from mosu.kernel.time import Period
from mosu.market.models import Order, Outcome, Quote
from mosu.market.services import (
    BlockTerms,
    UsageIn,
    activate_order,
    ended_early,
    record_usage,
    settle_order,
    stop_order,
)
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.each import on_each
from mosu.platform.rows import insert

STOPPED_FOR: Final = timedelta(days=1)
"""For so long after a block was cancelled what ran in it is looked for, to be stopped."""
_HAD, _KEPT = 0, 1
"""The sequences of a block's two records of usage: what was had, and what the rules keep of the rest."""


def reserve_block(*, order_id: UUID, quote: Quote, now: datetime) -> None:
    """Write the block down and take its capacity, by the locks and constraints that runs take theirs by.

    Raises:
        SoldOut: the capacity went to someone else, the pool can sell nothing now, or the time has begun.
        QuotaReached: the organisation or the project would hold more than it may.
    """
    request = BlockRequest(**quote.request)
    pool = Pool.objects.get(id=request.pool_id)
    dead = why_not_live(pool, now=now)
    if dead is not None:
        raise SoldOut(f"{pool.name} cannot take it: {dead}.", hint="Ask for quotes again.")
    period = request.period
    if period.start < now:
        raise SoldOut("The block would have begun already.", hint="Ask for one that starts later.")
    block = Block(
        order_id=order_id,
        organisation_id=quote.organisation_id,
        project_id=quote.project_id,
        pool=pool,
        period=range_of(period),
        nodes=request.nodes,
        accelerator=request.accelerator or "",
        cards=request.cards,
        cores=request.cores,
        memory_bytes=request.memory_bytes,
        created_at=now,
    )
    insert(block)
    record_made(block, actor=SYSTEM, now=now)
    need = request.need
    limits = limits_of(
        organisation_id=quote.organisation_id, project_id=quote.project_id, need=need, now=now, lock=True
    )
    found = find_place(
        pool_id=pool.id,
        need=need,
        earliest=period.start,
        latest=period.start,
        duration=period.duration,
        now=now,
        reclaims=True,
    )
    if not isinstance(found, Placement):
        raise SoldOut(f"The capacity went to someone else. {found.message}", hint=found.hint)
    keep_within(limits, units=need.held, start=period.start, duration=period.duration)
    give_way(found, need=need, now=now)
    allocate(block_id=block.id, need=need, placement=found)


def turn_blocks(*, now: datetime) -> None:
    """Begin and end what is due, note what is not delivered, stop what ran in blocks that were cancelled.

    Each block in a transaction of its own. Repeating it changes nothing.
    """
    live = Block.objects.filter(state__in=BLOCK_LIVES, period__startswith__lte=now).order_by("id")
    try:
        on_each(partial(_turn, now=now), list(live.values_list("id", flat=True)))
    finally:
        on_each(partial(_stop_left_behind, now=now), _left_behind(now=now))


def _stop_left_behind(order_id: UUID, *, now: datetime) -> None:
    stop_order(order_id=order_id, why="its block was cancelled", now=now)


@transaction.atomic(durable=True)
def _turn(block_id: UUID, *, now: datetime) -> None:
    block = _locked_block(block_id)
    if block.state == BlockState.HELD:
        move_block(block, to=BlockState.OPEN, actor=SYSTEM, now=now)
        activate_order(order_id=block.order_id, now=now)
        notify_pool(block.pool_id)
    if block.state == BlockState.OPEN:
        watch_losses(block, now=now)
        if block.period.upper <= now:
            _end(block, now=now)


def cancel_block(*, order_id: UUID, actor: Actor, now: datetime, why: str) -> bool:
    """End the order's block now: its buyer pays for the time that was had, and what the frozen rules keep of the rest.

    True: it had not begun and the rules give all of it back, so nothing is to be settled. What runs in it is stopped
    soon after. One that has ended stays as it is.
    """
    block = _locked_block(Block.objects.only("id").get(order_id=order_id).id)
    if block.state not in BLOCK_LIVES:
        return False
    period = Period(block.period.lower, block.period.upper)
    if now >= period.end:
        _end(block, now=now)
        return False
    terms = BlockTerms.of_json(Order.objects.select_related("quote").get(id=order_id).quote.terms["block"])
    lost = lost_s(block, now=now)
    early = ended_early(terms, units=block.units, period=period, at=now, lost=lost)
    not_begun = block.state == BlockState.HELD
    _close(block, to=BlockState.CANCELLED, actor=actor, now=now, why=why)
    if not_begun and early.used == early.kept == 0:
        return True
    begun = min(max(now, period.start), period.end)
    _charge(block, _HAD, early.used, Period(period.start, begun), allowed=early.used, now=now)
    _charge(block, _KEPT, early.kept, Period(begun, period.end), allowed=early.used + early.kept, now=now)
    receipt = settle_order(
        order_id=order_id,
        ended_at=now,
        outcome=Outcome.CANCELLED,
        now=now,
        actor=actor,
        why=f"the block was cancelled: its rules give back {early.back_percent}% of the time that was left",
    )
    if lost:
        tell_of_losses(block, receipt, lost_units_s=lost, now=now)
    return False


def _end(block: Block, *, now: datetime) -> None:
    """Charge the whole of it, less what was not delivered."""
    period = Period(block.period.lower, block.period.upper)
    whole = block.units * int(period.duration.total_seconds())
    lost = min(whole, lost_s(block, now=period.end))
    _close(block, to=BlockState.ENDED, actor=SYSTEM, now=now, why="")
    _charge(block, _HAD, whole - lost, period, allowed=whole - lost, now=now)
    receipt = settle_order(
        order_id=block.order_id,
        ended_at=period.end,
        outcome=Outcome.SUCCEEDED,
        now=now,
        why=f"{lost / 3600:.2f} unit-hours of the block were not delivered, and are not charged"
        if lost
        else "",
    )
    if lost:
        tell_of_losses(block, receipt, lost_units_s=lost, now=now)


def _close(block: Block, *, to: BlockState, actor: Actor, now: datetime, why: str) -> None:
    """Its capacity is everybody's again; the pool's lock is held from here to the commit."""
    move_block(block, to=to, actor=actor, now=now, why=why)
    block.losses.filter(until=None).update(until=min(now, block.period.upper))
    list(Node.objects.filter(pool_id=block.pool_id).order_by("id").select_for_update(no_key=True))
    release_block(block.id, now=now)
    notify_pool(block.pool_id)


def _charge(
    block: Block, sequence: int, quantity: int, period: Period, *, allowed: int, now: datetime
) -> None:
    """A record of usage by the hub's own clock; no agent claims anything of a block."""
    if quantity == 0:
        return
    record = UsageIn(
        order_id=block.order_id,
        meter="card_second" if block.cards else "core_second",
        sequence=sequence,
        quantity=quantity,
        start=period.start,
        end=period.end,
        quantity_allowed=allowed,
    )
    record_usage(records=[record], now=now)


def _locked_block(block_id: UUID) -> Block:
    """The block under lock, its order before it."""
    order_id = Block.objects.values_list("order_id", flat=True).get(id=block_id)
    Order.objects.select_for_update(no_key=True).get(id=order_id)
    return Block.objects.select_for_update(of=("self",), no_key=True).select_related("pool").get(id=block_id)


def _left_behind(*, now: datetime) -> list[UUID]:
    """The orders of runs that are still there although their block was cancelled."""
    gone = Block.objects.filter(state=BlockState.CANCELLED, ended_at__gt=now - STOPPED_FOR)
    ids = [str(block_id) for block_id in gone.order_by("id").values_list("id", flat=True)]
    if not ids:
        return []
    ends = [state.value for state in AttemptState if state not in ATTEMPT_ENDS]
    rows = Attempt.objects.filter(state__in=ends, run__request__block__in=ids, run__cancel_asked_at=None)
    return list(rows.order_by("id").values_list("run__order_id", flat=True))
