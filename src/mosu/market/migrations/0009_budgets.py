"""What a month may cost: the database refuses an order that would pass a budget, whoever else orders meanwhile."""

from django.conf import settings
from django.db import migrations, models

from mosu.platform.columns import own_id, reference
from mosu.platform.sql import audited, final, only

# At the commit, when the rows are locked and a budget that was set meanwhile is seen. Less may always be promised:
# a budget can be set below what is promised already.
_WITHIN = """
create function market_within_budget() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare cap bigint;
begin
  if tg_op = 'UPDATE' and new.committed_micros <= old.committed_micros then return null; end if;
  select cap_micros into cap from market_budget
   where state = 'set' and organisation_id = new.organisation_id
     and project_id is not distinct from new.project_id and user_id is not distinct from new.user_id;
  if new.committed_micros > cap then
    raise exception '% micros in % pass the budget of % micros', new.committed_micros, new.month, cap
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;
create constraint trigger within_budget after insert or update of committed_micros on market_spending
  deferrable initially deferred for each row execute function market_within_budget();
"""
_FORGET = "drop trigger within_budget on market_spending; drop function market_within_budget();"
# What was bought before; who bought it is only in the audit trail, so it counts for no person.
_COUNT = """
insert into market_spending (organisation_id, project_id, month, committed_micros, told_percent)
select organisation_id, project_id, month, sum(micros), 0 from (
  select o.organisation_id, o.project_id,
         date_trunc('month', o.placed_at at time zone %s)::date as month,
         case o.state when 'settled' then coalesce(o.total_micros, 0) when 'cancelled' then 0
                      else o.total_max_micros end as micros
    from market_order o) as spent
 group by grouping sets ((organisation_id, project_id, month), (organisation_id, month))
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0008_lists_of_all"),
        ("platform", "0006_lists_of_all"),
    ]

    operations = [
        migrations.AddField(
            model_name="order",
            name="placed_by",
            field=models.UUIDField(null=True),
        ),
        migrations.CreateModel(
            name="Spending",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("organisation_id", models.UUIDField()),
                ("project_id", models.UUIDField(null=True)),
                ("user_id", models.UUIDField(null=True)),
                ("month", models.DateField()),
                ("committed_micros", models.BigIntegerField()),
                ("told_percent", models.PositiveSmallIntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organisation_id", "project_id", "user_id", "month"),
                        name="spending_once",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("committed_micros__gte", 0)), name="spending_not_negative"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Budget",
            fields=[
                own_id(),
                ("cap_micros", models.BigIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[("set", "Set"), ("lifted", "Lifted")], default="set", max_length=10
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("organisation", reference("platform.organisation")),
                ("user", reference(settings.AUTH_USER_MODEL, null=True)),
                ("project", reference("platform.project", null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "set")),
                        fields=("organisation", "project", "user"),
                        name="budget_set_once",
                        nulls_distinct=False,
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["set", "lifted"])), name="budget_state_known"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("cap_micros__gte", 0)), name="budget_cap_not_negative"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("project", None), ("user", None), _connector="OR"),
                        name="budget_of_project_or_person",
                    ),
                ],
            },
        ),
        audited("market_budget"),
        only("market_budget", "state"),
        final("market_budget", "lifted"),
        only("market_spending", "committed_micros", "told_percent"),
        migrations.RunSQL([(_COUNT, [settings.HUB_ZONE])], migrations.RunSQL.noop),
        migrations.RunSQL(_WITHIN, _FORGET),
    ]
