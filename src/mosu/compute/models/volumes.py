"""Volumes: room of a pool that a project keeps files in, the terms for which it is paid, and the runs that use it."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from mosu.compute.models.known import choices, known
from mosu.compute.models.pools import Pool
from mosu.compute.models.runs import Run
from mosu.compute.states import CopyState, VolumeState
from mosu.platform.rows import Row


class Volume(Row):
    """Files that outlive the runs which write them: in one pool, for one project, up to a size.

    A snapshot is one, too, which nobody writes: `NAME@LABEL`, what the volume NAME held when it was made.
    """

    prefix = "volume"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="volumes")
    name = models.CharField(max_length=127)
    snapshot_of = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="snapshots")
    size_gb = models.PositiveIntegerField()
    """Of a snapshot what it takes; as long as it is made, what it may take at most: as much as its volume."""
    whole_at = models.DateTimeField(null=True)
    """Of a snapshot: since when it is whole, and paid for."""
    state = models.CharField(max_length=20, choices=choices(VolumeState), default=VolumeState.KEPT.value)
    kept_until = models.DateTimeField()
    """Until then it is paid for."""
    renews_days = models.PositiveIntegerField(default=0)
    """For how long it is renewed by itself when that is over; 0: it is not."""
    told_days = models.PositiveIntegerField(null=True)
    """How many days before the end people were last told of it; None: not of this end."""
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-created_at", "-id"], name="volume_of_organisation"),
            models.Index(fields=["pool"], condition=~Q(state="deleted"), name="volume_in_pool"),
            models.Index(
                fields=["kept_until"],
                condition=Q(state__in=["making", "kept", "expired"]),
                name="volume_live",
            ),
        ]
        constraints = [
            known("volume_state_known", VolumeState),
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(state__in=["making", "kept", "expired"]),
                name="volume_name_once",
            ),
            models.CheckConstraint(condition=Q(size_gb__gte=1), name="volume_has_room"),
            models.CheckConstraint(
                condition=Q(state__in=["making", "kept", "expired"], ended_at=None)
                | Q(state__in=["deleting", "deleted"], ended_at__isnull=False),
                name="volume_ended_at_when_ended",
            ),
            models.CheckConstraint(
                condition=Q(name__contains="@", snapshot_of__isnull=False)
                | (~Q(name__contains="@") & Q(snapshot_of=None, whole_at=None) & ~Q(state="making")),
                name="volume_snapshot_named",
            ),
            models.CheckConstraint(
                condition=Q(snapshot_of=None)
                | Q(state="making", whole_at=None)
                | Q(state__in=["kept", "expired"], whole_at__isnull=False)
                | Q(state__in=["deleting", "deleted"]),
                name="volume_snapshot_whole_when_kept",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class VolumeTerm(models.Model):
    """A time for which an order keeps a volume."""

    id = models.BigAutoField(primary_key=True)
    order = models.OneToOneField("market.Order", on_delete=models.PROTECT, related_name="+")
    volume = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="terms")
    period = DateTimeRangeField()

    class Meta:
        constraints = [
            ExclusionConstraint(
                name="volume_paid_once",
                expressions=[("volume", RangeOperators.EQUAL), ("period", RangeOperators.OVERLAPS)],
            ),
            models.CheckConstraint(
                condition=Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                name="volume_term_bounded",
            ),
        ]


class VolumeCopy(Row):
    """What the volume `source` holds is copied by the pool's agent: into a new snapshot, or back into a volume."""

    prefix = "volumecopy"

    source = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="copies_from")
    target = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="copies_to")
    restores = models.BooleanField(default=False)
    """What the target held before is lost once the copy is whole."""
    state = models.CharField(max_length=20, choices=choices(CopyState), default=CopyState.COPYING.value)
    asked_by = models.UUIDField(null=True)
    """The user who has a volume restored; a snapshot's is in its order."""
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    bytes_done = models.BigIntegerField(default=0)
    bytes_total = models.BigIntegerField(default=0)
    """As the agent says; 0 until it has looked."""
    took_s = models.FloatField(default=0)
    """From the first byte to the last."""
    reason = models.CharField(max_length=40, blank=True)
    """Why it failed: one of `mosu.wire.agent.CopyFault`, or what the hub ended it for."""

    class Meta:
        constraints = [
            known("volume_copy_state_known", CopyState),
            models.UniqueConstraint(
                fields=["target"], condition=Q(state="copying"), name="volume_copied_to_once"
            ),
            models.CheckConstraint(
                condition=Q(state="copying", ended_at=None)
                | Q(state__in=["whole", "failed"], ended_at__isnull=False),
                name="volume_copy_ended_at_when_ended",
            ),
            models.CheckConstraint(
                condition=~Q(source=models.F("target")), name="volume_copy_goes_elsewhere"
            ),
        ]


class VolumeUse(models.Model):
    """A run that sees a volume, or a copy that reads or writes it: one writes, or any number read."""

    id = models.BigAutoField(primary_key=True)
    volume = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="uses")
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="volume_uses")
    copy = models.ForeignKey(VolumeCopy, null=True, on_delete=models.PROTECT, related_name="uses")
    writers = models.PositiveIntegerField()
    """1, or 0 where it reads alone."""
    live = models.BooleanField(default=True)
    """False once the run, or the copy, has ended."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "volume"], name="volume_use_once"),
            models.UniqueConstraint(
                fields=["volume"], condition=Q(live=True, writers=1), name="volume_one_writer"
            ),
            ExclusionConstraint(
                name="volume_writer_alone",
                expressions=[
                    ("volume", RangeOperators.EQUAL),
                    ("writers", RangeOperators.NOT_EQUAL),
                ],
                condition=Q(live=True),
            ),
            models.CheckConstraint(condition=Q(writers__in=[0, 1]), name="volume_use_known"),
            models.CheckConstraint(
                condition=Q(run=None, copy__isnull=False) | Q(run__isnull=False, copy=None),
                name="volume_use_is_of_one",
            ),
        ]
