"""When a session was used last, when it is stopped for nobody using it, what its people were told, who may come in."""

from django.db import migrations, models
from django.db.models import Q

from mosu.kernel.ids import uuid7
from mosu.platform.sql import APP_ROLE


def _reference(
    to: str, *, related_name: str = "+", db_index: bool = False
) -> "models.ForeignKey[object, object]":
    return models.ForeignKey(on_delete=models.PROTECT, related_name=related_name, to=to, db_index=db_index)


class Migration(migrations.Migration):
    dependencies = [("compute", "0019_volumes")]

    operations = [
        migrations.AddField("connection", "used_at", models.DateTimeField(null=True)),
        migrations.RunSQL(
            f"grant update (used_at) on compute_connection to {APP_ROLE}",
            f"revoke update (used_at) on compute_connection from {APP_ROLE}",
        ),
        migrations.AddField("run", "idle_stop_s", models.PositiveIntegerField(null=True)),
        migrations.AddField("run", "kept_at", models.DateTimeField(null=True)),
        migrations.AddConstraint(
            "run",
            models.CheckConstraint(
                condition=Q(idle_stop_s=None) | Q(idle_stop_s__gte=900), name="run_idle_stop_patient"
            ),
        ),
        migrations.AddField("attempt", "looked_at", models.DateTimeField(null=True)),
        migrations.RenameField("attempt", "sampled_cpu_s", "looked_cpu_s"),
        migrations.AddField("attempt", "idle_warned_at", models.DateTimeField(null=True)),
        migrations.AddField("attempt", "end_told_at", models.DateTimeField(null=True)),
        migrations.CreateModel(
            name="Guest",
            fields=[
                ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
                ("let_in_at", models.DateTimeField()),
                ("run", _reference("compute.run", related_name="guests", db_index=True)),
                ("user", _reference("platform.user")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=["run", "user"], name="guest_once")],
            },
        ),
    ]
