"""Pools whose nodes share no network for tasks sell none of several nodes; what an older agent does not say stays."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0012_shares")]

    operations = [
        migrations.AddField("pool", "spans_nodes", models.BooleanField(default=True)),
    ]
