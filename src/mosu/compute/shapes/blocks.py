"""Reserved blocks: asking for one, what it holds, what cancelling it now would cost."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from mosu.compute.blocks import if_cancelled, lost_s, nodes_of_block, terms_of
from mosu.compute.models import Block
from mosu.compute.shapes.parts import VoucherChoice
from mosu.kernel.ids import typeid
from mosu.kernel.money import decimal_of
from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period
from mosu.market.shapes import BlockTermsOut, Key, OfferBrief, Word
from mosu.platform.models import Organisation, Project
from mosu.platform.schemas import In, Out
from mosu.wire.times import Moment


class BlockQuoteIn(In):
    """`nodes` nodes of the offer's pool; `per_node` cards (or cores) of each, without it all of them.

    `vouchers` as for a task: `auto`, `none`, or their ids.
    """

    offer_id: Key
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    per_node: Annotated[int, Field(ge=1, le=100_000)] | None = None
    start: Moment
    end: Moment
    project_id: Word | None = None
    vouchers: VoucherChoice = "auto"

    def period(self) -> Period:
        """Raises Invalid where it ends before it starts."""
        if self.end <= self.start:
            raise Invalid("A block ends after it starts.", hint="Choose another end.", field="end")
        return Period(self.start.astimezone(UTC), self.end.astimezone(UTC))


class IfCancelledOut(Out):
    """What cancelling it now comes to, by the rules that the quote froze."""

    charged: str
    back: str
    back_percent: int


class BlockOut(Out):
    """A block: `cards` and `cores` are of each node. Name it in a task's `mosu.block` to run inside it."""

    id: str
    state: Literal["held", "open", "ended", "cancelled"]
    order_id: str
    organisation_id: str
    project_id: str
    offer: OfferBrief
    start: datetime
    end: datetime
    nodes: list[str]
    accelerator: str | None
    cards: int
    cores: int
    memory_bytes: int
    terms: BlockTermsOut
    total_max: str
    total: str | None
    currency: str
    lost_unit_hours: float
    """What of it the hub saw not delivered so far; it is not charged."""
    if_cancelled: IfCancelledOut | None

    @classmethod
    def of(cls, block: Block, *, now: datetime) -> "BlockOut":
        order = block.order
        early = if_cancelled(block, now=now)
        return cls(
            id=block.public_id,
            state=block.state,
            order_id=order.public_id,
            organisation_id=typeid(Organisation.prefix, block.organisation_id),
            project_id=typeid(Project.prefix, block.project_id),
            offer=OfferBrief.of(order.quote),
            start=block.period.lower,
            end=block.period.upper,
            nodes=nodes_of_block(block),
            accelerator=block.accelerator or None,
            cards=block.cards,
            cores=block.cores,
            memory_bytes=block.memory_bytes,
            terms=BlockTermsOut.of(terms_of(block)),
            total_max=decimal_of(order.total_max_micros, currency=order.currency),
            total=None
            if order.total_micros is None
            else decimal_of(order.total_micros, currency=order.currency),
            currency=order.currency,
            lost_unit_hours=round(lost_s(block, now=now) / 3600, 2),
            if_cancelled=IfCancelledOut(
                charged=decimal_of(early.charged_micros, currency=order.currency),
                back=decimal_of(early.back_micros, currency=order.currency),
                back_percent=early.back_percent,
            )
            if early
            else None,
        )
