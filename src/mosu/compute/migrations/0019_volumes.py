"""Volumes: room of a pool that projects keep files in, the terms for which it is paid, and the runs that see it."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import migrations, models
from django.db.models import Q

from mosu.platform.columns import own_id, reference
from mosu.platform.sql import append_only, audited, final, only

_STATES = [(one, one) for one in ("kept", "expired", "deleting", "deleted")]
_LIVES = Q(state__in=["kept", "expired"])


class Migration(migrations.Migration):
    dependencies = [("compute", "0018_images")]

    operations = [
        migrations.AddField("pool", "volumes_gb", models.PositiveIntegerField(default=0)),
        migrations.CreateModel(
            name="Volume",
            fields=[
                own_id(),
                ("name", models.CharField(max_length=63)),
                ("size_gb", models.PositiveIntegerField()),
                ("state", models.CharField(choices=_STATES, default="kept", max_length=20)),
                ("kept_until", models.DateTimeField()),
                ("renews_days", models.PositiveIntegerField(default=0)),
                ("told_days", models.PositiveIntegerField(null=True)),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("organisation", reference("platform.organisation")),
                ("project", reference("platform.project")),
                ("pool", reference("compute.pool", "volumes")),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["organisation", "-created_at", "-id"], name="volume_of_organisation"
                    ),
                    models.Index(fields=["pool"], condition=~Q(state="deleted"), name="volume_in_pool"),
                    models.Index(fields=["kept_until"], condition=_LIVES, name="volume_live"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state__in=[state for state, _ in _STATES]), name="volume_state_known"
                    ),
                    models.UniqueConstraint(
                        fields=["project", "name"], condition=_LIVES, name="volume_name_once"
                    ),
                    models.CheckConstraint(condition=Q(size_gb__gte=1), name="volume_has_room"),
                    models.CheckConstraint(
                        condition=Q(state__in=["kept", "expired"], ended_at=None)
                        | Q(state__in=["deleting", "deleted"], ended_at__isnull=False),
                        name="volume_ended_at_when_ended",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="VolumeTerm",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("period", DateTimeRangeField()),
                (
                    "order",
                    models.OneToOneField(on_delete=models.PROTECT, related_name="+", to="market.order"),
                ),
                ("volume", reference("compute.volume", "terms")),
            ],
            options={
                "constraints": [
                    ExclusionConstraint(
                        name="volume_paid_once",
                        expressions=[("volume", "="), ("period", "&&")],
                    ),
                    models.CheckConstraint(
                        condition=Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                        name="volume_term_bounded",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="VolumeUse",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("writers", models.PositiveIntegerField()),
                ("live", models.BooleanField(default=True)),
                ("volume", reference("compute.volume", "uses")),
                ("run", reference("compute.run", "volume_uses")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=["run", "volume"], name="volume_use_once"),
                    models.UniqueConstraint(
                        fields=["volume"], condition=Q(live=True, writers=1), name="volume_one_writer"
                    ),
                    ExclusionConstraint(
                        name="volume_writer_alone",
                        expressions=[("volume", "="), ("writers", "<>")],
                        condition=Q(live=True),
                    ),
                    models.CheckConstraint(condition=Q(writers__in=[0, 1]), name="volume_use_known"),
                ],
            },
        ),
        audited("compute_volume"),
        only("compute_volume", "state", "kept_until", "renews_days", "told_days", "ended_at"),
        final("compute_volume", "deleted"),
        only("compute_volumeuse", "live"),
        append_only("compute_volumeterm"),
    ]
