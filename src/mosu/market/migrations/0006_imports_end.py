"""An import ends applied or discarded: nothing undoes one."""

from django.db import migrations, models

_FINAL = (
    "drop trigger final on market_offerimport;"
    "create trigger final before update on market_offerimport "
    "for each row execute function refuse_change_of_final({})"
)


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0005_whole_lists"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="offerimport", name="offer_import_state_known"),
        migrations.RemoveConstraint(model_name="offerimport", name="offer_import_applied_at"),
        migrations.AlterField(
            model_name="offerimport",
            name="state",
            field=models.CharField(
                choices=[("previewed", "Previewed"), ("applied", "Applied"), ("discarded", "Discarded")],
                default="previewed",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimport",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["previewed", "applied", "discarded"])),
                name="offer_import_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="offerimport",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("applied_at", None), ("state__in", ["previewed", "discarded"])),
                    models.Q(("applied_at__isnull", False), ("state", "applied")),
                    _connector="OR",
                ),
                name="offer_import_applied_at",
            ),
        ),
        migrations.RunSQL(_FINAL.format("'applied', 'discarded'"), _FINAL.format("'discarded', 'undone'")),
    ]
