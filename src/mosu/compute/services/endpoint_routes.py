"""Where requests at an endpoint may go: what the relay asks again and again of those that are asked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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
    """A replica that has not ended. `attempt_id` (its public id) and `pool_id` are None until it runs."""

    id: UUID
    run_id: UUID
    is_drained: bool
    was_well: bool
    pool_id: UUID | None
    attempt_id: str | None
    port: int
    health: str


@dataclass(frozen=True, slots=True)
class EndpointRoute:
    """What the relay must know of an endpoint; `is_open`: it answers."""

    id: UUID
    label: str
    organisation_id: UUID
    auth: str
    is_open: bool
    reason: str
    replicas: tuple[ReplicaRoute, ...] = field(default=())


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
    for endpoint_id, label, organisation_id, auth, is_open, reason, *replica in rows:
        found[endpoint_id] = EndpointRoute(endpoint_id, label, organisation_id, auth, is_open, reason)
        if replica[0] is not None:
            replicas.setdefault(endpoint_id, []).append(_route_of(*replica))
    return {
        key: EndpointRoute(
            one.id, one.label, one.organisation_id, one.auth, one.is_open, one.reason, tuple(replicas.get(key, ()))
        )
        for key, one in found.items()
    }  # fmt: skip


@transaction.atomic(durable=True)
def note_well(*, replica_ids: Collection[UUID], now: datetime) -> None:
    """Write down when they first said that they are well."""
    with connection.cursor() as cursor:
        cursor.execute(_WELL, [now, list(replica_ids)])


def _route_of(
    replica_id: UUID,
    run_id: UUID,
    is_drained: bool,
    was_well: bool,
    port: int,
    health: str,
    attempt_id: UUID | None,
    pool_id: UUID | None,
) -> ReplicaRoute:
    return ReplicaRoute(
        id=replica_id,
        run_id=run_id,
        is_drained=is_drained,
        was_well=was_well,
        pool_id=pool_id,
        attempt_id=typeid(Attempt.prefix, attempt_id) if attempt_id else None,
        port=port,
        health=health,
    )


_LABELLED: Final = """
select id from compute_endpoint where label = %s order by state = %s desc, created_at desc, id desc limit 1
"""
_FACTS: Final = {
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
       (run.request ->> 'port')::int, coalesce(run.request ->> 'health', ''), a.id, a.pool_id
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
  select id from compute_replica where well_at is null and id in (
    select unnest(%s::uuid[])) order by id for no key update)
update compute_replica set well_at = %s from held where compute_replica.id = held.id
"""
