"""From where pools run images of containers that their tenants name."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0017_endpoints")]

    operations = [migrations.AddField("pool", "images", models.JSONField(default=list))]
