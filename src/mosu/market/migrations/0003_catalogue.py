"""What the catalogue reads: which offers changed, and whose alone they are."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import mosu.kernel.ids
import mosu.platform.models

# Statement by statement, so that an import of 100,000 offers notes them in one go.
_NOTED = """
create function note_offers() returns trigger language plpgsql as $$
begin
  insert into market_offerchange (offer_id, xid, at)
  select id, pg_current_xact_id(), now() from changed;
  return null;
end $$;
create function note_offers_of_prices() returns trigger language plpgsql as $$
begin
  insert into market_offerchange (offer_id, xid, at)
  select distinct offer_id, pg_current_xact_id(), now() from changed;
  return null;
end $$;
create function note_offers_of_supplier() returns trigger language plpgsql as $$
begin
  insert into market_offerchange (offer_id, xid, at)
  select o.id, pg_current_xact_id(), now()
    from market_offer o join changed c on o.supplier_id = c.id join before b on b.id = c.id
   where c.name <> b.name;
  return null;
end $$;
create trigger noted_when_made after insert on market_offer
  referencing new table as changed for each statement execute function note_offers();
create trigger noted_when_changed after update on market_offer
  referencing new table as changed for each statement execute function note_offers();
create trigger noted_when_priced after insert on market_offerprice
  referencing new table as changed for each statement execute function note_offers_of_prices();
create trigger offers_noted after update on platform_organisation
  referencing old table as before new table as changed
  for each statement execute function note_offers_of_supplier();
create function refuse_quote_of_anothers_offer() returns trigger language plpgsql as $$
begin
  if exists (select from market_offer where id = new.offer_id and buyer_organisation_id <> new.organisation_id) then
    raise exception 'offer % is for another buyer', new.offer_id using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger offer_is_for_buyer before insert on market_quote
  for each row execute function refuse_quote_of_anothers_offer();
create trigger buyer_fixed before update on market_offer for each row
  when (new.buyer_organisation_id is distinct from old.buyer_organisation_id) execute function refuse_change();
"""
_NOT_NOTED = """
drop trigger buyer_fixed on market_offer;
drop trigger offer_is_for_buyer on market_quote;
drop function refuse_quote_of_anothers_offer();
drop trigger offers_noted on platform_organisation;
drop trigger noted_when_priced on market_offerprice;
drop trigger noted_when_changed on market_offer;
drop trigger noted_when_made on market_offer;
drop function note_offers_of_supplier();
drop function note_offers_of_prices();
drop function note_offers();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0002_final"),
        ("platform", "0003_final"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="offer",
            name="buyer_organisation",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="platform.organisation",
            ),
        ),
        migrations.CreateModel(
            name="OfferChange",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("offer_id", models.UUIDField()),
                ("xid", mosu.platform.models.TransactionIdField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["xid"], name="market_offe_xid_196db8_idx"),
                    models.Index(fields=["at"], name="market_offe_at_a45f1b_idx"),
                ],
            },
        ),
        migrations.CreateModel(
            name="SavedSearch",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mosu.kernel.ids.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("query", models.JSONField()),
                ("created_at", models.DateTimeField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("user", "name"), name="saved_search_name_once")
                ],
            },
        ),
        migrations.RunSQL(_NOTED, _NOT_NOTED),
    ]
