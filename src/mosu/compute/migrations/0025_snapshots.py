"""Snapshots of volumes, the copies that make and restore them, and quotas of volumes."""

from django.db import migrations, models
from django.db.models import F, Q

from mosu.platform.columns import own_id, reference
from mosu.platform.sql import audited, final, only

_STATES = [(one, one) for one in ("making", "kept", "expired", "deleting", "deleted")]
_LIVES = Q(state__in=["making", "kept", "expired"])
_COPIES = [(one, one) for one in ("copying", "whole", "failed")]
# A snapshot's size is known once it is whole.
_MEASURED = "grant update (size_gb, whole_at) on compute_volume to mosu_app"
_UNMEASURED = "revoke update (size_gb, whole_at) on compute_volume from mosu_app"


class Migration(migrations.Migration):
    dependencies = [("compute", "0024_extensions")]

    operations = [
        migrations.AddField("pool", "copies_volumes", models.BooleanField(default=False)),
        migrations.AlterField("volume", "name", models.CharField(max_length=127)),
        migrations.AddField("volume", "snapshot_of", reference("compute.volume", "snapshots", null=True)),
        migrations.AddField("volume", "whole_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "volume", "state", models.CharField(choices=_STATES, default="kept", max_length=20)
        ),
        migrations.RemoveIndex("volume", "volume_live"),
        migrations.AddIndex(
            "volume", models.Index(fields=["kept_until"], condition=_LIVES, name="volume_live")
        ),
        migrations.RemoveConstraint("volume", "volume_state_known"),
        migrations.AddConstraint(
            "volume",
            models.CheckConstraint(
                condition=Q(state__in=[state for state, _ in _STATES]), name="volume_state_known"
            ),
        ),
        migrations.RemoveConstraint("volume", "volume_name_once"),
        migrations.AddConstraint(
            "volume",
            models.UniqueConstraint(fields=["project", "name"], condition=_LIVES, name="volume_name_once"),
        ),
        migrations.RemoveConstraint("volume", "volume_ended_at_when_ended"),
        migrations.AddConstraint(
            "volume",
            models.CheckConstraint(
                condition=Q(state__in=["making", "kept", "expired"], ended_at=None)
                | Q(state__in=["deleting", "deleted"], ended_at__isnull=False),
                name="volume_ended_at_when_ended",
            ),
        ),
        migrations.AddConstraint(
            "volume",
            models.CheckConstraint(
                condition=Q(name__contains="@", snapshot_of__isnull=False)
                | (~Q(name__contains="@") & Q(snapshot_of=None, whole_at=None) & ~Q(state="making")),
                name="volume_snapshot_named",
            ),
        ),
        migrations.AddConstraint(
            "volume",
            models.CheckConstraint(
                condition=Q(snapshot_of=None)
                | Q(state="making", whole_at=None)
                | Q(state__in=["kept", "expired"], whole_at__isnull=False)
                | Q(state__in=["deleting", "deleted"]),
                name="volume_snapshot_whole_when_kept",
            ),
        ),
        migrations.CreateModel(
            name="VolumeCopy",
            fields=[
                own_id(),
                ("restores", models.BooleanField(default=False)),
                ("state", models.CharField(choices=_COPIES, default="copying", max_length=20)),
                ("asked_by", models.UUIDField(null=True)),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("bytes_done", models.BigIntegerField(default=0)),
                ("bytes_total", models.BigIntegerField(default=0)),
                ("took_s", models.FloatField(default=0)),
                ("reason", models.CharField(blank=True, max_length=40)),
                ("source", reference("compute.volume", "copies_from")),
                ("target", reference("compute.volume", "copies_to")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state__in=[state for state, _ in _COPIES]), name="volume_copy_state_known"
                    ),
                    models.UniqueConstraint(
                        fields=["target"], condition=Q(state="copying"), name="volume_copied_to_once"
                    ),
                    models.CheckConstraint(
                        condition=Q(state="copying", ended_at=None)
                        | Q(state__in=["whole", "failed"], ended_at__isnull=False),
                        name="volume_copy_ended_at_when_ended",
                    ),
                    models.CheckConstraint(
                        condition=~Q(source=F("target")), name="volume_copy_goes_elsewhere"
                    ),
                ],
            },
        ),
        migrations.AlterField("volumeuse", "run", reference("compute.run", "volume_uses", null=True)),
        migrations.AddField("volumeuse", "copy", reference("compute.volumecopy", "uses", null=True)),
        migrations.AddConstraint(
            "volumeuse",
            models.CheckConstraint(
                condition=Q(run=None, copy__isnull=False) | Q(run__isnull=False, copy=None),
                name="volume_use_is_of_one",
            ),
        ),
        migrations.AddField("quota", "volumes", models.BooleanField(default=False)),
        migrations.RemoveConstraint("quota", "quota_once"),
        migrations.AddConstraint(
            "quota",
            models.UniqueConstraint(
                fields=("organisation", "project", "accelerator", "volumes"),
                name="quota_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            "quota",
            models.CheckConstraint(condition=Q(volumes=False) | Q(accelerator=""), name="quota_of_one_thing"),
        ),
        migrations.RunSQL(_MEASURED, _UNMEASURED),
        audited("compute_volumecopy"),
        only("compute_volumecopy", "state", "ended_at", "bytes_done", "bytes_total", "took_s", "reason"),
        final("compute_volumecopy", "whole", "failed"),
    ]
