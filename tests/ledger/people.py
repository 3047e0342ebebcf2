"""People of the hub and an organisation, for tests."""

from types import MappingProxyType
from uuid import UUID

from tests.conftest import NOW

from mosu.platform.actors import ALL_SCOPES, SYSTEM, Actor, ActorKind, HubRole, Role
from mosu.platform.models import Organisation, OrganisationKind, User
from mosu.platform.services import record_audit


def make_organisation(name: str = "Startup") -> Organisation:
    organisation = Organisation.objects.create(name=name, kind=OrganisationKind.COMPANY, created_at=NOW)
    record_audit(
        actor=SYSTEM,
        action="organisation.found",
        subject_id=organisation.id,
        before=None,
        after=organisation.state,
        now=NOW,
    )
    return organisation


def make_actor(
    name: str, *hub_roles: HubRole, organisation_id: UUID | None = None, role: Role = Role.OWNER
) -> Actor:
    user = User.objects.create_user(f"{name}@example.org")
    roles = {organisation_id: role} if organisation_id else {}
    return Actor(
        kind=ActorKind.USER,
        id=user.id,
        label=user.email,
        roles=MappingProxyType(roles),
        hub_roles=frozenset(hub_roles),
        scopes=ALL_SCOPES,
        organisation_id=organisation_id,
    )
