"""Browsers come in to endpoints by tickets as to sessions; old requests and minutes are found by their time."""

from django.db import migrations, models
from django.db.models import Q

# Curves are kept a while: who may add to them may let the old ones go.
_FORGET = "grant delete on compute_endpointminute to mosu_app"
_KEEP = "revoke delete on compute_endpointminute from mosu_app"


class Migration(migrations.Migration):
    dependencies = [("compute", "0020_while_a_session_runs")]

    operations = [
        migrations.AddField(
            "ticket",
            "endpoint",
            models.ForeignKey(
                on_delete=models.PROTECT, related_name="+", to="compute.endpoint", null=True, db_index=False
            ),
        ),
        migrations.AlterField("ticket", "port", models.PositiveIntegerField(null=True)),
        migrations.AlterField(
            "ticket",
            "run",
            models.ForeignKey(
                on_delete=models.PROTECT, related_name="+", to="compute.run", null=True, db_index=False
            ),
        ),
        migrations.AddConstraint(
            "ticket",
            models.CheckConstraint(
                condition=Q(run__isnull=False, port__isnull=False, endpoint__isnull=True)
                | Q(run__isnull=True, port__isnull=True, endpoint__isnull=False),
                name="ticket_is_for_one_host",
            ),
        ),
        migrations.AddIndex("endpointminute", models.Index(fields=["minute"], name="endpoint_minute_at")),
        migrations.AddIndex("endpointrequest", models.Index(fields=["at"], name="endpoint_request_at")),
        migrations.RunSQL(_FORGET, _KEEP),
    ]
