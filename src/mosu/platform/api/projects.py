"""Projects, and facts with their source."""

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field, StringConstraints

from mosu.kernel.ids import typeid
from mosu.platform import queries, services
from mosu.platform.api.shapes import Short, Text
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    Fact,
    Organisation,
    Project,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out
from mosu.wire.times import Moment

router = Router(auth=token_auth, tags=["platform"])


class ProjectIn(In):
    organisation_id: str
    name: Short


class ProjectOut(Out):
    id: str
    organisation_id: str
    name: str
    created_at: datetime

    @staticmethod
    def of(project: Project) -> "ProjectOut":
        return ProjectOut(
            id=project.public_id,
            organisation_id=typeid("org", project.organisation_id),
            name=project.name,
            created_at=project.created_at,
        )


@router.get("/projects", response=Listed[ProjectOut], operation_id="listProjects")
@door("organisation.read")
def list_projects(request: HttpRequest, paging: Query[Paging]) -> Listed[ProjectOut]:
    """Projects of the caller's organisations."""
    rows, after = page_of(queries.projects_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[ProjectOut.of(row) for row in rows], next=after)


@router.post("/projects", response={201: ProjectOut}, operation_id="createProject")
@door("project.make")
def create_project(request: HttpRequest, body: ProjectIn) -> Status[ProjectOut]:
    """A new project of one of the caller's organisations."""
    project = services.make_project(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        name=body.name,
        now=timezone.now(),
    )
    return Status(201, ProjectOut.of(project))


FactValue = bool | int | Text | Annotated[list[Text], Field(max_length=100)]


class FactIn(In):
    organisation_id: str
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
    value: FactValue
    source: Short
    expires_at: Moment | None = None


class FactOut(Out):
    id: str
    organisation_id: str
    name: str
    value: Any
    source: str
    recorded_at: datetime
    verified_at: datetime | None
    verified_by: str | None
    expires_at: datetime | None

    @staticmethod
    def of(fact: Fact) -> "FactOut":
        return FactOut(
            id=fact.public_id,
            organisation_id=typeid("org", fact.organisation_id),
            name=fact.name,
            value=fact.value,
            source=fact.source,
            recorded_at=fact.recorded_at,
            verified_at=fact.verified_at,
            verified_by=typeid("user", fact.verified_by_id) if fact.verified_by_id else None,
            expires_at=fact.expires_at,
        )


@router.get("/facts", response=Listed[FactOut], operation_id="listFacts")
@door("organisation.read")
def list_facts(request: HttpRequest, paging: Query[Paging]) -> Listed[FactOut]:
    """What is known of the caller's organisations, newest first."""
    rows, after = page_of(queries.facts_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[FactOut.of(row) for row in rows], next=after)


@router.post("/facts", response={201: FactOut}, operation_id="recordFact")
@door("organisation.manage")
def record_fact(request: HttpRequest, body: FactIn) -> Status[FactOut]:
    """Note something of an organisation; it counts once the hub has verified it."""
    fact = services.record_fact(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        name=body.name,
        value=body.value,
        source=body.source,
        expires_at=body.expires_at,
        now=timezone.now(),
    )
    return Status(201, FactOut.of(fact))


@router.post("/facts/{fact_id}/verify", response=FactOut, operation_id="verifyFact")
@door("fact.verify")
def verify_fact(request: HttpRequest, fact_id: str) -> FactOut:
    """Note that the caller has checked a fact that someone else recorded."""
    fact = services.verify_fact(actor=actor_of(request), fact_id=Fact.key_of(fact_id), now=timezone.now())
    return FactOut.of(fact)
