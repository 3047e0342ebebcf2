"""Runs, their attempts, and what attempts say: samples and logs."""

from django.db import models
from django.db.models import F, Q

from mosu.compute.models.known import choices, known
from mosu.compute.models.pools import Pool
from mosu.compute.states import (
    AttemptState,
    RunState,
)
from mosu.platform.rows import Row


class Run(Row):
    """Work that somebody asked for and bought."""

    prefix = "run"

    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="runs")
    name = models.CharField(max_length=63, blank=True)
    state = models.CharField(max_length=20, choices=choices(RunState), default=RunState.QUEUED.value)
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
    idle_stop_s = models.PositiveIntegerField(null=True)
    """After how long without use it is stopped, as task or owner say; None: by the organisation's rule alone."""
    kept_at = models.DateTimeField(null=True)
    """When somebody last said that it is still needed, though nobody uses it."""
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
            known("run_state_known", RunState),
            models.CheckConstraint(
                condition=Q(state__in=[RunState.QUEUED.value, RunState.RUNNING.value], ended_at=None)
                | Q(~Q(state__in=[RunState.QUEUED.value, RunState.RUNNING.value]), ended_at__isnull=False),
                name="run_ended_at_when_ended",
            ),
            models.CheckConstraint(
                condition=Q(idle_stop_s=None) | Q(idle_stop_s__gte=900), name="run_idle_stop_patient"
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
    state = models.CharField(max_length=20, choices=choices(AttemptState), default=AttemptState.WAITING.value)
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
    looked_at = models.DateTimeField(null=True)
    """When it was last looked whether it does anything, and how much processor time it had taken then."""
    looked_cpu_s = models.FloatField(default=0)
    idle_since = models.DateTimeField(null=True)
    """Since when its machine does nothing: a batch's accelerators, and the cores too of what people are joined to.
    None while it works, and of a batch without accelerators."""
    idle_told_at = models.DateTimeField(null=True)
    idle_warned_at = models.DateTimeField(null=True)
    """When people were told that it will be stopped for that."""
    end_told_at = models.DateTimeField(null=True)
    """When people were told that its wall limit is near."""
    wall_limit_s = models.PositiveIntegerField(null=True)
    """What the attempts before left of the run's wall limit; None: all of it."""
    extended_s = models.PositiveIntegerField(default=0)
    """What was bought beyond that limit while it ran."""
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
            # What was not to start at once: how good the words about starts were is read from the last.
            models.Index(
                fields=["pool", "-created_at"],
                condition=Q(leased_at__isnull=False, expected_at__gt=F("created_at")),
                name="attempt_waited",
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
            known("attempt_state_known", AttemptState),
        ]


class Extension(models.Model):
    """More time for an attempt that runs, bought by an order of its own; append-only."""

    id = models.BigAutoField(primary_key=True)
    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="extensions")
    from_s = models.PositiveIntegerField()
    """Its time begins so long after the attempt started: where what was paid for before ends."""
    seconds = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["attempt", "from_s"], name="extension_follows_once"),
            models.CheckConstraint(condition=Q(seconds__gte=1), name="extension_has_time"),
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
    accelerator_memory_bytes = models.PositiveBigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "at"], name="meter_sample_once")]


class LogPiece(models.Model):
    """Bytes `start..` of an attempt's log, as they came; append-only."""

    id = models.BigAutoField(primary_key=True)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, related_name="log_pieces")
    start = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "start"], name="log_piece_once")]
