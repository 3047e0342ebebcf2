"""Usage by the month of the order's acceptance, and the month's close: bills, statements, credit notes."""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from mosu.market.sql import CLOSING
from mosu.platform.columns import own_id, reference, two_persons_constraint
from mosu.platform.sql import append_only, audited, final, only, owner_only

_OUT_OF_THE_WAY = """
alter table market_usagerecord rename to market_usagebefore;
alter table market_usagebefore drop constraint market_usagerecord_pkey;
alter table market_usagebefore drop constraint usage_once;
"""

_PARTED = """
create table market_usagerecord (
  id uuid not null,
  order_line_id uuid not null,
  accepted_month date not null,
  meter varchar(40) not null,
  sequence bigint not null,
  quantity bigint not null,
  quantity_accepted bigint not null,
  quantity_observed bigint,
  start timestamptz not null,
  "end" timestamptz not null,
  received_at timestamptz not null,
  state varchar(12) not null,
  reason varchar(200) not null,
  constraint usage_accepted_within_claim check (quantity_accepted >= 0 and quantity >= quantity_accepted),
  constraint usage_quarantined_with_reason check (
    (state = 'accepted' and reason = '' and quantity = quantity_accepted) or (state = 'quarantined' and reason <> '')),
  constraint market_usagerecord_pkey primary key (id, accepted_month),
  constraint usage_once unique (order_line_id, meter, sequence, accepted_month),
  constraint usage_line_and_month foreign key (order_line_id, accepted_month)
    references market_orderline (id, accepted_month) deferrable initially deferred
) partition by range (accepted_month);
"""

_FUNCTIONS = """
-- The partition of a month, made by its first record. Attached, not created in place: that lets others go on reading.
create function market_open_usage_month(month date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  name text := 'market_usagerecord_' || to_char(month, 'YYYY_MM');
begin
  if to_regclass(name) is not null then
    return;
  end if;
  if month <> date_trunc('month', month) then
    raise exception '% is not the first day of a month', month using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtext('market_usagerecord'));
  if to_regclass(name) is not null then
    return;
  end if;
  execute format('create table %I (like market_usagerecord including all)', name);
  execute format('revoke all on %I from mosu_app', name);
  execute format('create trigger append_only_whole before truncate on %I '
                 'for each statement execute function refuse_change()', name);
  execute format('alter table market_usagerecord attach partition %I for values from (%L) to (%L)',
                 name, month, month + interval '1 month');
end $$;

-- Keeps each line's total; what counts stays within what the order's hold covers, whoever writes.
create function market_sum_usage() returns trigger
language plpgsql security definer set search_path = public, pg_temp as $$
declare
  line uuid;
begin
  insert into market_usagetotal as t
    (order_line_id, records, last_sequence, quarantined, quantity, quantity_accepted, quantity_observed)
    select a.order_line_id, count(*), max(a.sequence), count(*) filter (where a.state = 'quarantined'), sum(a.quantity),
           sum(a.quantity_accepted), max(a.quantity_observed)
      from added a group by a.order_line_id order by a.order_line_id
    on conflict (order_line_id) do update
      set records = t.records + excluded.records,
          last_sequence = greatest(t.last_sequence, excluded.last_sequence), quarantined = t.quarantined + excluded.quarantined,
          quantity = t.quantity + excluded.quantity,
          quantity_accepted = t.quantity_accepted + excluded.quantity_accepted,
          quantity_observed = greatest(t.quantity_observed, excluded.quantity_observed);
  select t.order_line_id into line
    from market_usagetotal t join market_orderline l on l.id = t.order_line_id
   where t.order_line_id in (select a.order_line_id from added a) and t.quantity_accepted > l.quantity_max limit 1;
  if found then
    raise exception 'more usage counts on line % than its hold covers', line
      using errcode = 'integrity_constraint_violation';
  end if;
  return null;
end $$;

create trigger summed after insert on market_usagerecord
  referencing new table as added for each statement execute function market_sum_usage();
"""

