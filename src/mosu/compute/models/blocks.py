"""Blocks: what was bought from one time to another, and what of it was not delivered."""

from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import F, Q

from mosu.compute.models.known import choices, known
from mosu.compute.models.pools import Node, Pool
from mosu.compute.states import (
    BlockState,
)
from mosu.platform.rows import Row


class Block(Row):
    """Nodes, or equal parts of some, that an organisation bought from one time to another: its runs go into it."""

    prefix = "block"

    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    """Who pays; any project of the organisation may run in it."""
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="blocks")
    state = models.CharField(max_length=20, choices=choices(BlockState), default=BlockState.HELD.value)
    period = DateTimeRangeField()
    nodes = models.PositiveIntegerField()
    accelerator = models.CharField(max_length=60, blank=True)
    """Its id in `accelerators.yaml`; empty: cores."""
    cards = models.PositiveIntegerField()
    """Of each node, as the cores and the memory."""
    cores = models.PositiveIntegerField()
    memory_bytes = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-created_at", "-id"], name="block_of_organisation"),
            models.Index(fields=["pool", "-created_at", "-id"], name="block_of_pool"),
            models.Index(fields=["id"], condition=Q(state__in=["held", "open"]), name="block_live"),
        ]
        constraints = [
            known("block_state_known", BlockState),
            models.CheckConstraint(
                condition=Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                name="block_period_bounded",
            ),
            models.CheckConstraint(
                condition=Q(nodes__gte=1, cores__gte=1)
                & (Q(accelerator="", cards=0) | (~Q(accelerator="") & Q(cards__gte=1))),
                name="block_has_goods",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["held", "open"], ended_at=None)
                | Q(state__in=["ended", "cancelled"], ended_at__isnull=False),
                name="block_ended_at_when_ended",
            ),
        ]

    @property
    def units(self) -> int:
        """What it is sold by: all its cards if it has any, else all its cores."""
        return (self.cards or self.cores) * self.nodes


class BlockLoss(models.Model):
    """A time in which a node of a block could not be used, as the hub saw it; it is not charged."""

    id = models.BigAutoField(primary_key=True)
    block = models.ForeignKey(Block, on_delete=models.PROTECT, related_name="losses")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField()
    until = models.DateTimeField(null=True)
    """None as long as it lasts."""
    why = models.CharField(max_length=300)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["block", "node"], condition=Q(until=None), name="block_loss_one_open"
            ),
            models.CheckConstraint(
                condition=Q(until=None) | Q(until__gte=F("since")), name="block_loss_forward"
            ),
        ]
