"""Volumes: room of a pool that a project keeps files in, the terms for which it is paid, and the runs that use it."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from mosu.compute.models.known import choices, known
from mosu.compute.models.pools import Pool
from mosu.compute.models.runs import Run
from mosu.compute.states import VolumeState
from mosu.platform.rows import Row


class Volume(Row):
    """Files that outlive the runs which write them: in one pool, for one project, up to a size."""

    prefix = "volume"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="volumes")
    name = models.CharField(max_length=63)
    size_gb = models.PositiveIntegerField()
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
                fields=["kept_until"], condition=Q(state__in=["kept", "expired"]), name="volume_live"
            ),
        ]
        constraints = [
            known("volume_state_known", VolumeState),
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(state__in=["kept", "expired"]),
                name="volume_name_once",
            ),
            models.CheckConstraint(condition=Q(size_gb__gte=1), name="volume_has_room"),
            models.CheckConstraint(
                condition=Q(state__in=["kept", "expired"], ended_at=None)
                | Q(state__in=["deleting", "deleted"], ended_at__isnull=False),
                name="volume_ended_at_when_ended",
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


class VolumeUse(models.Model):
    """A run that sees a volume: one writes, or any number read."""

    id = models.BigAutoField(primary_key=True)
    volume = models.ForeignKey(Volume, on_delete=models.PROTECT, related_name="uses")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="volume_uses")
    writers = models.PositiveIntegerField()
    """1, or 0 where it reads alone."""
    live = models.BooleanField(default=True)
    """False once the run has ended."""

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
        ]
