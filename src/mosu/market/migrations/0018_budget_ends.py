"""Who ordered what a budget will soon end is told of it, once."""

from django.db import migrations, models

from mosu.platform.sql import only


class Migration(migrations.Migration):
    dependencies = [("market", "0017_usage_taken_back")]

    operations = [
        migrations.CreateModel(
            name="BudgetEnd",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("by", models.DateTimeField(null=True)),
                ("told_at", models.DateTimeField()),
                (
                    "order",
                    models.OneToOneField(
                        on_delete=models.PROTECT, related_name="budget_end", to="market.order"
                    ),
                ),
                (
                    "budget",
                    models.ForeignKey(
                        on_delete=models.PROTECT, related_name="+", to="market.budget", db_index=False
                    ),
                ),
            ],
        ),
        only("market_budgetend", "by"),
    ]
