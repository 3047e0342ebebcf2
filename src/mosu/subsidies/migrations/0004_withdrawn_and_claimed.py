"""An applicant takes an application back; a voucher's money reaches a balance by a claim that two persons decided."""

from django.db import migrations, models

from mosu.subsidies.sql import claimed


def _final(*states: str) -> str:
    names = ", ".join(repr(state) for state in states)
    return (
        "drop trigger final on subsidies_application; "
        "create trigger final before update on subsidies_application "
        f"for each row execute function refuse_change_of_final({names})"
    )


class Migration(migrations.Migration):
    dependencies = [("subsidies", "0003_public_money")]

    operations = [
        migrations.RemoveConstraint(model_name="application", name="application_state_known"),
        migrations.RemoveConstraint(model_name="application", name="application_state_whole"),
        migrations.AlterField(
            model_name="application",
            name="state",
            field=models.CharField(
                choices=[
                    ("submitted", "submitted"),
                    ("approved", "approved"),
                    ("rejected", "rejected"),
                    ("withdrawn", "withdrawn"),
                ],
                default="submitted",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="application",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["submitted", "approved", "rejected", "withdrawn"])),
                name="application_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="application",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_by", None), ("state", "submitted"), ("voucher", None)),
                    models.Q(
                        ("decided_by__isnull", False), ("state", "approved"), ("voucher__isnull", False)
                    ),
                    models.Q(("decided_by__isnull", False), ("state", "rejected"), ("voucher", None)),
                    models.Q(
                        ("decided_at__isnull", False),
                        ("decided_by", None),
                        ("state", "withdrawn"),
                        ("voucher", None),
                    ),
                    _connector="OR",
                ),
                name="application_state_whole",
            ),
        ),
        migrations.RunSQL(_final("approved", "rejected", "withdrawn"), _final("approved", "rejected")),
        claimed(),
    ]
