"""A block on its order's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from mosu.compute.blocks import if_cancelled, lost_s, nodes_of_block, period_of, terms_of
from mosu.compute.models import Block
from mosu.web.components import Fact
from mosu.web.labels import accelerator_name, block_facts


@dataclass(frozen=True, slots=True)
class BlockShown:
    """A block on its order's page."""

    public_id: str
    state: str
    starts_at: datetime
    ends_at: datetime
    nodes: str
    holds: str
    lost: str
    """Unit-hours that were not delivered; empty if all were."""
    terms: Sequence[Fact]
    charged: int
    back: int
    lives: bool
    cancels: bool
    """Whether the person may give it back now."""

    @property
    def command(self) -> str:
        """What runs a task inside it."""
        return f"mosu run task.yaml --block {self.public_id}"

    @classmethod
    def of(cls, block: Block, *, may_cancel: bool, now: datetime) -> "BlockShown":
        early = if_cancelled(block, now=now)
        lost = lost_s(block, now=now)
        goods = accelerator_name(block.accelerator) if block.accelerator else _("Cores")
        return cls(
            public_id=block.public_id,
            state=f"block_{block.state}",
            starts_at=block.period.lower,
            ends_at=block.period.upper,
            nodes=", ".join(nodes_of_block(block)),
            holds=_("%(nodes)s nodes × %(count)s · %(goods)s")
            % {"nodes": block.nodes, "count": block.cards or block.cores, "goods": goods},
            lost=f"{lost / 3600:,.2f}" if lost else "",
            terms=block_facts(terms_of(block), longest_s=int(period_of(block).duration.total_seconds())),
            charged=early.charged_micros if early else 0,
            back=early.back_micros if early else 0,
            lives=early is not None,
            cancels=early is not None and may_cancel,
        )
