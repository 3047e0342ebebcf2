"""Who holds what of a machine, and when: never twice."""

from typing import Final

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, IntegerRangeField, RangeOperators
from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models import F, Q

from mosu.compute.models.blocks import Block
from mosu.compute.models.pools import Device, Node
from mosu.compute.models.runs import Attempt
from mosu.platform.rows import Row


class Allocation(Row):
    """A time-bounded share of a node. Live, it holds what it names; also past its period, until released.

    An attempt's, or a block's; with both, the attempt's place inside what the block holds.
    """

    prefix = "alloc"

    attempt = models.ForeignKey(Attempt, null=True, on_delete=models.PROTECT, related_name="allocations")
    block = models.ForeignKey(Block, null=True, on_delete=models.PROTECT, related_name="allocations")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="allocations")
    cores = models.PositiveIntegerField()
    memory_bytes = models.PositiveBigIntegerField()
    period = DateTimeRangeField()
    live = models.BooleanField(default=True)
    yields = models.BooleanField(default=False)
    """It gives way, after a notice, to what is bought at full price."""
    gave_way_at = models.DateTimeField(null=True)
    """When it did; like all of an allocation guarded by the lock of its node."""
    released_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["node"], condition=Q(live=True), name="allocation_live"),
            models.Index(fields=["released_at"], name="allocation_released"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(live=True, released_at=None) | Q(live=False, released_at__isnull=False),
                name="allocation_released_when_not_live",
            ),
            models.CheckConstraint(condition=Q(cores__gte=1), name="allocation_has_cores"),
            models.CheckConstraint(
                condition=Q(attempt__isnull=False) | Q(block__isnull=False), name="allocation_is_somebodys"
            ),
        ]


_ONE_PART: Final = [
    (F("node"), RangeOperators.EQUAL),
    (F("card"), RangeOperators.EQUAL),
    (F("part"), RangeOperators.OVERLAPS),
    (F("period"), RangeOperators.OVERLAPS),
]


class DeviceAllocation(models.Model):
    """A card, or a share of one, taken by an allocation. No part of a card is ever in two live ones at the same time.

    Those inside blocks are apart: each lies within its block's, and no two of them overlap.
    """

    id = models.BigAutoField(primary_key=True)
    allocation = models.ForeignKey(Allocation, on_delete=models.PROTECT, related_name="devices")
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="allocations")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="+", db_index=False)
    card = models.PositiveIntegerField()
    part = IntegerRangeField()
    """As the device had them when it was taken: the database copies them, and a card cut anew changes nothing here."""
    period = DateTimeRangeField()
    live = models.BooleanField(default=True)
    inside = models.BooleanField(default=False)
    """Whether it is a run's place inside a block; the database compares it with the allocation."""

    class Meta:
        indexes = [GistIndex(fields=["period"], name="device_allocation_period")]
        constraints = [
            ExclusionConstraint(
                name="device_never_twice", expressions=_ONE_PART, condition=Q(live=True, inside=False)
            ),
            ExclusionConstraint(
                name="device_never_twice_inside", expressions=_ONE_PART, condition=Q(live=True, inside=True)
            ),
        ]
