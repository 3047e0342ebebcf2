"""Endpoints: addresses, their replicas, keys, and what was asked there."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import mosu.kernel.ids
from mosu.platform.sql import audited, final, only


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0016_sshd"),
        ("platform", "0006_lists_of_all"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Endpoint",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=40)),
                ("label", models.CharField(max_length=63)),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "open"), ("ended", "ended")], default="open", max_length=20
                    ),
                ),
                (
                    "auth",
                    models.CharField(
                        choices=[("key", "key"), ("hub", "hub"), ("public", "public")], max_length=10
                    ),
                ),
                ("port", models.PositiveIntegerField()),
                ("health", models.CharField(blank=True, max_length=200)),
                ("task", models.TextField()),
                ("sealed_secrets", models.TextField(blank=True)),
                ("workdir_manifest", models.CharField(blank=True, max_length=64)),
                ("version", models.PositiveIntegerField(default=1)),
                ("replicas_min", models.PositiveIntegerField()),
                ("replicas_max", models.PositiveIntegerField()),
                ("requests_per_replica", models.PositiveIntegerField()),
                ("idle_s", models.PositiveIntegerField()),
                ("in_flight", models.PositiveIntegerField(default=0)),
                ("asked_at", models.DateTimeField(null=True)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("failures", models.PositiveIntegerField(default=0)),
                ("retry_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="platform.organisation",
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="platform.project"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EndpointKey",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=63)),
                ("secret_sha256", models.CharField(max_length=64, unique=True)),
                ("made_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("used_at", models.DateTimeField(null=True)),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="keys",
                        to="compute.endpoint",
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="EndpointMinute",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("minute", models.DateTimeField()),
                ("requests", models.PositiveIntegerField()),
                ("refused", models.PositiveIntegerField()),
                ("failed", models.PositiveIntegerField()),
                ("in_flight_max", models.PositiveIntegerField()),
                (
                    "latencies",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveIntegerField(), size=13
                    ),
                ),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="minutes",
                        to="compute.endpoint",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EndpointRequest",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("method", models.CharField(max_length=20)),
                ("path", models.CharField(max_length=300)),
                ("status", models.PositiveIntegerField()),
                ("waited_ms", models.PositiveIntegerField()),
                ("took_ms", models.PositiveIntegerField()),
                ("bytes_in", models.PositiveBigIntegerField()),
                ("bytes_out", models.PositiveBigIntegerField()),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="requests",
                        to="compute.endpoint",
                    ),
                ),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="compute.endpointkey",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="compute.run",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Replica",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("ordinal", models.PositiveIntegerField()),
                ("version", models.PositiveIntegerField()),
                ("added_at", models.DateTimeField()),
                ("well_at", models.DateTimeField(null=True)),
                ("drained_at", models.DateTimeField(null=True)),
                ("in_flight", models.PositiveIntegerField(default=0)),
                ("over", models.BooleanField(default=False)),
                (
                    "endpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replicas",
                        to="compute.endpoint",
                    ),
                ),
                (
                    "run",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="replica", to="compute.run"
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="endpoint",
            index=models.Index(
                fields=["organisation", "-created_at", "-id"], name="endpoint_of_organisation"
            ),
        ),
        migrations.AddIndex(
            model_name="endpoint",
            index=models.Index(condition=models.Q(("state", "open")), fields=["id"], name="endpoint_open"),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "ended"])), name="endpoint_state_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "open")), fields=("label",), name="endpoint_label_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(("auth__in", ("key", "hub", "public"))), name="endpoint_auth_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(("port__gte", 1), ("port__lte", 65535)), name="endpoint_port_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("replicas_max__gte", models.F("replicas_min")),
                    ("replicas_max__lte", 20),
                    ("replicas_max__gte", 1),
                    ("requests_per_replica__gte", 1),
                ),
                name="endpoint_replicas_bounded",
            ),
        ),
        migrations.AddConstraint(
            model_name="endpoint",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "open"), ("ended_at", None)),
                    models.Q(models.Q(("state", "open"), _negated=True), ("ended_at__isnull", False)),
                    _connector="OR",
                ),
                name="endpoint_ended_at_when_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="endpointminute",
            constraint=models.UniqueConstraint(fields=("endpoint", "minute"), name="endpoint_minute_once"),
        ),
        migrations.AddIndex(
            model_name="endpointrequest",
            index=models.Index(fields=["endpoint", "-at", "-id"], name="endpoint_request_of"),
        ),
        migrations.AddIndex(
            model_name="replica",
            index=models.Index(
                condition=models.Q(("over", False)), fields=["endpoint", "id"], name="replica_live"
            ),
        ),
        migrations.AddConstraint(
            model_name="replica",
            constraint=models.UniqueConstraint(fields=("endpoint", "ordinal"), name="replica_ordered_once"),
        ),
        audited("compute_endpoint"),
        only(
            "compute_endpoint",
            *(
                "owner_id",
                "state",
                "auth",
                "port",
                "health",
                "task",
                "sealed_secrets",
                "workdir_manifest",
                "version",
                "replicas_min",
            ),
            *(
                "replicas_max",
                "requests_per_replica",
                "idle_s",
                "in_flight",
                "asked_at",
                "reason",
                "failures",
                "retry_at",
                "ended_at",
            ),
        ),
        final("compute_endpoint", "ended"),
        only("compute_replica", "well_at", "drained_at", "in_flight", "over"),
        only("compute_endpointkey", "revoked_at", "used_at"),
        only("compute_endpointminute", "requests", "refused", "failed", "in_flight_max", "latencies"),
        migrations.RunSQL(
            "revoke update, truncate on compute_endpointrequest from mosu_app",
            "grant update on compute_endpointrequest to mosu_app",
        ),
    ]
