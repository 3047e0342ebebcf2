"""Reads of blocks: which there are, what was lost of them, what cancelling one would come to."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet

from mosu.compute.models import Block
from mosu.compute.states import BLOCK_LIVES
from mosu.kernel.refusals import NotFound
from mosu.kernel.time import Period
from mosu.market import rules
from mosu.market.services import BlockTerms, ended_early
from mosu.platform.actors import Actor


def blocks_visible_to(actor: Actor) -> QuerySet[Block]:
    """Blocks of the actor's organisations, or all for the hub's people; newest first, with nodes and losses."""
    rows = Block.objects.select_related("pool", "order__quote", "order__offer").order_by("-created_at", "-id")
    rows = rows.prefetch_related("allocations__node", "losses")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def block_visible_to(actor: Actor, block_id: UUID) -> Block:
    """One of them.

    Raises:
        NotFound: there is none, or the actor may not know.
    """
    block = blocks_visible_to(actor).filter(id=block_id).first()
    if block is None:
        raise NotFound("There is no such block.", hint="See GET /blocks.")
    return block


def block_of_order(actor: Actor, order_id: UUID) -> Block | None:
    """The block that the order bought."""
    return blocks_visible_to(actor).filter(order_id=order_id).first()


def block_held(actor: Actor, order_id: UUID) -> Block | None:
    """The block that the order bought, with the cards of its nodes as well: what the hub itself knows of it."""
    rows = blocks_visible_to(actor).filter(order_id=order_id)
    return rows.prefetch_related("allocations__devices", "losses__node").first()


def period_of(block: Block) -> Period:
    return Period(block.period.lower, block.period.upper)


def terms_of(block: Block) -> BlockTerms:
    """The terms that the quote froze."""
    return BlockTerms.of_json(block.order.quote.terms["block"])


def nodes_of_block(block: Block) -> list[str]:
    """The names of the nodes that it holds, or held, in the order of the ranks."""
    holds = [one for one in block.allocations.all() if one.attempt_id is None]
    return [one.node.name for one in sorted(holds, key=lambda one: one.id)]


@dataclass(frozen=True, slots=True)
class IfCancelled:
    """What a block would cost if it were cancelled now, of `total_micros` that are held."""

    charged_micros: int
    back_micros: int
    back_percent: int


def lost_s(block: Block, *, now: datetime, since: datetime | None = None) -> int:
    """Unit-seconds of the block that were not delivered so far, or of these `since` an instant."""
    end, per_node = min(now, block.period.upper), block.cards or block.cores
    start = max(since or block.period.lower, block.period.lower)
    spans = (min(loss.until or end, end) - max(loss.since, start) for loss in block.losses.all())
    return sum(per_node * max(0, span // timedelta(seconds=1)) for span in spans)


def if_cancelled(block: Block, *, now: datetime) -> IfCancelled | None:
    """None for one that is over."""
    if block.state not in BLOCK_LIVES:
        return None
    early = ended_early(
        terms_of(block), units=block.units, period=period_of(block), at=now, lost=lost_s(block, now=now)
    )
    [line] = rules.lines_of_json(block.order.quote.lines)
    charged = rules.amount_of(early.used + early.kept, line.price, currency=block.order.currency)
    return IfCancelled(charged, block.order.total_max_micros - charged, early.back_percent)
