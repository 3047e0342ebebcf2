"""Reads of the platform."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Count, Model, Q, QuerySet

from mosu.platform.actors import ALL_SCOPES, Actor, ActorKind, HubRole, Role, Scope
from mosu.platform.database.base import prepared_cursor
from mosu.platform.models import (
    Admission,
    ApiToken,
    AuditRecord,
    Capability,
    Fact,
    Finding,
    FindingState,
    HubMembership,
    Invitation,
    Mail,
    Membership,
    Notice,
    Organisation,
    OrganisationState,
    Project,
    User,
)
from mosu.platform.policy import allows, require

RowT = TypeVar("RowT", bound=Model)

RECORDED_MAX: Final = 50
UNREAD_COUNTED: Final = 100
# From each value straight to the next one in its index.
_RECORDED: Final = """
with recursive seen(value) as (
  (select COLUMN from platform_auditrecord order by COLUMN limit 1)
  union all
  select (select a.COLUMN from platform_auditrecord a where a.COLUMN > seen.value order by a.COLUMN limit 1)
    from seen where seen.value is not null)
select value from seen where value is not null
"""

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
    return _actor(
        user.id,
        user.email,
        rows,
        organisation_id=organisation_id,
        only_organisation=only_organisation,
        scopes=scopes,
    )


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in on pages, with what every page shows of them."""

    actor: Actor
    organisations: Sequence[Organisation]
    """Those that they may speak for, by name."""
    unread: int
    """Notices that they have not read, counted up to `UNREAD_COUNTED`."""


def person_and_roles(user: User, *, organisation_id: UUID | None) -> Person:
    """The person that `user` is now: roles, organisations and the bell in one statement, which every page asks."""
    with prepared_cursor() as cursor:
        cursor.execute(_PERSON, [user.id, OrganisationState.ACTIVE.value, user.id, user.id, UNREAD_COUNTED])
        found = cursor.fetchall()
    actor = _actor(
        user.id,
        user.email,
        [row[1:3] for row in found if row[1] is not None],
        organisation_id=organisation_id,
        only_organisation=False,
        scopes=ALL_SCOPES,
    )
    known = [Organisation.from_db("default", _ORGANISATION, row[3:]) for row in found if row[3] is not None]
    return Person(actor, sorted(known, key=lambda one: (one.name, one.id)), found[0][0])


