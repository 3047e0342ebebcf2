"""How pools are shared: weights, quotas, idle accelerators, what gives way; and when starts were expected."""

import django.db.models.deletion
from django.db import migrations, models

from mosu.platform.columns import own_id, reference


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0005_work_of_pools"),
        ("platform", "0006_lists_of_all"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdleRule",
            fields=[
                own_id(),
                ("stop_after_s", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="PoolShare",
            fields=[
                own_id(),
                ("weight", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Quota",
            fields=[
                own_id(),
                ("accelerator", models.CharField(blank=True, max_length=60)),
                ("units_max", models.PositiveIntegerField()),
            ],
        ),
        migrations.AddField(
            model_name="allocation",
            name="gave_way_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="allocation",
            name="yields",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="attempt",
            name="expected_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="attempt",
            name="idle_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="attempt",
            name="idle_told_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="attempt",
            name="sampled_cpu_s",
            field=models.FloatField(default=0),
        ),
        migrations.AddField(
            model_name="attempt",
            name="wall_limit_s",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="metersample",
            name="accelerator_util",
            field=models.FloatField(null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="cancel_why",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                condition=models.Q(("idle_since__isnull", False), ("state", "running")),
                fields=["idle_since"],
                name="attempt_idle",
            ),
        ),
        migrations.AddField(
            model_name="idlerule",
            name="organisation",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="platform.organisation"
            ),
        ),
        migrations.AddField(
            model_name="poolshare",
            name="organisation",
            field=reference("platform.organisation"),
        ),
        migrations.AddField(
            model_name="poolshare",
            name="pool",
            field=reference("compute.pool", "shares"),
        ),
        migrations.AddField(
            model_name="quota",
            name="organisation",
            field=reference("platform.organisation"),
        ),
        migrations.AddField(
            model_name="quota",
            name="project",
            field=reference("platform.project", null=True),
        ),
        migrations.AddConstraint(
            model_name="idlerule",
            constraint=models.CheckConstraint(
                condition=models.Q(("stop_after_s__gte", 900)), name="idle_rule_patient"
            ),
        ),
        migrations.AddConstraint(
            model_name="poolshare",
            constraint=models.UniqueConstraint(fields=("pool", "organisation"), name="pool_share_once"),
        ),
        migrations.AddConstraint(
            model_name="poolshare",
            constraint=models.CheckConstraint(
                condition=models.Q(("weight__gte", 1), ("weight__lte", 1000)), name="pool_share_weight_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="quota",
            constraint=models.UniqueConstraint(
                fields=("organisation", "project", "accelerator"), name="quota_once", nulls_distinct=False
            ),
        ),
    ]
