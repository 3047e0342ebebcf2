"""A session is shared with a member: who leaves the organisation is let in no more, also when they come back."""

from django.db import migrations, models

_FILL = """
update compute_guest set member_id = (
  select member.id from platform_membership member join compute_run run on run.organisation_id = member.organisation_id
  where run.id = compute_guest.run_id and member.user_id = compute_guest.user_id
);
delete from compute_guest where member_id is null;
"""


class Migration(migrations.Migration):
    dependencies = [("compute", "0021_entering_endpoints")]

    operations = [
        migrations.AddField(
            "guest",
            "member",
            models.ForeignKey(
                null=True, on_delete=models.CASCADE, related_name="+", to="platform.membership"
            ),
        ),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
        migrations.RemoveConstraint("guest", "guest_once"),
        migrations.RemoveField("guest", "user"),
        migrations.AlterField(
            "guest",
            "member",
            models.ForeignKey(on_delete=models.CASCADE, related_name="+", to="platform.membership"),
        ),
        migrations.AddConstraint(
            "guest", models.UniqueConstraint(fields=["run", "member"], name="guest_once")
        ),
    ]