_MOVED = """
select market_open_usage_month(month) from (select distinct accepted_month as month from market_orderline
  where id in (select order_line_id from market_usagebefore)) as months;
insert into market_usagerecord
  (id, order_line_id, accepted_month, meter, sequence, quantity, quantity_accepted, start, "end", received_at, state,
   reason)
  select u.id, u.order_line_id, l.accepted_month, u.meter, u.sequence, u.quantity, u.quantity_accepted, u.start,
         u."end", u.received_at, u.state, u.reason
    from market_usagebefore u join market_orderline l on l.id = u.order_line_id;
drop table market_usagebefore;
"""


def _give_months(apps: Any, schema: Any) -> None:
    """Each line the month in which its order was placed, in the hub's zone."""
    schema.execute("alter table market_orderline disable trigger append_only")
    schema.execute(
        "update market_orderline l set accepted_month = date_trunc('month', o.placed_at at time zone %s)::date "
        "from market_order o where o.id = l.order_id",
        [settings.HUB_ZONE],
    )
    schema.execute("alter table market_orderline enable trigger append_only")


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0006_payouts"),
        ("market", "0010_offers_by_title"),
        ("platform", "0006_lists_of_all"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField("orderline", "accepted_month", models.DateField(null=True)),
        migrations.RunPython(_give_months, migrations.RunPython.noop),
        migrations.AlterField("orderline", "accepted_month", models.DateField()),
        migrations.AddConstraint(
            "orderline",
            models.UniqueConstraint(fields=["id", "accepted_month"], name="order_line_month"),
        ),
        migrations.AddIndex("orderline", models.Index(fields=["accepted_month"], name="order_line_by_month")),
        migrations.CreateModel(
            name="UsageTotal",
            fields=[
                (
                    "order_line",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="usage_total",
                        serialize=False,
                        to="market.orderline",
                    ),
                ),
                ("records", models.BigIntegerField()),
                ("last_sequence", models.BigIntegerField()),
                ("quarantined", models.BigIntegerField()),
                ("quantity", models.DecimalField(decimal_places=0, max_digits=38)),
                ("quantity_accepted", models.BigIntegerField()),
                ("quantity_observed", models.BigIntegerField(null=True)),
            ],
        ),
        owner_only("market_usagetotal"),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(_OUT_OF_THE_WAY),
                migrations.RunSQL(_PARTED),
                migrations.RunSQL(_FUNCTIONS),
                migrations.RunSQL(_MOVED),
                append_only("market_usagerecord"),
            ],
            state_operations=[
                migrations.AddField("usagerecord", "accepted_month", models.DateField()),
                migrations.AddField("usagerecord", "quantity_observed", models.BigIntegerField(null=True)),
                migrations.AlterField(
                    "usagerecord",
                    "order_line",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="usage",
                        to="market.orderline",
                    ),
                ),
                migrations.RemoveConstraint("usagerecord", "usage_once"),
                migrations.AddConstraint(
                    "usagerecord",
                    models.UniqueConstraint(
                        fields=["order_line", "meter", "sequence", "accepted_month"], name="usage_once"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MonthClose",
            fields=[
                own_id(),
                ("month", models.DateField(unique=True)),
                ("starts_at", models.DateTimeField()),
                ("ends_at", models.DateTimeField()),
                ("bills", models.BigIntegerField()),
                ("statements", models.BigIntegerField()),
                ("receipts", models.BigIntegerField()),
                ("usage_records", models.BigIntegerField()),
                ("total_micros", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                ("sha256", models.CharField(max_length=64)),
                ("closed_at", models.DateTimeField()),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Bill",
            fields=[
                own_id(),
                ("number", models.CharField(max_length=30, unique=True)),
                ("month", models.DateField()),
                ("currency", models.CharField(max_length=3)),
                ("receipts", models.BigIntegerField()),
                ("total_micros", models.BigIntegerField()),
                ("vouchers_micros", models.BigIntegerField()),
                ("paid_micros", models.BigIntegerField()),
                ("billed_by_suppliers_micros", models.BigIntegerField()),
                ("refund_later_micros", models.BigIntegerField()),
                ("credited_micros", models.BigIntegerField()),
                ("tax_micros", models.BigIntegerField()),
                ("credits_micros", models.BigIntegerField()),
                ("content", models.JSONField()),
                ("sha256", models.CharField(max_length=64)),
                ("issued_at", models.DateTimeField()),
                ("organisation", reference("platform.organisation", "bills")),
            ],
            options={
                "indexes": [models.Index(fields=["-month", "-id"], name="bill_by_month")],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "month"), name="bill_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "total_micros",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("vouchers_micros"), "+", models.F("paid_micros")
                                ),
                            )
                        ),
                        name="bill_adds_up",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="CreditNote",
            fields=[
                own_id(),
                ("number", models.CharField(max_length=30, null=True, unique=True)),
                ("amount_micros", models.BigIntegerField()),
                ("currency", models.CharField(max_length=3)),
                (
                    "borne_by",
                    models.CharField(choices=[("supplier", "Supplier"), ("hub", "Hub")], max_length=10),
                ),
                ("why", models.CharField(max_length=1000)),
                (
                    "state",
                    models.CharField(
                        choices=[("proposed", "Proposed"), ("issued", "Issued"), ("rejected", "Rejected")],
                        default="proposed",
                        max_length=10,
                    ),
                ),
                ("entry_id", models.UUIDField(null=True, unique=True)),
                ("proposed_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("checker", reference(settings.AUTH_USER_MODEL, null=True)),
                ("maker", reference(settings.AUTH_USER_MODEL)),
                ("organisation", reference("platform.organisation", "credit_notes")),
                ("receipt", reference("market.receipt", "credit_notes")),
                ("supplier", reference("platform.organisation")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("why", ""), _negated=True), name="credit_note_says_why"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("amount_micros__gt", 0), ("amount_micros__lte", 9000000000000000000)
                        ),
                        name="credit_note_positive",
                    ),
                    two_persons_constraint("credit_note_two_persons"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("checker", None),
                                ("decided_at", None),
                                ("entry_id", None),
                                ("number", None),
                                ("state", "proposed"),
                            ),
                            models.Q(
                                ("checker__isnull", False),
                                ("decided_at__isnull", False),
                                ("entry_id__isnull", False),
                                ("number__isnull", False),
                                ("state", "issued"),
                            ),
                            models.Q(
                                ("checker__isnull", False),
                                ("decided_at__isnull", False),
                                ("entry_id", None),
                                ("number", None),
                                ("state", "rejected"),
                            ),
                            _connector="OR",
                        ),
                        name="credit_note_state_whole",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Statement",
            fields=[
                own_id(),
                ("number", models.CharField(max_length=30, unique=True)),
                ("month", models.DateField()),
                ("currency", models.CharField(max_length=3)),
                ("orders", models.BigIntegerField()),
                ("gross_micros", models.BigIntegerField()),
                ("vouchers_micros", models.BigIntegerField()),
                ("buyers_micros", models.BigIntegerField()),
                ("fee_micros", models.BigIntegerField()),
                ("tax_micros", models.BigIntegerField()),
                ("credits_micros", models.BigIntegerField()),
                ("net_micros", models.BigIntegerField()),
                ("to_invoice_micros", models.BigIntegerField()),
                ("content", models.JSONField()),
                ("sha256", models.CharField(max_length=64)),
                ("issued_at", models.DateTimeField()),
                ("supplier", reference("platform.organisation", "statements")),
            ],
            options={
                "indexes": [models.Index(fields=["-month", "-id"], name="statement_by_month")],
                "constraints": [
                    models.UniqueConstraint(fields=("supplier", "month"), name="statement_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "gross_micros",
                                django.db.models.expressions.CombinedExpression(
                                    models.F("vouchers_micros"), "+", models.F("buyers_micros")
                                ),
                            ),
                            (
                                "net_micros",
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("gross_micros"), "-", models.F("fee_micros")
                                    ),
                                    "-",
                                    models.F("credits_micros"),
                                ),
                            ),
                        ),
                        name="statement_adds_up",
                    ),
                ],
            },
        ),
        migrations.RunSQL(CLOSING, migrations.RunSQL.noop),
        *[append_only(f"market_{table}") for table in ("bill", "statement", "monthclose")],
        audited("market_creditnote"),
        final("market_creditnote", "issued", "rejected"),
        only("market_creditnote", "state", "checker_id", "decided_at"),
    ]
