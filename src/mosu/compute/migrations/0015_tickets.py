"""Tickets: what lets a browser in to a port of a session."""

from django.db import migrations, models
from django.db.models import F, Q

from mosu.kernel.ids import uuid7
from mosu.platform.sql import only

# Redeemed once, whoever writes.
_ONCE = """
create function compute_redeem_once() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if old.redeemed_at is not null then
    raise exception 'ticket % was redeemed: it no longer changes', old.id
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger redeemed_once before update on compute_ticket
  for each row execute function compute_redeem_once();
create trigger kept before delete on compute_ticket for each row execute function refuse_change();
create trigger kept_whole before truncate on compute_ticket
  for each statement execute function refuse_change();
"""
_NOT_ONCE = """
drop trigger redeemed_once on compute_ticket;
drop trigger kept on compute_ticket;
drop trigger kept_whole on compute_ticket;
drop function compute_redeem_once();
"""


def _reference(to: str, *, null: bool = False) -> "models.ForeignKey[object, object]":
    """Without an index of its own: nobody asks by it, and none of these rows is ever deleted."""
    return models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=to, null=null, db_index=False)


class Migration(migrations.Migration):
    dependencies = [("compute", "0014_connections")]

    operations = [
        migrations.CreateModel(
            name="Ticket",
            fields=[
                ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
                ("sign_in", models.CharField(blank=True, max_length=40)),
                ("port", models.PositiveIntegerField()),
                ("secret_sha256", models.CharField(max_length=64, unique=True)),
                ("made_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("redeemed_at", models.DateTimeField(null=True)),
                ("cookie_sha256", models.CharField(max_length=64, null=True, unique=True)),
                ("cookie_expires_at", models.DateTimeField(null=True)),
                ("run", _reference("compute.run")),
                ("user", _reference("platform.user")),
                ("token", _reference("platform.apitoken", null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(port__gte=1, port__lte=65_535), name="ticket_port_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(token__isnull=True) & ~Q(sign_in="") | Q(token__isnull=False, sign_in=""),
                        name="ticket_has_one_origin",
                    ),
                    models.CheckConstraint(
                        condition=Q(redeemed_at=None, cookie_sha256=None, cookie_expires_at=None)
                        | Q(redeemed_at__isnull=False)
                        & Q(cookie_sha256__isnull=False, cookie_expires_at__isnull=False),
                        name="ticket_redeemed_for_a_cookie",
                    ),
                    models.CheckConstraint(
                        condition=Q(redeemed_at=None) | Q(redeemed_at__lt=F("expires_at")),
                        name="ticket_redeemed_in_time",
                    ),
                ],
            },
        ),
        migrations.AddField("connection", "ticket", _reference("compute.ticket", null=True)),
        only("compute_ticket", "redeemed_at", "cookie_sha256", "cookie_expires_at"),
        migrations.RunSQL(_ONCE, _NOT_ONCE),
    ]
