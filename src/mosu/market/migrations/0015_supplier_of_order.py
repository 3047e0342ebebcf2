"""An order says whose offer it is, which is its offer's word: a supplier's sales are read by an index of their own."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def _give_suppliers(apps: Any, schema: Any) -> None:
    """Orders that are over too, which otherwise no longer change."""
    schema.execute("alter table market_order disable trigger final")
    schema.execute(
        "update market_order o set supplier_id = f.supplier_id from market_offer f where f.id = o.offer_id"
    )
    schema.execute("alter table market_order enable trigger final")


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0014_blocks"),
        ("platform", "0006_lists_of_all"),
    ]

    operations = [
        migrations.AddField(
            "order",
            "supplier",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="sales",
                to="platform.organisation",
            ),
        ),
        migrations.RunPython(_give_suppliers, migrations.RunPython.noop),
        migrations.AlterField(
            "order",
            "supplier",
            models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="sales", to="platform.organisation"
            ),
        ),
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["supplier", "-placed_at", "-id"], name="order_of_supplier"),
        ),
        migrations.RunSQL(
            "alter table market_offer add constraint offer_of_its_supplier unique (id, supplier_id);"
            "alter table market_order add constraint order_of_its_offers_supplier"
            " foreign key (offer_id, supplier_id) references market_offer (id, supplier_id)",
            "alter table market_order drop constraint order_of_its_offers_supplier;"
            "alter table market_offer drop constraint offer_of_its_supplier",
        ),
    ]
