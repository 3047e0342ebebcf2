"""What organisations are due of pools, how much they may hold, and how long cards may do nothing."""

from django.db import models
from django.db.models import Q

from mosu.compute.models.pools import Pool
from mosu.platform.rows import Row


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
    """How many cards of a type (or cores) an organisation, or one of its projects, may hold at one time; or how many
    GB of volumes it may keep."""

    prefix = "quota"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", null=True, on_delete=models.PROTECT, related_name="+")
    accelerator = models.CharField(max_length=60, blank=True)
    """Its id in `accelerators.yaml`; empty: cores of runs without cards."""
    volumes = models.BooleanField(default=False)
    """It counts GB of volumes, of all pools."""
    units_max = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organisation", "project", "accelerator", "volumes"],
                nulls_distinct=False,
                name="quota_once",
            ),
            models.CheckConstraint(condition=Q(volumes=False) | Q(accelerator=""), name="quota_of_one_thing"),
        ]
