"""How long a pool's last copies of large files took, from the hub and back."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0022_guests_by_membership")]

    operations = [
        *(
            migrations.AddField("pool", name, models.PositiveBigIntegerField(default=0))
            for name in ("copied_in_bytes", "copied_in_ms", "copied_out_bytes", "copied_out_ms")
        ),
    ]
