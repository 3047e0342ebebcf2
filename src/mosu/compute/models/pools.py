"""Pools, their machines and cards, and when machines are kept."""

from typing import Final

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, IntegerRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Mod

from mosu.compute.copying import Pace
from mosu.compute.models.known import choices, known
from mosu.compute.states import (
    BlackoutKind,
    BlackoutState,
    Fitness,
    NodeState,
    Placing,
    PoolState,
)
from mosu.platform.rows import Row
from mosu.wire.shares import CARDS_MAX, kind_of, share_at

WHOLE: Final = 20_160
"""So many equal parts has a card: a number that most shares divide, so that their sums are exact."""


class Pool(Row):
    """A supplier's cluster, served by one site agent."""

    prefix = "pool"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    region = models.CharField(max_length=60)
    state = models.CharField(max_length=20, choices=choices(PoolState), default=PoolState.OPEN.value)
    created_at = models.DateTimeField()
    token_sha256 = models.CharField(max_length=64, unique=True)
    """Of the agent's token; the text is shown once, when it is made."""
    token_made_at = models.DateTimeField()
    engine = models.CharField(max_length=60, blank=True)
    agent_version = models.CharField(max_length=60, blank=True)
    agent_instance = models.CharField(max_length=64, blank=True)
    """Which agent serves it: another is refused as long as this one is heard of."""
    agent_host = models.CharField(max_length=100, blank=True)
    sandbox = models.CharField(max_length=500, blank=True)
    """What the agent said: its kind, or why there is none."""
    sandbox_ok = models.BooleanField(default=False)
    environments = models.JSONField(default=list)
    spans_nodes = models.BooleanField(default=True)
    """What the agent said: whether the nodes of one task reach each other."""
    reaches = models.BooleanField(default=False)
    """What the agent said: whether it joins people to the ports of sessions."""
    has_sshd = models.BooleanField(default=False)
    """What the agent said: whether people may come into sessions by ssh."""
    images = models.JSONField(default=list)
    """What the agent said: from where it runs images of containers that tasks name."""
    extends = models.BooleanField(default=False)
    """Whether its engine lets what runs be given more time."""
    volumes_gb = models.PositiveIntegerField(default=0)
    """What the agent said: how much room it keeps for volumes, in GiB."""
    copies_volumes = models.BooleanField(default=False)
    """What the agent said: it makes snapshots of them."""
    clock_skew_s = models.FloatField(default=0)
    registered_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)
    ordered_s = models.PositiveBigIntegerField(default=0)
    delivered_s = models.PositiveBigIntegerField(default=0)
    """Of what was ordered of it in the last 90 days, and what of that was delivered; counted every hour."""
    delivery_counted_at = models.DateTimeField(null=True)
    copied_in_bytes = models.PositiveBigIntegerField(default=0)
    copied_in_ms = models.PositiveBigIntegerField(default=0)
    copied_out_bytes = models.PositiveBigIntegerField(default=0)
    copied_out_ms = models.PositiveBigIntegerField(default=0)
    """How long its last copies of large files took, from the hub and back, as its agent measured (`copying.Pace`)."""
    placing = models.CharField(
        max_length=10, choices=[(one.value, one.value) for one in Placing], default=Placing.PACK.value
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "name"], name="pool_name_once"),
            known("pool_state_known", PoolState),
            models.CheckConstraint(
                condition=Q(delivered_s__lte=F("ordered_s")), name="pool_delivers_what_was_ordered"
            ),
            models.CheckConstraint(
                condition=Q(placing__in=[one.value for one in Placing]), name="pool_placing_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def copied_in(self) -> Pace:
        return Pace(self.copied_in_bytes, self.copied_in_ms)

    @property
    def copied_out(self) -> Pace:
        return Pace(self.copied_out_bytes, self.copied_out_ms)


class Node(Row):
    """One machine of a pool. Its row's lock guards its cores and memory."""

    prefix = "node"

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=63)
    state = models.CharField(max_length=20, choices=choices(NodeState), default=NodeState.UP.value)
    cores = models.PositiveIntegerField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
    reached = models.BooleanField(default=True)
    """Whether people come to sessions that run here, where the pool's agent joins anybody."""
    cores_published = models.PositiveIntegerField()
    memory_bytes_published = models.PositiveBigIntegerField()
    """The most that its agent ever listed, until the supplier publishes what is there: what is less has drifted."""
    fitness = models.CharField(
        max_length=10, choices=[(one.value, one.value) for one in Fitness], default=Fitness.UNCHECKED.value
    )
    unfit_why = models.CharField(max_length=300, blank=True)
    checked_at = models.DateTimeField(null=True)
    check_asked_at = models.DateTimeField(null=True)
    """Since when a health test is wanted; empty once it was reported."""
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pool", "name"], name="node_name_once"),
            known("node_state_known", NodeState),
            models.CheckConstraint(
                condition=Q(fitness__in=[one.value for one in Fitness]), name="node_fitness_known"
            ),
            models.CheckConstraint(
                condition=Q(cores__lte=F("cores_published"))
                & Q(memory_bytes__lte=F("memory_bytes_published")),
                name="node_sells_no_more_than_published",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Blackout(Row):
    """A span in which nothing new is placed on a node: maintenance, or capacity sold elsewhere."""

    prefix = "blackout"

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="blackouts")
    period = DateTimeRangeField()
    kind = models.CharField(
        max_length=20,
        choices=[(one.value, one.value) for one in BlackoutKind],
        default=BlackoutKind.MAINTENANCE.value,
    )
    why = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=choices(BlackoutState), default=BlackoutState.SET.value)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["node"], condition=Q(state=BlackoutState.SET.value), name="blackout_set")
        ]
        constraints = [
            known("blackout_state_known", BlackoutState),
            models.CheckConstraint(
                condition=Q(kind__in=[one.value for one in BlackoutKind]), name="blackout_kind_known"
            ),
            ExclusionConstraint(
                name="blackout_once_at_a_time",
                expressions=[("node", RangeOperators.EQUAL), ("period", RangeOperators.OVERLAPS)],
                condition=Q(state=BlackoutState.SET.value),
            ),
            models.CheckConstraint(
                condition=Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                name="blackout_period_bounded",
            ),
        ]


