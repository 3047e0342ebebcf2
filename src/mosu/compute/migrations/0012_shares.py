"""Shares of cards: each device says which part of which card it is, and no part is ever held twice."""

from typing import Any

import django.contrib.postgres.constraints
import django.contrib.postgres.fields.ranges
import django.db.models.functions.math
from django.db import migrations, models
from django.db.models import F, Func, Q

_WHOLE = 20_160

# A kind such as `nvidia-a100-80gb/4`: the share's number stands above the card's in its index.
_PART_OF = f"""
create function compute_part_of(kind text, index integer) returns int4range language sql immutable parallel safe as $$
  select int4range((index / 1024 * {_WHOLE}::bigint / cut.shares)::int,
                   ((index / 1024 + 1) * {_WHOLE}::bigint / cut.shares)::int)
    from (select coalesce(substring(kind from '/([0-9]+)(?:-shared)?$')::int, 1) as shares) cut
$$;
"""  # noqa: S608 - a number of ours

# What is taken stays what it was when it was taken, whatever the supplier makes of the card later.
_TAKEN = """
create function compute_copy_part() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  select d.node_id, d.card, d.part into new.node_id, new.card, new.part
    from compute_device d where d.id = new.device_id;
  return new;
end $$;
create trigger copy_part before insert or update of device_id, node_id, card, part on compute_deviceallocation
  for each row execute function compute_copy_part();
"""

_ONE_PART = [(F("node"), "="), (F("card"), "="), (F("part"), "&&"), (F("period"), "&&")]


def _node(*, null: bool = False) -> "models.ForeignKey[Any, Any]":
    """Without an index of its own: the constraints have it."""
    return models.ForeignKey(
        on_delete=models.PROTECT, related_name="+", to="compute.node", null=null, db_index=False
    )


def _never_twice(name: str, *, inside: bool) -> migrations.AddConstraint:
    return migrations.AddConstraint(
        "deviceallocation",
        django.contrib.postgres.constraints.ExclusionConstraint(
            name=name, expressions=_ONE_PART, condition=Q(live=True, inside=inside)
        ),
    )


class Migration(migrations.Migration):
    dependencies = [("compute", "0011_card_memory")]

    operations = [
        migrations.RunSQL(_PART_OF, "drop function compute_part_of(text, integer)"),
        migrations.AddField(
            "device",
            "card",
            models.GeneratedField(
                expression=django.db.models.functions.math.Mod(F("index"), 1024),
                output_field=models.IntegerField(),
                db_persist=True,
            ),
        ),
        migrations.AddField(
            "device",
            "part",
            models.GeneratedField(
                expression=Func(F("accelerator"), F("index"), function="compute_part_of"),
                output_field=django.contrib.postgres.fields.ranges.IntegerRangeField(),
                db_persist=True,
            ),
        ),
        migrations.AddIndex("device", models.Index(fields=["node", "card"], name="device_of_card")),
        migrations.AddConstraint(
            "device",
            models.CheckConstraint(condition=Q(part__contained_by=(0, _WHOLE)), name="device_within_card"),
        ),
        migrations.AddConstraint(
            "device",
            django.contrib.postgres.constraints.ExclusionConstraint(
                name="device_whole_or_cut",
                expressions=[("node", "="), ("card", "="), ("part", "&&")],
                condition=Q(present=True),
                deferrable=models.Deferrable.DEFERRED,
            ),
        ),
        migrations.RemoveConstraint("deviceallocation", "device_never_twice"),
        migrations.RemoveConstraint("deviceallocation", "device_never_twice_inside"),
        migrations.AddField("deviceallocation", "node", _node(null=True)),
        migrations.AddField("deviceallocation", "card", models.PositiveIntegerField(null=True)),
        migrations.AddField(
            "deviceallocation",
            "part",
            django.contrib.postgres.fields.ranges.IntegerRangeField(null=True),
        ),
        migrations.RunSQL(
            "update compute_deviceallocation c set node_id = d.node_id, card = d.card, part = d.part"
            " from compute_device d where d.id = c.device_id",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL("set constraints all immediate", migrations.RunSQL.noop),
        migrations.AlterField("deviceallocation", "node", _node()),
        migrations.AlterField("deviceallocation", "card", models.PositiveIntegerField()),
        migrations.AlterField(
            "deviceallocation", "part", django.contrib.postgres.fields.ranges.IntegerRangeField()
        ),
        migrations.RunSQL(
            _TAKEN, "drop trigger copy_part on compute_deviceallocation; drop function compute_copy_part()"
        ),
        _never_twice("device_never_twice", inside=False),
        _never_twice("device_never_twice_inside", inside=True),
    ]
