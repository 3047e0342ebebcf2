"""Tables of the compute shelf: pools, what they have, what is promised of it, and what runs there."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models import F, Q

from mosu.compute.states import (
    AttemptState,
    BlackoutKind,
    BlackoutState,
    BlockState,
    Fitness,
    NodeState,
    Placing,
    PoolState,
    RunState,
)
from mosu.platform.rows import Row

_States = type[PoolState | NodeState | BlackoutState | BlockState | RunState | AttemptState]


def _choices(states: _States) -> list[tuple[str, str]]:
    return [(state.value, state.value) for state in states]


def _known(name: str, states: _States) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(state__in=[state.value for state in states]), name=name)


class Pool(Row):
    """A supplier's cluster, served by one site agent."""

    prefix = "pool"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    region = models.CharField(max_length=60)
    state = models.CharField(max_length=20, choices=_choices(PoolState), default=PoolState.OPEN.value)
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
    clock_skew_s = models.FloatField(default=0)
    registered_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)
    ordered_s = models.PositiveBigIntegerField(default=0)
    delivered_s = models.PositiveBigIntegerField(default=0)
    """Of what was ordered of it in the last 90 days, and what of that was delivered; counted every hour."""
    delivery_counted_at = models.DateTimeField(null=True)
    placing = models.CharField(
        max_length=10, choices=[(one.value, one.value) for one in Placing], default=Placing.PACK.value
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "name"], name="pool_name_once"),
            _known("pool_state_known", PoolState),
            models.CheckConstraint(
                condition=Q(delivered_s__lte=F("ordered_s")), name="pool_delivers_what_was_ordered"
            ),
            models.CheckConstraint(
                condition=Q(placing__in=[one.value for one in Placing]), name="pool_placing_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Node(Row):
    """One machine of a pool. Its row's lock guards its cores and memory."""

    prefix = "node"

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=63)
    state = models.CharField(max_length=20, choices=_choices(NodeState), default=NodeState.UP.value)
    cores = models.PositiveIntegerField()
    memory_bytes = models.PositiveBigIntegerField()
    disk_bytes = models.PositiveBigIntegerField()
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
            _known("node_state_known", NodeState),
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
    state = models.CharField(max_length=10, choices=_choices(BlackoutState), default=BlackoutState.SET.value)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["node"], condition=Q(state=BlackoutState.SET.value), name="blackout_set")
        ]
        constraints = [
            _known("blackout_state_known", BlackoutState),
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
    """One accelerator card of a node."""

    prefix = "device"

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="devices")
    index = models.PositiveIntegerField()
    accelerator = models.CharField(max_length=60)
    """Its id in `accelerators.yaml`."""
    present = models.BooleanField(default=True)
    """False once the agent no longer lists it; the row stays for what it did."""
    published = models.BooleanField(default=True)
    """False once the supplier has published the node without it."""
    found = models.CharField(max_length=60, blank=True)
    """Where a card of another accelerator stands in its place: which."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["node", "index"], name="device_index_once")]


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


class Block(Row):
    """Nodes, or equal parts of some, that an organisation bought from one time to another: its runs go into it."""

    prefix = "block"

    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    """Who pays; any project of the organisation may run in it."""
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="blocks")
    state = models.CharField(max_length=20, choices=_choices(BlockState), default=BlockState.HELD.value)
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
            _known("block_state_known", BlockState),
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


class Run(Row):
    """Work that somebody asked for and bought."""

    prefix = "run"

    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="runs")
    name = models.CharField(max_length=63, blank=True)
    state = models.CharField(max_length=20, choices=_choices(RunState), default=RunState.QUEUED.value)
    request = models.JSONField()
    """The frozen request (see `requests.RunRequest`): what was asked, checked and priced."""
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    exit_code = models.IntegerField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    measures = models.JSONField(null=True)
    outputs = models.JSONField(default=list)
    outputs_manifest = models.CharField(max_length=64, blank=True)
    cancel_asked_at = models.DateTimeField(null=True)
    cancel_why = models.CharField(max_length=200, blank=True)
    """By what rule it was to stop; empty where somebody asked."""

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-created_at", "-id"]),
            models.Index(fields=["-created_at", "-id"]),  # the hub's people see all
            # Few of all runs are open: without it a list of them would look through those that have ended.
            models.Index(
                fields=["state", "-created_at", "-id"],
                condition=Q(state__in=[RunState.QUEUED.value, RunState.RUNNING.value]),
                name="run_open",
            ),
        ]
        constraints = [
            _known("run_state_known", RunState),
            models.CheckConstraint(
                condition=Q(state__in=[RunState.QUEUED.value, RunState.RUNNING.value], ended_at=None)
                | Q(~Q(state__in=[RunState.QUEUED.value, RunState.RUNNING.value]), ended_at__isnull=False),
                name="run_ended_at_when_ended",
            ),
        ]


class Attempt(Row):
    """One try of a run. Its lease says until when the agent has it without a word.

    `first_running_at` and `last_contact_at` are the hub's own observations: they bound what may be billed.
    `started_at` and `ended_at` are what the agent said.
    """

    prefix = "attempt"

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="attempts")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="attempts")
    epoch = models.PositiveIntegerField()
    state = models.CharField(
        max_length=20, choices=_choices(AttemptState), default=AttemptState.WAITING.value
    )
    created_at = models.DateTimeField()
    leased_at = models.DateTimeField(null=True)
    leased_until = models.DateTimeField(null=True)
    first_running_at = models.DateTimeField(null=True)
    last_contact_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=500, blank=True)
    late_report = models.JSONField(null=True)
    """What the agent said after the attempt had been ended without it."""
    sampled_at = models.DateTimeField(null=True)
    """When the last of its samples was taken, by the hub's clock."""
    sampled_cpu_s = models.FloatField(default=0)
    idle_since = models.DateTimeField(null=True)
    """Since when its accelerators do nothing; None while they work, and where it has none."""
    idle_told_at = models.DateTimeField(null=True)
    wall_limit_s = models.PositiveIntegerField(null=True)
    """What the attempts before left of the run's wall limit; None: all of it."""
    expected_at = models.DateTimeField(null=True)
    """When it was expected to start, as its buyer was told; compared with when an agent took it."""
    log_next = models.PositiveBigIntegerField(default=0)
    """The next byte of the log that is awaited from the agent."""
    log_bytes = models.PositiveBigIntegerField(null=True)
    """How long the log is, once the agent has reported."""

    class Meta:
        indexes = [
            models.Index(fields=["pool", "-created_at", "-id"], name="attempt_of_pool"),
            models.Index(
                fields=["pool", "id"],
                condition=Q(state=AttemptState.WAITING.value),
                name="attempt_waiting",
            ),
            models.Index(
                fields=["idle_since"],
                condition=Q(state="running", idle_since__isnull=False),
                name="attempt_idle",
            ),
            models.Index(
                fields=["leased_until"],
                condition=Q(state__in=["leased", "running"]),
                name="attempt_leased",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "epoch"], name="attempt_epoch_once"),
            models.UniqueConstraint(
                fields=["run"],
                condition=Q(state__in=["waiting", "leased", "running", "unreachable"]),
                name="attempt_one_open",
            ),
            _known("attempt_state_known", AttemptState),
        ]


