"""An import is read, applied and undone in the background: its states, how far it is, why it was refused."""

from django.db import migrations, models

from mosu.market.gates import UNRELEASABLE

_STATES = [
    ("reading", "Reading"),
    ("refused", "Refused"),
    ("previewed", "Previewed"),
    ("applying", "Applying"),
    ("failed", "Failed"),
    ("applied", "Applied"),
    ("undoing", "Undoing"),
    ("undone", "Undone"),
    ("discarded", "Discarded"),
]
_FINAL = (
    "drop trigger final on market_offerimport;"
    "create trigger final before update on market_offerimport "
    "for each row execute function refuse_change_of_final({})"
)
# What follows on what: nothing is applied that was not previewed, and nothing is undone twice.
_MOVES = """
create function refuse_wrong_move_of_import() returns trigger language plpgsql as $$
begin
  if new.state <> old.state and not (old.state || ' ' || new.state) = any (tg_argv) then
    raise exception 'an import that is % does not become %', old.state, new.state
      using errcode = 'integrity_constraint_violation';
  end if;
  return new;
end $$;
create trigger moves before update of state on market_offerimport
  for each row execute function refuse_wrong_move_of_import(
    'reading previewed', 'reading refused', 'previewed applying', 'previewed discarded', 'applying applied',
    'applying failed', 'applied undoing', 'undoing undone', 'undoing applied');
"""
_WRITTEN = "counts, rows_read, percent, held, refusal, undone_at"
_HELD = f"""
update market_offerimport i
   set held = (select count(distinct r.line) from market_offerimportrow r
                where r.offer_import_id = i.id and r.doubt <> '' and not r.released
                  and r.doubt not in ({", ".join(f"'{code}'" for code in sorted(UNRELEASABLE))}))
 where i.state = 'previewed'
"""  # noqa: S608 - its parts are constants of ours


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0006_imports_end"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="offerimport", name="offer_import_state_known"),
        migrations.RemoveConstraint(model_name="offerimport", name="offer_import_applied_at"),
        migrations.AddField("offerimport", "subject_id", models.UUIDField(null=True)),
        migrations.AddField("offerimport", "currency", models.CharField(blank=True, max_length=3)),
        migrations.AddField("offerimport", "rows_read", models.PositiveIntegerField(default=0)),
        migrations.AddField("offerimport", "percent", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField("offerimport", "held", models.PositiveIntegerField(default=0)),
        migrations.AddField("offerimport", "refusal", models.JSONField(default=dict)),
        migrations.AddField("offerimport", "undone_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "offerimport", "state", models.CharField(choices=_STATES, default="reading", max_length=10)
        ),
        migrations.RunSQL(_HELD, migrations.RunSQL.noop),
        migrations.AddIndex(
            "offerimport",
            models.Index(
                condition=models.Q(("held__gt", 0), ("state", "previewed")),
                fields=["created_at"],
                name="offer_import_held",
            ),
        ),
        migrations.AddConstraint(
            "offerimport",
            models.CheckConstraint(
                condition=models.Q(("state__in", [state for state, _ in _STATES])),
                name="offer_import_state_known",
            ),
        ),
        migrations.AddConstraint(
            "offerimport",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("applied_at__isnull", False), ("state__in", ["applied", "undoing", "undone"])),
                    models.Q(
                        ("applied_at", None),
                        (
                            "state__in",
                            ["reading", "refused", "previewed", "applying", "failed", "discarded"],
                        ),
                    ),
                    _connector="OR",
                ),
                name="offer_import_applied_at",
            ),
        ),
        migrations.AddConstraint(
            "offerimport",
            models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "undone"), ("undone_at__isnull", False)),
                    models.Q(models.Q(("state", "undone"), _negated=True), ("undone_at", None)),
                    _connector="OR",
                ),
                name="offer_import_undone_at",
            ),
        ),
        migrations.AddConstraint(
            "offerimport",
            models.CheckConstraint(condition=models.Q(("percent__lte", 100)), name="offer_import_percent"),
        ),
        migrations.RunSQL(
            f"grant update ({_WRITTEN}) on market_offerimport to mosu_app",
            f"revoke update ({_WRITTEN}) on market_offerimport from mosu_app",
        ),
        migrations.RunSQL(
            _FINAL.format("'discarded', 'refused', 'failed', 'undone'"),
            _FINAL.format("'applied', 'discarded'"),
        ),
        migrations.RunSQL(
            _MOVES,
            "drop trigger moves on market_offerimport; drop function refuse_wrong_move_of_import()",
        ),
    ]
