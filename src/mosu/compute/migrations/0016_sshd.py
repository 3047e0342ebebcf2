"""Which pools' machines have an OpenSSH server, so that people may come into sessions by ssh."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("compute", "0015_tickets")]

    operations = [migrations.AddField("pool", "has_sshd", models.BooleanField(default=False))]
