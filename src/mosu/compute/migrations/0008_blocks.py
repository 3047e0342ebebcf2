"""Blocks: capacity bought from one time to another, and the places of runs inside it. Pools that pack or spread."""

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
from django.db import migrations, models
from django.db.models import F, Q

from mosu.platform.columns import own_id, reference
from mosu.platform.sql import audited, final, only

_STATES = [("held", "held"), ("open", "open"), ("ended", "ended"), ("cancelled", "cancelled")]
_LIVES = Q(state__in=["held", "open"])

# A place inside a block lies on a card that the block holds, all through its time: the other constraint keeps the
# block's card from everybody else. Looked at when the transaction ends: allocations are written after their cards.
_INSIDE = """
create function compute_require_inside() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  card compute_deviceallocation;
  holder compute_allocation;
begin
  select * into card from compute_deviceallocation d where d.id = new.id;
  select * into holder from compute_allocation a where a.id = card.allocation_id;
  if card.inside <> (holder.attempt_id is not null and holder.block_id is not null) then
    raise exception 'a card of allocation % says wrongly whether it is inside a block', holder.id
      using errcode = 'integrity_constraint_violation';
  end if;
  if card.inside and card.live and not exists (
    select from compute_deviceallocation d join compute_allocation a on a.id = d.allocation_id
     where a.block_id = holder.block_id and a.attempt_id is null and a.live and d.live
       and d.device_id = card.device_id and d.period @> card.period) then
    raise exception 'the block of allocation % does not hold this card all through %', holder.id, card.period
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create constraint trigger inside after insert or update of period, inside, device_id on compute_deviceallocation
  deferrable initially deferred for each row execute function compute_require_inside();
"""


def _never_twice(name: str, condition: Q) -> migrations.AddConstraint:
    return migrations.AddConstraint(
        model_name="deviceallocation",
        constraint=django.contrib.postgres.constraints.ExclusionConstraint(
            name=name, expressions=[(F("device"), "="), (F("period"), "&&")], condition=condition
        ),
    )


class Migration(migrations.Migration):
    dependencies = [
        ("compute", "0007_joining"),
        ("market", "0014_blocks"),
        ("platform", "0006_lists_of_all"),
    ]

    operations = [
        migrations.CreateModel(
            name="Block",
            fields=[
                own_id(),
                ("state", models.CharField(choices=_STATES, default="held", max_length=20)),
                ("period", django.contrib.postgres.fields.ranges.DateTimeRangeField()),
                ("nodes", models.PositiveIntegerField()),
                ("accelerator", models.CharField(blank=True, max_length=60)),
                ("cards", models.PositiveIntegerField()),
                ("cores", models.PositiveIntegerField()),
                ("memory_bytes", models.PositiveBigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "order",
                    models.OneToOneField(on_delete=models.PROTECT, related_name="+", to="market.order"),
                ),
                ("organisation", reference("platform.organisation")),
                ("project", reference("platform.project")),
                ("pool", reference("compute.pool", "blocks")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["organisation", "-created_at", "-id"], name="block_of_organisation"),
                    models.Index(fields=["pool", "-created_at", "-id"], name="block_of_pool"),
                    models.Index(fields=["id"], condition=_LIVES, name="block_live"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state__in=[state for state, _ in _STATES]), name="block_state_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(period__isempty=False, period__lower_inf=False, period__upper_inf=False),
                        name="block_period_bounded",
                    ),
                    models.CheckConstraint(
                        condition=Q(nodes__gte=1, cores__gte=1)
                        & (Q(accelerator="", cards=0) | (~Q(accelerator="") & Q(cards__gte=1))),
                        name="block_has_goods",
                    ),
                    models.CheckConstraint(
                        condition=Q(state__in=["held", "open"], ended_at=None)
                        | Q(state__in=["ended", "cancelled"], ended_at__isnull=False),
                        name="block_ended_at_when_ended",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BlockLoss",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField(null=True)),
                ("why", models.CharField(max_length=300)),
                ("block", reference("compute.block", "losses")),
                ("node", reference("compute.node")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["block", "node"], condition=Q(until=None), name="block_loss_one_open"
                    ),
                    models.CheckConstraint(
                        condition=Q(until=None) | Q(until__gte=F("since")), name="block_loss_forward"
                    ),
                ],
            },
        ),
        migrations.AlterField(
            "allocation", "attempt", reference("compute.attempt", "allocations", null=True)
        ),
        migrations.AddField("allocation", "block", reference("compute.block", "allocations", null=True)),
        migrations.AddConstraint(
            model_name="allocation",
            constraint=models.CheckConstraint(
                condition=Q(attempt__isnull=False) | Q(block__isnull=False), name="allocation_is_somebodys"
            ),
        ),
        migrations.AddField("deviceallocation", "inside", models.BooleanField(default=False)),
        migrations.RemoveConstraint("deviceallocation", "device_never_twice"),
        _never_twice("device_never_twice", Q(live=True, inside=False)),
        _never_twice("device_never_twice_inside", Q(live=True, inside=True)),
        migrations.RunSQL(
            _INSIDE,
            "drop trigger inside on compute_deviceallocation; drop function compute_require_inside()",
        ),
        migrations.AddField(
            "pool",
            "placing",
            models.CharField(choices=[("pack", "pack"), ("spread", "spread")], default="pack", max_length=10),
        ),
        migrations.AddConstraint(
            model_name="pool",
            constraint=models.CheckConstraint(
                condition=Q(placing__in=["pack", "spread"]), name="pool_placing_known"
            ),
        ),
        audited("compute_block"),
        only("compute_block", "state", "ended_at"),
        final("compute_block", "ended", "cancelled"),
        only("compute_blockloss", "until"),
    ]