_ORGANISATION: Final = tuple(field.attname for field in Organisation._meta.concrete_fields)
_PERSON: Final = f"""
    with roles as (
        select o.id as owner_id, m.role, {", ".join(f"o.{name}" for name in _ORGANISATION)}
        from platform_membership m join platform_organisation o on o.id = m.organisation_id
        where m.user_id = %s and o.state = %s
        union all select h.id, h.role, {", ".join("null" for _ in _ORGANISATION)}
        from platform_hubmembership h where h.user_id = %s)
    select b.unread, roles.* from (
        select count(*) as unread from (
            select from platform_notice n where n.user_id = %s and n.read_at is null limit %s) n
    ) b left join roles on true"""  # noqa: S608 - the names are the model's own


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who holds an API token, and when its use was last noted."""

    actor: Actor
    token_id: UUID
    last_used_at: datetime | None


def bearer_of(secret_sha256: str, *, now: datetime) -> Bearer | None:
    """The holder of the token of this hash as they are now; None: unknown, expired, revoked, or an inactive user.

    One statement by hand: it comes before every call of the API, and Django's own two, with what it takes to
    build them, cost more than most calls' work.
    """
    with prepared_cursor() as cursor:
        cursor.execute(_BEARER, [OrganisationState.ACTIVE.value, secret_sha256, now])
        found = cursor.fetchall()
    if not found:
        return None
    token_id, last_used_at, scopes, organisation_id, user_id, email = found[0][:6]
    actor = _actor(
        user_id,
        email,
        [row[6:] for row in found if row[7] is not None],
        organisation_id=organisation_id,
        only_organisation=organisation_id is not None,
        scopes=[Scope(scope) for scope in scopes],
        token_id=token_id,
    )
    return Bearer(actor, token_id, last_used_at)


_BEARER: Final = """
    select t.id, t.last_used_at, t.scopes, t.organisation_id, u.id, u.email, r.owner_id, r.role
    from platform_apitoken t join platform_user u on u.id = t.user_id
    left join lateral (
        select m.organisation_id as owner_id, m.role from platform_membership m
        join platform_organisation o on o.id = m.organisation_id where m.user_id = u.id and o.state = %s
        union all select h.id, h.role from platform_hubmembership h where h.user_id = u.id
    ) r on true
    where t.secret_sha256 = %s and t.revoked_at is null and t.expires_at > %s and u.is_active"""


def _actor(
    user_id: UUID,
    email: str,
    rows: Iterable[tuple[UUID, str]],
    *,
    organisation_id: UUID | None,
    only_organisation: bool,
    scopes: Iterable[Scope],
    token_id: UUID | None = None,
) -> Actor:
    """A person with the roles of `rows`: (organisation, role) or (anything, hub role)."""
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
        id=user_id,
        label=email,
        roles=MappingProxyType(roles),
        hub_roles=frozenset(hub_roles),
        scopes=frozenset(scopes),
        organisation_id=organisation_id,
        token_id=token_id,
    )


def one_of(rows: QuerySet[RowT], key: UUID) -> RowT | None:
    """The row of this id among `rows`, or None. Their order is dropped: for one row it only costs."""
    return next(iter(rows.order_by().filter(pk=key)[:1]), None)


def organisations_visible_to(actor: Actor) -> QuerySet[Organisation]:
    """Organisations whose inside the actor may see."""
    rows = Organisation.objects.order_by("name", "id")
    return rows if actor.sees_all else rows.filter(id__in=actor.organisation_ids)


def admissions_visible_to(actor: Actor) -> QuerySet[Admission]:
    """What the actor's organisations asked to be admitted as, or all for the hub's people; newest first."""
    rows = Admission.objects.select_related("organisation", "asked_by").order_by("-asked_at", "-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def audit_visible_to(actor: Actor) -> QuerySet[AuditRecord]:
    """Audit records of the organisations that the actor manages, or all for the hub's people; newest first."""
    rows = AuditRecord.objects.order_by("-id")
    return (
        rows if actor.sees_all else rows.filter(organisation_id__in=organisations_where(actor, "audit.read"))
    )


def actors_recorded(text: str) -> list[str]:
    """Who of the audit trail's has this in their name, however it is written; some at most."""
    wanted = text.strip().lower()
    return [one for one in _recorded("actor_label") if wanted in one.lower()][:RECORDED_MAX]


def actions_recorded(beginning: str) -> list[str]:
    """The actions of the audit trail that begin so; some at most."""
    return [one for one in _recorded("action") if one.startswith(beginning.strip())][:RECORDED_MAX]


def _recorded(column: Literal["actor_label", "action"]) -> list[str]:
    """The values of a column that is indexed, each read once: few, where the rows are all that ever happened."""
    with connection.cursor() as cursor:
        cursor.execute(_RECORDED.replace("COLUMN", column))
        return [value for (value,) in cursor.fetchall()]


def organisations_where(actor: Actor, action: str) -> frozenset[UUID]:
    """The actor's organisations in which the policy allows `action` by their role there."""
    return frozenset(key for key in actor.roles if allows(actor, action, key))


