"""What has come to its end no longer changes: the function that says so."""

from django.db import migrations

from mosu.platform.sql import final_function


class Migration(migrations.Migration):
    dependencies = [("platform", "0002_people")]

    operations = [
        final_function(),
    ]
