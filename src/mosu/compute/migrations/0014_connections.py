"""Sessions: which pools can join people to them, and who was joined to which port, when, how many bytes."""

from django.db import migrations, models
from django.db.models import F, Q

from mosu.kernel.ids import uuid7
from mosu.platform.sql import only

# What was counted stays counted, and what is closed stays as it was; for the owner too.
_KEPT = """
create function compute_keep_connection() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if old.closed_at is not null and new is distinct from old then
    raise exception 'connection % is closed: it no longer changes', old.id
      using errcode = 'integrity_constraint_violation';
  end if;
  if new.bytes_in < old.bytes_in or new.bytes_out < old.bytes_out or new.seen_at < old.seen_at then
    raise exception 'what was counted of connection % does not shrink', old.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger kept_as_counted before update on compute_connection
  for each row execute function compute_keep_connection();
create trigger kept before delete on compute_connection for each row execute function refuse_change();
create trigger kept_whole before truncate on compute_connection
  for each statement execute function refuse_change();
"""
_NOT_KEPT = """
drop trigger kept_as_counted on compute_connection;
drop trigger kept on compute_connection;
drop trigger kept_whole on compute_connection;
drop function compute_keep_connection();
"""


def _reference(to: str, *, null: bool = False) -> "models.ForeignKey[object, object]":
    """Without an index of its own: what is asked for has one, and none of these rows is ever deleted."""
    return models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=to, null=null, db_index=False)


class Migration(migrations.Migration):
    dependencies = [("compute", "0013_spans_nodes"), ("platform", "0006_lists_of_all")]

    operations = [
        migrations.AddField("pool", "reaches", models.BooleanField(default=False)),
        migrations.CreateModel(
            name="Connection",
            fields=[
                ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
                ("port", models.PositiveIntegerField()),
                ("opened_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("bytes_in", models.PositiveBigIntegerField(default=0)),
                ("bytes_out", models.PositiveBigIntegerField(default=0)),
                ("closed_at", models.DateTimeField(null=True)),
                ("why", models.CharField(blank=True, max_length=500)),
                ("run", _reference("compute.run")),
                ("attempt", _reference("compute.attempt")),
                ("organisation", _reference("platform.organisation")),
                ("user", _reference("platform.user")),
                ("token", _reference("platform.apitoken", null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["run", "-opened_at", "-id"], name="connection_of_run"),
                    models.Index(
                        fields=["organisation", "run"], condition=Q(closed_at=None), name="connection_open"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(port__gte=1, port__lte=65_535), name="connection_port_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(seen_at__gte=F("opened_at"))
                        & (Q(closed_at=None) | Q(closed_at__gte=F("opened_at"))),
                        name="connection_closed_after_opened",
                    ),
                    models.CheckConstraint(
                        condition=Q(closed_at=None, why="") | (Q(closed_at__isnull=False) & ~Q(why="")),
                        name="connection_says_why",
                    ),
                ],
            },
        ),
        only("compute_connection", "seen_at", "bytes_in", "bytes_out", "closed_at", "why"),
        migrations.RunSQL(_KEPT, _NOT_KEPT),
    ]
