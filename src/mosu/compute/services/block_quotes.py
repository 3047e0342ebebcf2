"""Asking for a block of an offer, and for a run inside a block that was bought."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from mosu.compute.blocks import block_visible_to
from mosu.compute.goods import CARDS, CORES
from mosu.compute.models import Block, Pool
from mosu.compute.placement import Need, NodeView, Unplaced, place
from mosu.compute.queries import pools_by_id, why_not_live, why_not_served
from mosu.compute.requests import PERIOD_GRACE_S, SHELF, BlockRequest
from mosu.compute.services.capacity import SoldOut, nodes_of, place_within
from mosu.compute.services.fitting import Asked, Reason, latest_start, need_at, pool_mismatches
from mosu.compute.services.run_plans import run_plan, run_request
from mosu.compute.services.sharing import keep_within, limits_of
from mosu.compute.states import BLOCK_LIVES
from mosu.kernel.refusals import Invalid, NotFound
from mosu.kernel.time import Period
from mosu.market.catalogue import catalogue_at
from mosu.market.models import Offer, Quote
from mosu.market.queries import offers_for
from mosu.market.services import BlockTerms, NotForSale, Plan, PlanLine, make_quotes, quote_prepaid
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.subsidies.services import Choice


@transaction.atomic(durable=True)
def quote_block(
    *,
    actor: Actor,
    organisation_id: UUID,
    project_id: UUID,
    offer_id: UUID,
    nodes: int,
    per_node: int | None,
    period: Period,
    choice: Choice,
    now: datetime,
) -> Quote:
    """A quote for `nodes` nodes of the offer's pool in `period`; of each `per_node` cards (or cores), None: all.

    Cards come with their share of the node's cores and memory. Nothing is reserved: capacity is checked again when
    the quote is accepted.

    Raises:
        Forbidden: the actor may not ask quotes for this organisation.
        NotFound: there is no such offer, or it is not for this organisation.
        NotForSale: it is not sold by the block.
        Invalid: the time, or the number, is outside the offer's terms.
        SoldOut: there is no room then, or the pool can sell nothing now.
        QuotaReached: the organisation or the project would hold more than it may.
    """
    require(actor, "quote.ask", organisation_id)
    offer, terms = _offer_of(organisation_id, offer_id, now=now)
    _check_period(offer, terms, period, now=now)
    pool = pools_by_id([offer.subject_id]).get(offer.subject_id)
    dead = why_not_live(pool, now=now)
    if pool is None or dead is not None:
        raise SoldOut(f"The pool can sell nothing now: {dead}.", hint="Ask again later.")
    views = nodes_of([pool.id], now=now, reclaims=True)[pool.id]
    need = _need(offer, views, nodes=nodes, per_node=per_node)
    limits = limits_of(organisation_id=organisation_id, project_id=project_id, need=need, now=now)
    keep_within(limits, units=need.held, start=period.start, duration=period.duration)
    found = place(views, need, earliest=period.start, latest=period.start, duration=period.duration)
    if isinstance(found, Unplaced):
        raise SoldOut(found.message, hint=found.hint)
    [quote] = make_quotes(
        actor=actor,
        organisation_id=organisation_id,
        project_id=project_id,
        shelf=SHELF,
        plans=[_plan(offer, pool, need, period)],
        choice=choice,
        now=now,
    )
    return quote


def _offer_of(organisation_id: UUID, offer_id: UUID, *, now: datetime) -> tuple[Offer, BlockTerms]:
    found = offers_for(organisation_id, [offer_id], snapshot=catalogue_at(now), now=now)
    if not found or found[0].offer.shelf != SHELF:
        raise NotFound("There is no such offer.", hint="See GET /offers.")
    offer = found[0].offer
    if offer.block is None:
        raise NotForSale(f"{offer.title_en} is not sold by the block.", hint="Choose a reserved offer.")
    return offer, BlockTerms.of_json(offer.block)


def _check_period(offer: Offer, terms: BlockTerms, period: Period, *, now: datetime) -> None:
    longest = timedelta(seconds=offer.wall_s_max)
    if period.start.second or period.start.microsecond or period.end.second or period.end.microsecond:
        raise Invalid("A block starts and ends on a whole minute.", hint="Leave out seconds.", field="start")
    if not now < period.start <= now + timedelta(days=terms.ahead_days):
        raise Invalid(
            f"A block of this offer starts later than now and within {terms.ahead_days} days.",
            hint="Choose another start.",
            field="start",
        )
    if not timedelta(hours=terms.shortest_hours) <= period.duration <= longest:
        raise Invalid(
            f"A block of this offer takes {terms.shortest_hours} to {offer.wall_s_max // 3600} hours.",
            hint="Choose another end.",
            field="end",
        )


def _need(offer: Offer, views: Sequence[NodeView], *, nodes: int, per_node: int | None) -> Need:
    """What of each node the block takes: as much of its cores and memory as of what it is sold by.

    Of nodes that differ, the least that such a part comes to: every one of them can give it.
    """
    if nodes < 1 or (per_node is not None and per_node < 1):
        raise Invalid("A block has at least one unit on one node.", hint="Ask for 1 or more.", field="nodes")
    accelerator = offer.attributes.get("accelerator") or None

    def size(view: NodeView) -> int:
        if accelerator is None:
            return view.cores
        return sum(card.accelerator == accelerator for card in view.cards)

    large = [view for view in views if size(view) >= (per_node or 1)]
    most = max(map(size, large), default=0)
    units = per_node or most
    able = [view for view in large if size(view) >= units]
    if len(able) < nodes or units == 0:
        raise SoldOut(
            f"{len(able)} nodes in service have so many.", hint="Ask for fewer nodes, or for less of each."
        )
    return Need(
        cores=max(1, min(view.cores * units // size(view) for view in able)),
        memory_bytes=min(view.memory_bytes * units // size(view) for view in able),
        disk_bytes=0,
        accelerator=accelerator,
        cards=units if accelerator else 0,
        nodes=nodes,
    )


def _plan(offer: Offer, pool: Pool, need: Need, period: Period) -> Plan:
    seconds = int(period.duration.total_seconds())
    request = BlockRequest(
        pool_id=str(pool.id),
        nodes=need.nodes,
        cores=need.cores,
        memory_bytes=need.memory_bytes,
        accelerator=need.accelerator,
        cards=need.cards,
        start_s=int(period.start.timestamp()),
        end_s=int(period.end.timestamp()),
    )
    return Plan(
        offer_id=offer.id,
        lines=(
            PlanLine(
                meter=CARDS if need.cards else CORES, units=need.units, quantity_max=need.units * seconds
            ),
        ),
        starts_at=period.start,
        wall_limit_s=seconds,
        request=request.to_json(),
        facts={"cores": need.cores, "cards": need.cards, "nodes": need.nodes},
    )


def quote_inside(asked: Asked, *, actor: Actor, now: datetime) -> Quote | tuple[Offer, Reason]:
    """A quote that costs nothing, for a run inside the block that the task names; or what speaks against it.

    Raises:
        NotFound: there is no such block, or it is not the organisation's.
    """
    block = block_visible_to(actor, Block.key_of(asked.task.block))
    if block.organisation_id != asked.organisation_id:
        raise NotFound("There is no such block.", hint="See GET /blocks.")
    offer = block.order.offer
    need = need_at(asked, {"accelerator": block.accelerator or None})
    against = _against(asked, block, need, now=now)
    if against is not None:
        return offer, against
    found = place_within(
        block.id,
        pool_id=block.pool_id,
        need=need,
        earliest=asked.earliest,
        latest=latest_start(asked) if asked.task.deadline else block.period.upper,
        duration=timedelta(seconds=asked.wall_limit_s + PERIOD_GRACE_S),
        now=now,
    )
    if isinstance(found, Unplaced):
        return offer, Reason(found.code, found.message, found.hint)
    request = run_request(asked, block.pool, need, block_id=block.id)
    return quote_prepaid(
        actor=actor,
        order_id=block.order_id,
        project_id=asked.project_id,
        plan=run_plan(asked, offer.id, block.pool, found, request),
        now=now,
    )


def _against(asked: Asked, block: Block, need: Need, *, now: datetime) -> Reason | None:
    """What of the task does not go with the block, whatever room there is in it."""
    if block.state not in BLOCK_LIVES:
        return Reason("block_over", "The block is over.", "Leave out mosu.block.")
    if bool(block.cards) != bool(need.cards):
        goods = f"{block.accelerator} by the card" if block.cards else "cores"
        return Reason(
            "other_goods", f"the block holds {goods}", "Ask for what it holds, or leave out mosu.block."
        )
    if asked.task.resources.use_spot:
        return Reason("not_interruptible", "is not interruptible", "Leave out resources.use_spot.")
    unserved = why_not_served(block.pool, now=now)
    if unserved is not None:
        return Reason("not_live", unserved, "Ask again later.")
    return next(iter(pool_mismatches(asked, block.pool)), None)
