"""Where requests at an endpoint may go: what the relay asks again and again of those that are asked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from mosu.compute.models import Attempt
from mosu.compute.states import ATTEMPT_ENDS, AttemptState, EndpointState, RunState
from mosu.kernel.ids import typeid
from mosu.platform.models import OrganisationState


@dataclass(frozen=True, slots=True)
class ReplicaRoute:
    """A replica that has not ended; it has a pool and an attempt (its public id) while it runs."""

    id: UUID
    run_id: UUID
    is_drained: bool
    was_well: bool
    port: int
    health: str
    pool_id: UUID | None
    attempt: UUID | None

    @property
    def attempt_id(self) -> str | None:
        return None if self.attempt is None else typeid(Attempt.prefix, self.attempt)


@dataclass(frozen=True, slots=True)
class EndpointRoute:
    """What the relay must know of an endpoint; `is_open`: it answers."""

    id: UUID
    label: str
    organisation_id: UUID
    auth: str
    is_open: bool
    reason: str
    replicas: tuple[ReplicaRoute, ...] = ()


def endpoint_labelled(label: str) -> EndpointRoute | None:
    """The endpoint at this host: the open one, else the last that there was; None: there never was one."""
    with connection.cursor() as cursor:
        cursor.execute(_LABELLED, [label, EndpointState.OPEN.value])
        found = cursor.fetchone()
    return endpoint_routes(ids=[found[0]]).get(found[0]) if found else None


def endpoint_routes(*, ids: Collection[UUID]) -> Mapping[UUID, EndpointRoute]:
    """These, and all that have a replica of which it is not known yet whether it is well; one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_ROUTES, {**_FACTS, "ids": list(ids)})
        rows = cursor.fetchall()
    found: dict[UUID, EndpointRoute] = {}
    replicas: dict[UUID, list[ReplicaRoute]] = {}
    for row in rows:
        found[row[0]] = EndpointRoute(*row[:_COLUMNS])
        if row[_COLUMNS] is not None:
            replicas.setdefault(row[0], []).append(ReplicaRoute(*row[_COLUMNS:]))
    return {key: replace(one, replicas=tuple(replicas.get(key, ()))) for key, one in found.items()}


@transaction.atomic(durable=True)
def note_well(*, replica_ids: Collection[UUID], now: datetime) -> None:
    """Write down when they first said that they are well."""
    with connection.cursor() as cursor:
        cursor.execute(_WELL, [list(replica_ids), now])


_COLUMNS: Final = 6
"""Of an endpoint; a replica's follow."""
_LABELLED: Final = """
select id from compute_endpoint where label = %s order by state = %s desc, created_at desc, id desc limit 1
"""
_FACTS: Final[Mapping[str, str | list[str]]] = {
    "open": EndpointState.OPEN.value,
    "active": OrganisationState.ACTIVE.value,
    "run_lives": [RunState.QUEUED.value, RunState.RUNNING.value],
    "running": RunState.RUNNING.value,
    "attempt_ends": [state.value for state in ATTEMPT_ENDS],
    "reached": [AttemptState.RUNNING.value, AttemptState.UNREACHABLE.value],
}
# The port and the health are the run's own: those of the endpoint may be of a later version.
_ROUTES: Final = """
select e.id, e.label, e.organisation_id, e.auth, e.state = %(open)s and o.state = %(active)s, e.reason,
       r.id, r.run_id, r.drained_at is not null, r.well_at is not null,
       (run.request ->> 'port')::int, coalesce(run.request ->> 'health', ''), a.pool_id, a.id
  from compute_endpoint e
  join platform_organisation o on o.id = e.organisation_id
  left join (compute_replica r join compute_run run on run.id = r.run_id)
    on r.endpoint_id = e.id and not r.over and run.state = any(%(run_lives)s)
  left join lateral (
    select last.id, last.pool_id, last.state from compute_attempt last
     where last.run_id = r.run_id order by last.epoch desc limit 1) a
    on run.state = %(running)s and a.state = any(%(reached)s)
 where e.id = any(%(ids)s)
    or e.state = %(open)s and e.id in (
      select fresh.endpoint_id from compute_replica fresh where not fresh.over and fresh.well_at is null)
 order by e.id, r.id
"""
_WELL: Final = """
with held as (
  select id from compute_replica where well_at is null and id = any(%s) order by id for no key update)
update compute_replica r set well_at = %s from held where r.id = held.id
"""