class Device(Row):
    """One accelerator card of a node, or one share of a card that is cut: whole or cut, never both."""

    prefix = "device"

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="devices")
    index = models.PositiveIntegerField()
    accelerator = models.CharField(max_length=60)
    """Its id in `accelerators.yaml`; of a share its kind (`mosu.wire.shares`)."""
    card = models.GeneratedField(
        expression=Mod(F("index"), CARDS_MAX), output_field=models.IntegerField(), db_persist=True
    )
    """The number of the card that it is, or of which it is a share."""
    part = models.GeneratedField(
        expression=Func(F("accelerator"), F("index"), function="compute_part_of"),
        output_field=IntegerRangeField(),
        db_persist=True,
    )
    """Which part of the card that is: of `WHOLE` the whole card is all."""
    present = models.BooleanField(default=True)
    """False once the agent no longer lists it; the row stays for what it did."""
    published = models.BooleanField(default=True)
    """False once the supplier has published the node without it."""
    found = models.CharField(max_length=60, blank=True)
    """Where a card of another accelerator stands in its place: which."""

    class Meta:
        indexes = [models.Index(fields=["node", "card"], name="device_of_card")]
        constraints = [
            models.UniqueConstraint(fields=["node", "index"], name="device_index_once"),
            models.CheckConstraint(condition=Q(part__contained_by=(0, WHOLE)), name="device_within_card"),
            ExclusionConstraint(
                name="device_whole_or_cut",
                expressions=[
                    ("node", RangeOperators.EQUAL),
                    ("card", RangeOperators.EQUAL),
                    ("part", RangeOperators.OVERLAPS),
                ],
                condition=Q(present=True),
                deferrable=models.Deferrable.DEFERRED,
            ),
        ]

    @property
    def share(self) -> tuple[int, int] | None:
        """Which of how many shares of its card it is, from 1; None: it is the whole card."""
        shares = kind_of(self.accelerator).shares
        return (share_at(self.index) + 1, shares) if shares > 1 else None


class HealthCheck(models.Model):
    """What a health test of a node measured, and how the hub judged it; append-only."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="checks")
    at = models.DateTimeField()
    """By the hub's clock."""
    took_s = models.FloatField()
    fit = models.BooleanField()
    why = models.CharField(max_length=300, blank=True)
    measures = models.JSONField()
    """By name, each in the unit that its name ends with."""

    class Meta:
        indexes = [models.Index(fields=["node", "-at"], name="health_check_of_node")]
        constraints = [
            models.CheckConstraint(
                condition=Q(fit=True, why="") | (Q(fit=False) & ~Q(why="")), name="health_check_says_why"
            )
        ]
