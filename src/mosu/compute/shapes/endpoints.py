"""Endpoints: their addresses, replicas, keys, and what was asked there."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from mosu.compute.app_hosts import EndpointHost
from mosu.compute.endpoint_figures import Figures, latency_ms
from mosu.compute.models import Endpoint, EndpointKey, EndpointMinute, EndpointRequest, Replica
from mosu.compute.services import MadeKey
from mosu.compute.shapes.quotes import FileIn
from mosu.kernel.languages import Language, said
from mosu.market.shapes import Word
from mosu.platform.schemas import In, Out
from mosu.wire.task import Auth, ReplicaNeed
from mosu.wire.task_service import IDLE_S_MAX, REPLICAS_MAX, REQUESTS_MAX

_Task = Annotated[str, StringConstraints(max_length=200_000)]
_Files = Annotated[list[FileIn], Field(max_length=10_000)]


class ReplicasIn(In):
    """As `mosu.replicas` of the task file, all of it."""

    min: Annotated[int, Field(ge=0, le=REPLICAS_MAX)]
    max: Annotated[int, Field(ge=1, le=REPLICAS_MAX)]
    requests: Annotated[int, Field(ge=1, le=REQUESTS_MAX)]
    idle_s: Annotated[int, Field(ge=1, le=IDLE_S_MAX)]

    def need(self) -> ReplicaNeed:
        return ReplicaNeed(least=self.min, most=self.max, requests=self.requests, idle_s=self.idle_s)


class EndpointIn(In):
    """`task` is the text of a task file of kind service."""

    name: Annotated[str, StringConstraints(max_length=63)]
    task: _Task
    workdir: _Files = []
    project_id: Word | None = None


class EndpointChangeIn(In):
    """What is left out stays; `task` comes with its whole `workdir`."""

    task: _Task | None = None
    workdir: _Files = []
    auth: Auth | None = None
    replicas: ReplicasIn | None = None


class ReplicasOut(Out):
    min: int
    max: int
    requests: int
    idle_s: int


class EndpointOut(Out):
    """An endpoint now. `reason` says why it has fewer replicas than it should; the figures are of the last hour."""

    id: str
    name: str
    state: str
    url: str
    auth: str
    port: int
    health: str
    version: int
    owner: str
    """In whose name replicas are ordered, by e-mail address."""
    replicas: ReplicasOut
    well: int
    wanted: int
    reason: str
    requests: int
    refused: int
    failed: int
    p95_ms: int | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Endpoint, figures: Figures, *, language: Language) -> "EndpointOut":
        return cls(
            id=row.public_id,
            name=row.name,
            state=row.state,
            url=EndpointHost(row.label).origin,
            auth=row.auth,
            port=row.port,
            health=row.health,
            version=row.version,
            owner=row.owner.email,
            replicas=ReplicasOut(
                min=row.replicas_min,
                max=row.replicas_max,
                requests=row.requests_per_replica,
                idle_s=row.idle_s,
            ),
            well=figures.well,
            wanted=figures.wanted,
            reason=said(row.reason, language),
            requests=figures.requests,
            refused=figures.refused,
            failed=figures.failed,
            p95_ms=figures.p95_ms,
            created_at=row.created_at,
            ended_at=row.ended_at,
        )


class ReplicaOut(Out):
    """`well_at`: when it first said that it is well. `drained_at`: since when it is given no new requests."""

    id: str
    run_id: str
    run_state: str
    version: int
    added_at: datetime
    well_at: datetime | None
    drained_at: datetime | None
    over: bool
    in_flight: int

    @classmethod
    def of(cls, row: Replica) -> "ReplicaOut":
        return cls(
            id=row.public_id,
            run_id=row.run.public_id,
            run_state=row.run.state,
            version=row.version,
            added_at=row.added_at,
            well_at=row.well_at,
            drained_at=row.drained_at,
            over=row.over,
            in_flight=row.in_flight,
        )


class EndpointKeyIn(In):
    name: Annotated[str, StringConstraints(max_length=63)]


class EndpointKeyOut(Out):
    id: str
    name: str
    made_by: str
    made_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, row: EndpointKey) -> "EndpointKeyOut":
        return cls(
            id=row.public_id,
            name=row.name,
            made_by=row.made_by.email,
            made_at=row.made_at,
            revoked_at=row.revoked_at,
            used_at=row.used_at,
        )


class NewEndpointKeyOut(Out):
    """`secret` is shown here and never again."""

    id: str
    name: str
    secret: str

    @classmethod
    def of(cls, made: MadeKey) -> "NewEndpointKeyOut":
        return cls(id=made.key.public_id, name=made.key.name, secret=made.secret)


class EndpointRequestOut(Out):
    """One request: never a query, a header or a body. `status` 0: broken off before an answer began."""

    at: datetime
    method: str
    path: str
    status: int
    waited_ms: int
    took_ms: int
    bytes_in: int
    bytes_out: int
    key: str | None
    """Its name."""
    user: str | None
    run_id: str | None

    @classmethod
    def of(cls, row: EndpointRequest) -> "EndpointRequestOut":
        return cls(
            at=row.at,
            method=row.method,
            path=row.path,
            status=row.status,
            waited_ms=row.waited_ms,
            took_ms=row.took_ms,
            bytes_in=row.bytes_in,
            bytes_out=row.bytes_out,
            key=row.key.name if row.key else None,
            user=row.user.email if row.user else None,
            run_id=row.run.public_id if row.run else None,
        )


class EndpointMinuteOut(Out):
    """A minute in which somebody asked. `refused` we answered ourselves; `p50_ms` and `p95_ms` are upper bounds."""

    minute: datetime
    requests: int
    refused: int
    failed: int
    in_flight_max: int
    p50_ms: int | None
    p95_ms: int | None

    @classmethod
    def of(cls, row: EndpointMinute) -> "EndpointMinuteOut":
        return cls(
            minute=row.minute,
            requests=row.requests,
            refused=row.refused,
            failed=row.failed,
            in_flight_max=row.in_flight_max,
            p50_ms=latency_ms([row.latencies], 0.5),
            p95_ms=latency_ms([row.latencies], 0.95),
        )
