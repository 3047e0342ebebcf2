"""Who one is; organisations: founding, admission, state."""

from datetime import datetime
from typing import Annotated, Literal

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import StringConstraints

from mosu.platform import queries, services
from mosu.platform.actors import Actor, HubRole, Role, Scope
from mosu.platform.api.shapes import Short, Text, UserOut
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    Capability,
    Organisation,
    OrganisationKind,
    OrganisationState,
    User,
)
from mosu.platform.policy import person_of
from mosu.platform.requests import actor_of
from mosu.platform.rows import row_of
from mosu.platform.schemas import In, Out

router = Router(auth=token_auth, tags=["platform"])


class OrganisationOut(Out):
    id: str
    name: str
    kind: OrganisationKind
    capabilities: list[Capability]
    state: OrganisationState
    created_at: datetime

    @staticmethod
    def of(organisation: Organisation) -> "OrganisationOut":
        return OrganisationOut(
            id=organisation.public_id,
            name=organisation.name,
            kind=OrganisationKind(organisation.kind),
            capabilities=[Capability(one) for one in organisation.capabilities],
            state=OrganisationState(organisation.state),
            created_at=organisation.created_at,
        )


class OwnOrganisation(Out):
    id: str
    name: str
    role: Role


class MeOut(Out):
    user: UserOut
    language: str
    """In which the hub writes to them: `zh-hans`, `en`, or empty for both."""
    organisation: OrganisationOut | None
    """On whose behalf the token speaks."""
    organisations: list[OwnOrganisation]
    hub_roles: list[HubRole]
    scopes: list[Scope]
    currency: str
    zone: str


@router.get("/me", response=MeOut, operation_id="getMe")
@door("self.read")
def get_me(request: HttpRequest) -> MeOut:
    """Who the token speaks for, and what it may do."""
    return _me(actor_of(request))


def _me(actor: Actor) -> MeOut:
    user = User.objects.get(id=person_of(actor))
    own = list(Organisation.objects.filter(id__in=actor.organisation_ids).order_by("name", "id"))
    chosen = next((one for one in own if one.id == actor.organisation_id), None)
    return MeOut(
        user=UserOut(id=user.public_id, email=user.email, name=user.name),
        language=user.language,
        organisation=OrganisationOut.of(chosen) if chosen else None,
        organisations=[
            OwnOrganisation(id=one.public_id, name=one.name, role=actor.roles[one.id]) for one in own
        ],
        hub_roles=sorted(actor.hub_roles),
        scopes=[scope for scope in Scope if scope in actor.scopes],
        currency=settings.HUB_CURRENCY,
        zone=settings.HUB_ZONE,
    )


class ProfileIn(In):
    name: Annotated[str, StringConstraints(max_length=100)] | None = None
    language: Literal["", "zh-hans", "en"] | None = None


@router.patch("/me", response=MeOut, operation_id="changeMe")
@door("self.change")
def change_me(request: HttpRequest, body: ProfileIn) -> MeOut:
    """Change one's name or language; what is left out stays."""
    services.change_profile(
        actor=actor_of(request), name=body.name, language=body.language, now=timezone.now()
    )
    return _me(actor_of(request))


class OrganisationIn(In):
    name: Short
    kind: OrganisationKind = OrganisationKind.COMPANY


@router.get("/organisations", response=Listed[OrganisationOut], operation_id="listOrganisations")
@door("organisation.read")
def list_organisations(request: HttpRequest, paging: Query[Paging]) -> Listed[OrganisationOut]:
    """The caller's organisations, by name."""
    rows, after = page_of(queries.organisations_visible_to(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[OrganisationOut.of(row) for row in rows], next=after)


@router.post("/organisations", response={201: OrganisationOut}, operation_id="foundOrganisation")
@door("organisation.found")
def found_organisation(request: HttpRequest, body: OrganisationIn) -> Status[OrganisationOut]:
    """A new organisation, which the caller owns."""
    organisation = services.found_organisation(
        actor=actor_of(request), name=body.name, kind=body.kind, now=timezone.now()
    )
    return Status(201, OrganisationOut.of(organisation))


@router.get("/organisations/{organisation_id}", response=OrganisationOut, operation_id="getOrganisation")
@door("organisation.read")
def get_organisation(request: HttpRequest, organisation_id: str) -> OrganisationOut:
    """One of the caller's organisations."""
    return OrganisationOut.of(row_of(queries.organisations_visible_to(actor_of(request)), organisation_id))


class CapabilityIn(In):
    capability: Capability
    why: Text = ""


@router.post(
    "/organisations/{organisation_id}/capabilities",
    response=OrganisationOut,
    operation_id="admitOrganisation",
)
@door("organisation.admit")
def admit_organisation(request: HttpRequest, organisation_id: str, body: CapabilityIn) -> OrganisationOut:
    """Give an organisation a capability."""
    actor = actor_of(request)
    services.admit(
        actor=actor,
        organisation_id=Organisation.key_of(organisation_id),
        capability=body.capability,
        why=body.why,
        now=timezone.now(),
    )
    return OrganisationOut.of(row_of(queries.organisations_visible_to(actor), organisation_id))


class StateIn(In):
    state: OrganisationState
    why: Short


@router.post(
    "/organisations/{organisation_id}/state", response=OrganisationOut, operation_id="moveOrganisation"
)
@door("organisation.admit")
def move_organisation(request: HttpRequest, organisation_id: str, body: StateIn) -> OrganisationOut:
    """Suspend, resume or close an organisation."""
    organisation = services.move_organisation(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(organisation_id),
        to=body.state,
        why=body.why,
        now=timezone.now(),
    )
    return OrganisationOut.of(organisation)
