"""Which runs do nothing, since when, and when they are stopped for that: reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Max

from mosu.compute.idleness import stop_after_s_of, unused_since
from mosu.compute.models import Connection, IdleRule, Run
from mosu.compute.queries import last_attempt_of
from mosu.compute.reach import is_reached, runs_now


@dataclass(frozen=True, slots=True)
class Idleness:
    """Since when a run does nothing, and after how long it is stopped for that; None: never."""

    since: datetime
    stop_after_s: int | None

    @property
    def stops_at(self) -> datetime | None:
        """When it is due to be stopped; later by as much as the warning before it was late."""
        return None if self.stop_after_s is None else self.since + timedelta(seconds=self.stop_after_s)


def idleness_of(runs: Iterable[Run]) -> Mapping[UUID, Idleness]:
    """Of those of the runs that do nothing now, read with their attempts; two queries, however many they are."""
    idle = {}
    for run in runs:
        attempt = last_attempt_of(run)
        if attempt is not None and attempt.idle_since is not None and runs_now(run, attempt):
            idle[run] = attempt.idle_since
    return judged(idle)


def judged(idle: Mapping[Run, datetime]) -> Mapping[UUID, Idleness]:
    """The same of runs whose machines do nothing since the given times."""
    if not idle:
        return {}
    reached = [run.id for run in idle if is_reached(run)]
    used = (
        Connection.objects.filter(run__in=reached).order_by().values_list("run").annotate(at=Max("used_at"))
    )
    used_at: Mapping[UUID, datetime | None] = dict(used)
    of_organisations = IdleRule.objects.filter(organisation__in={run.organisation_id for run in idle})
    rules = dict(of_organisations.values_list("organisation_id", "stop_after_s"))
    return {
        run.id: Idleness(
            since=unused_since(idle_since, used_at=used_at.get(run.id), kept_at=run.kept_at),
            stop_after_s=stop_after_s_of(
                kind=run.request.get("kind", "batch"),
                own_s=run.idle_stop_s,
                rule_s=rules.get(run.organisation_id),
            ),
        )
        for run, idle_since in idle.items()
    }