def memberships_visible_to(actor: Actor) -> QuerySet[Membership]:
    """Members of the actor's organisations, or of all for the hub's people; in the order of joining."""
    rows = Membership.objects.select_related("user", "organisation").order_by("id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def invitations_visible_to(actor: Actor) -> QuerySet[Invitation]:
    """Invitations to organisations that the actor manages, or all for the hub's people; newest first."""
    rows = Invitation.objects.select_related("organisation").order_by("-id")
    if actor.sees_all:
        return rows
    return rows.filter(organisation_id__in=organisations_where(actor, "invitation.read"))


def invitation_with(secret: str) -> Invitation | None:
    """The invitation that whoever holds the secret was sent; no actor, since they may not have signed in yet."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return Invitation.objects.select_related("organisation").filter(secret_sha256=digest).first()


def suppliers_managed_by(actor: Actor) -> list[Organisation]:
    """The suppliers for which the actor may put goods on the shelf, by name; all for the hub's operator."""
    rows = Organisation.objects.filter(
        capabilities__contains=[Capability.SUPPLIER.value], state=OrganisationState.ACTIVE
    ).order_by("name", "id")
    if HubRole.OPERATOR not in actor.hub_roles:
        rows = rows.filter(id__in=organisations_where(actor, "pool.manage"))
    return list(rows)


def projects_visible_to(actor: Actor) -> QuerySet[Project]:
    """Projects of the actor's organisations, or all for the hub's people; oldest first."""
    rows = Project.objects.select_related("organisation").order_by("id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def facts_visible_to(actor: Actor) -> QuerySet[Fact]:
    """Facts of the actor's organisations, or all for the hub's people; newest first."""
    rows = Fact.objects.select_related("organisation", "verified_by").order_by("-id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def verified_facts(organisation_id: UUID, *, at: datetime) -> dict[str, Any]:
    """What is known of an organisation at an instant: of each name the newest verified value not yet expired.

    What eligibility may rest on; what is only claimed is not in it.
    """
    rows = (
        Fact.objects.filter(organisation=organisation_id, verified_at__lte=at)
        .filter(Q(expires_at=None) | Q(expires_at__gt=at))
        .order_by("recorded_at", "id")
    )
    return dict(rows.values_list("name", "value"))


def tokens_of(actor: Actor) -> QuerySet[ApiToken]:
    """The actor's own tokens that are not revoked; newest first."""
    return (
        ApiToken.objects.select_related("organisation").filter(user=actor.id, revoked_at=None).order_by("-id")
    )


def notices_of(actor: Actor) -> QuerySet[Notice]:
    """The actor's inbox, newest first."""
    return Notice.objects.filter(user=actor.id).order_by("-id")


def mail_waiting(actor: Actor) -> QuerySet[Mail]:
    """Letters that did not go out, newest first; their links are shown by `services.pass_on` alone.

    Raises:
        Forbidden: the actor is not the hub's operator.
    """
    require(actor, "mail.read")
    return Mail.objects.filter(sent_at=None).order_by("-id")


def findings_visible_to(actor: Actor) -> QuerySet[Finding]:
    """Findings, for the hub's people only; newest first."""
    rows = Finding.objects.select_related("opened_by", "answered_by", "organisation").order_by(
        "-opened_at", "-id"
    )
    return rows if actor.sees_all else rows.none()


@dataclass(frozen=True, slots=True)
class FindingsFigures:
    """How many findings wait for whom."""

    open: int
    overdue: int
    answered: int


def findings_figures(actor: Actor, *, now: datetime) -> FindingsFigures:
    """How many findings are open, overdue, and answered but not closed; of those the actor sees."""
    found = (
        findings_visible_to(actor)
        .select_related(None)
        .order_by()
        .aggregate(
            open=Count("id", filter=Q(state=FindingState.OPEN)),
            overdue=Count("id", filter=Q(state=FindingState.OPEN, due_at__lt=now)),
            answered=Count("id", filter=Q(state=FindingState.ANSWERED)),
        )
    )
    return FindingsFigures(**found)


def last_recorded(actor: Actor, actions: Collection[str], subject_id: UUID) -> dict[str, AuditRecord]:
    """The newest record of each action on a subject that the actor may see."""
    rows = audit_visible_to(actor).filter(subject_id=subject_id, action__in=actions)
    return {row.action: row for row in rows.order_by("action", "-id").distinct("action")}


def staff_of_hub(actor: Actor) -> QuerySet[HubMembership]:
    """The hub's own people with their roles, for each other; oldest first."""
    rows = HubMembership.objects.select_related("user").order_by("created_at", "id")
    return rows if actor.sees_all else rows.none()


def person_with_email(actor: Actor, email: str) -> User | None:
    """Who signs in with this address, for the hub's people: to make one of theirs."""
    require(actor, "hub.staff")
    return User.objects.filter(email__iexact=email.strip(), is_active=True).first()
