"""Offers brought in by files: what they change, list prices in foreign currencies and their rates."""

import django.db.models.deletion
from django.db import migrations, models

import mosu.kernel.ids
import mosu.market.hub
from mosu.platform.sql import append_only, audited, final, only

# A UUIDv7 (RFC 9562): the milliseconds over a random UUIDv4, whose version bits 0100 become 0111.
_UUID7 = """
create function market_uuid7(at timestamptz) returns uuid language sql volatile as $$
  select encode(set_bit(set_bit(overlay(
    uuid_send(gen_random_uuid())
    placing substring(int8send((extract(epoch from at) * 1000)::bigint) from 3) from 1 for 6
  ), 52, 1), 53, 1), 'hex')::uuid
$$
"""

# What a catalogue compares by changes with a rate: the offers listed in its currency are read again.
_NOTED = """
create function note_offers_of_rate() returns trigger language plpgsql as $$
begin
  insert into market_offerchange (offer_id, xid, at)
  select distinct p.offer_id, pg_current_xact_id(), now()
    from market_offerprice p join changed c on c.currency = p.currency;
  return null;
end $$;
create trigger noted_when_rated after insert on market_exchangerate
  referencing new table as changed for each statement execute function note_offers_of_rate();
"""
_NOT_NOTED = "drop trigger noted_when_rated on market_exchangerate; drop function note_offers_of_rate()"


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0003_catalogue"),
        ("platform", "0003_final"),
    ]

    operations = [
        migrations.CreateModel(
            name="ExchangeRate",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("rate", models.DecimalField(decimal_places=10, max_digits=20)),
                ("dated", models.DateField()),
                ("source", models.CharField(max_length=200)),
                ("recorded_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="OfferImport",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("shelf", models.SlugField(max_length=40)),
                ("source", models.CharField(max_length=300)),
                ("filename", models.CharField(max_length=300)),
                ("file_sha256", models.CharField(max_length=64)),
                (
                    "gone",
                    models.CharField(
                        choices=[("keep", "Keep"), ("withdraw", "Withdraw")], default="keep", max_length=10
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("previewed", "Previewed"),
                            ("applied", "Applied"),
                            ("discarded", "Discarded"),
                            ("undone", "Undone"),
                        ],
                        default="previewed",
                        max_length=10,
                    ),
                ),
                ("counts", models.JSONField(default=dict)),
                ("created_at", models.DateTimeField()),
                ("applied_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="OfferImportRow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("line", models.PositiveIntegerField(null=True)),
                (
                    "change",
                    models.CharField(
                        choices=[
                            ("new", "New"),
                            ("price", "Price"),
                            ("changed", "Changed"),
                            ("gone", "Gone"),
                        ],
                        max_length=10,
                    ),
                ),
                ("offer_id", models.UUIDField()),
                ("external_key", models.CharField(max_length=200)),
                ("subject_id", models.UUIDField(null=True)),
                ("terms", models.JSONField(default=dict)),
                ("meter", models.SlugField(max_length=40)),
                ("unit", models.SlugField(max_length=40)),
                ("unit_price_micros", models.BigIntegerField(null=True)),
                ("currency", models.CharField(max_length=3)),
                ("old_price_micros", models.BigIntegerField(null=True)),
                ("old_currency", models.CharField(blank=True, max_length=3)),
                ("old_terms", models.JSONField(default=dict)),
                ("old_state", models.CharField(blank=True, max_length=10)),
                ("doubt", models.SlugField(blank=True, max_length=20)),
                ("reason", models.CharField(blank=True, max_length=300)),
                ("released", models.BooleanField(default=False)),
            ],
        ),
        migrations.AddField(
            model_name="offer",
            name="external_key",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="offerprice",
            name="currency",
            field=models.CharField(default=mosu.market.hub.hub_currency, max_length=3),
        ),
        migrations.AddConstraint(
            model_name="offer",
            constraint=models.UniqueConstraint(
                condition=models.Q(("external_key", ""), _negated=True),
                fields=("supplier", "source", "external_key"),
                name="offer_external_key_once",
            ),
        ),
        migrations.AddIndex(
            model_name="exchangerate",
            index=models.Index(
                fields=["currency", "-dated", "-recorded_at"], name="market_exch_currenc_914a06_idx"
            ),
        ),
        migrations.AddConstraint(
            model_name="exchangerate",
            constraint=models.CheckConstraint(
                condition=models.Q(("rate__gt", 0)), name="exchange_rate_positive"
            ),
        ),
        migrations.AddField(
            model_name="offerimport",
            name="supplier",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="platform.organisation"
            ),
        ),
        migrations.AddField(
            model_name="offerimportrow",
            name="offer_import",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="rows", to="market.offerimport"
            ),
        ),
        migrations.AddIndex(
            model_name="offerimport",
            index=models.Index(
                fields=["supplier", "-created_at", "-id"], name="market_offe_supplie_14a135_idx"
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["previewed", "applied", "discarded", "undone"])),
                name="offer_import_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("gone__in", ["keep", "withdraw"])), name="offer_import_gone_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimport",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("applied_at", None), ("state__in", ["previewed", "discarded"])),
                    models.Q(("applied_at__isnull", False), ("state__in", ["applied", "undone"])),
                    _connector="OR",
                ),
                name="offer_import_applied_at",
            ),
        ),
        migrations.AddIndex(
            model_name="offerimportrow",
            index=models.Index(
                fields=["offer_import", "change", "id"], name="market_offe_offer_i_59b3ce_idx"
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimportrow",
            constraint=models.CheckConstraint(
                condition=models.Q(("change__in", ["new", "price", "changed", "gone"])),
                name="offer_import_change_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimportrow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("released", False), models.Q(("doubt", ""), _negated=True), _connector="OR"
                ),
                name="offer_import_released_was_doubted",
            ),
        ),
        migrations.RunSQL(_UUID7, "drop function market_uuid7(timestamptz)"),
        migrations.RunSQL(_NOTED, _NOT_NOTED),
        append_only("market_exchangerate"),
        only("market_offerimport", "state", "applied_at"),
        only("market_offerimportrow", "released"),
        audited("market_offerimport"),
        final("market_offerimport", "discarded", "undone"),
    ]
