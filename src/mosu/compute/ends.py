"""When what runs is ended by its wall limit: reads."""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, IntegerField, QuerySet, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce

from mosu.compute.models import Attempt, Run
from mosu.compute.reach import runs_now
from mosu.compute.states import AttemptState

NEAR: Final = timedelta(minutes=10)
"""So long before the end of what people are joined to they are told of it."""
_SECOND: Final = Value(timedelta(seconds=1), output_field=DurationField())
_LIMIT_S: Final = F("extended_s") + Coalesce(
    F("wall_limit_s"), Cast(KeyTextTransform("wall_limit_s", "run__request"), IntegerField())
)
_ENDS_AT: Final = ExpressionWrapper(
    F("started_at") + ExpressionWrapper(_LIMIT_S * _SECOND, output_field=DurationField()),
    output_field=DateTimeField(),
)


def limit_s_of(run: Run, attempt: Attempt | None) -> int:
    """The wall limit of the run's last attempt: the run's own, less what the attempts before it took, and what was
    bought while it ran."""
    own = attempt.wall_limit_s if attempt is not None else None
    limit_s: int = run.request["wall_limit_s"] if own is None else own
    return limit_s + (attempt.extended_s if attempt is not None else 0)


def ends_at(run: Run, attempt: Attempt | None) -> datetime | None:
    """When its wall limit ends the run; None where it does not run."""
    if attempt is None or attempt.started_at is None or not runs_now(run, attempt):
        return None
    return attempt.started_at + timedelta(seconds=limit_s_of(run, attempt))


def ending_soon(*, now: datetime) -> QuerySet[Attempt]:
    """Running attempts of sessions and services whose wall limit is near, and of which nobody was told.

    Those whose whole limit is no longer than the notice are not: whoever started them knows.
    """
    rows = Attempt.objects.filter(state=AttemptState.RUNNING, end_told_at=None, started_at__isnull=False)
    rows = rows.filter(run__request__kind__in=["session", "service"], run__cancel_asked_at=None)
    rows = rows.annotate(limit_s=_LIMIT_S, ends_at=_ENDS_AT).select_related("run__order").order_by("id")
    return rows.filter(limit_s__gt=int(NEAR.total_seconds()), ends_at__lte=now + NEAR)
