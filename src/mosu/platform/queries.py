"""Reads of the platform."""

from collections.abc import Iterable
from types import MappingProxyType
from uuid import UUID

from django.db.models import Q, QuerySet

from mosu.platform.actors import ALL_SCOPES, Actor, ActorKind, HubRole, Role, Scope
from mosu.platform.models import AuditRecord, HubMembership, Membership, Organisation, OrganisationState, User

_HUB_ROLES = frozenset(role.value for role in HubRole)


def actor_for_user(
    user: User,
    *,
    organisation_id: UUID | None = None,
    only_organisation: bool = False,
    scopes: Iterable[Scope] = ALL_SCOPES,
) -> Actor:
    """The actor that `user` is now: one query for both kinds of membership.

    With `only_organisation`, as for a token made for one organisation, roles elsewhere and hub roles are left out.
    """
    rows = (
        Membership.objects.filter(user=user, organisation__state=OrganisationState.ACTIVE)
        .order_by()
        .values_list("organisation_id", "role")
        .union(HubMembership.objects.filter(user=user).order_by().values_list("id", "role"), all=True)
    )
    roles: dict[UUID, Role] = {}
    hub_roles: set[HubRole] = set()
    for owner_id, role in rows:
        if role in _HUB_ROLES:
            hub_roles.add(HubRole(role))
        else:
            roles[owner_id] = Role(role)
    if only_organisation:
        roles = {key: role for key, role in roles.items() if key == organisation_id}
        hub_roles = set()
    if organisation_id not in roles:
        organisation_id = min(roles) if roles else None
    return Actor(
        kind=ActorKind.USER,
        id=user.id,
        label=user.email,
        roles=MappingProxyType(roles),
        hub_roles=frozenset(hub_roles),
        scopes=frozenset(scopes),
        organisation_id=organisation_id,
    )


def organisations_visible_to(actor: Actor) -> QuerySet[Organisation]:
    """Organisations whose inside the actor may see."""
    rows = Organisation.objects.order_by("name", "id")
    return rows if actor.sees_all else rows.filter(id__in=actor.organisation_ids)


def audit_visible_to(actor: Actor) -> QuerySet[AuditRecord]:
    """Audit records of the actor's organisations, or all for the hub's people; newest first."""
    rows = AuditRecord.objects.order_by("-id")
    return rows if actor.sees_all else rows.filter(Q(organisation_id__in=actor.organisation_ids))