class MeterSample(models.Model):
    """What an attempt had taken at an instant, by its agent's word; append-only, for curves alone."""

    id = models.BigAutoField(primary_key=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="samples")
    at = models.DateTimeField()
    """By the hub's clock."""
    cpu_s = models.FloatField()
    memory_bytes = models.PositiveBigIntegerField()
    accelerator_util = models.FloatField(null=True)
    """Of its cards, from 0 to 1; None where the engine cannot say."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "at"], name="meter_sample_once")]


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


class DeviceAllocation(models.Model):
    """A whole card taken by an allocation. No card is ever in two live ones at the same time.

    Those inside blocks are apart: each lies within its block's, and no two of them overlap.
    """

    id = models.BigAutoField(primary_key=True)
    allocation = models.ForeignKey(Allocation, on_delete=models.PROTECT, related_name="devices")
    device = models.ForeignKey(Device, on_delete=models.PROTECT, related_name="allocations")
    period = DateTimeRangeField()
    live = models.BooleanField(default=True)
    inside = models.BooleanField(default=False)
    """Whether it is a run's place inside a block; the database compares it with the allocation."""

    class Meta:
        indexes = [GistIndex(fields=["period"], name="device_allocation_period")]
        constraints = [
            ExclusionConstraint(
                name="device_never_twice",
                expressions=[
                    (F("device"), RangeOperators.EQUAL),
                    (F("period"), RangeOperators.OVERLAPS),
                ],
                condition=Q(live=True, inside=False),
            ),
            ExclusionConstraint(
                name="device_never_twice_inside",
                expressions=[
                    (F("device"), RangeOperators.EQUAL),
                    (F("period"), RangeOperators.OVERLAPS),
                ],
                condition=Q(live=True, inside=True),
            ),
        ]


class LogPiece(models.Model):
    """Bytes `start..` of an attempt's log, as they came; append-only."""

    id = models.BigAutoField(primary_key=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="log_pieces")
    start = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "start"], name="log_piece_once")]


class IdleRule(Row):
    """For how long an organisation lets accelerators of its runs do nothing before the run is stopped."""

    prefix = "idlerule"

    organisation = models.OneToOneField("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    stop_after_s = models.PositiveIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(stop_after_s__gte=900), name="idle_rule_patient")]


class PoolShare(Row):
    """How much of a pool an organisation is due where several wait: its weight beside the others'. Without one: 1."""

    prefix = "share"

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="shares")
    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    weight = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pool", "organisation"], name="pool_share_once"),
            models.CheckConstraint(
                condition=Q(weight__gte=1, weight__lte=1000), name="pool_share_weight_known"
            ),
        ]


class Quota(Row):
    """How many cards of a type (or cores) an organisation, or one of its projects, may hold at one time."""

    prefix = "quota"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", null=True, on_delete=models.PROTECT, related_name="+")
    accelerator = models.CharField(max_length=60, blank=True)
    """Its id in `accelerators.yaml`; empty: cores of runs without cards."""
    units_max = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "project", "accelerator"], nulls_distinct=False, name="quota_once"
            )
        ]
