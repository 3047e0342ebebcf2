"""The first person of a hub, and organisations that an administrator of the machine sets up."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from allauth.account.models import EmailAddress
from django.db import connection, transaction

from mosu.platform.actors import ALL_SCOPES, SYSTEM, HubRole
from mosu.platform.models import HubMembership, OrganisationKind, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services.memberships import email_of, grant_hub_role
from mosu.platform.services.organisations import admit, found_for
from mosu.platform.services.tokens import make_token


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What was made; secrets are shown here and never again."""

    organisation_id: UUID
    user_id: UUID
    token: str
    password: str | None
    """None: the user was there already and keeps theirs."""


@transaction.atomic
def bootstrap(
    *,
    email: str,
    organisation_name: str,
    now: datetime,
    capabilities: Iterable[str] = (),
    hub_roles: Iterable[HubRole] = (),
    kind: str = OrganisationKind.COMPANY,
    name: str = "",
) -> Bootstrapped:
    """An organisation, its owner and an API token with all scopes; the hub's first one becomes its operator.

    Raises:
        NameTaken: there is such an organisation.
        Invalid: not an e-mail address, not a name, or an unknown capability or kind.
    """
    with connection.cursor() as cursor:
        # Two first calls at once must not make two first operators.
        cursor.execute("select pg_advisory_xact_lock(hashtext('platform.bootstrap'))")
    roles = set(hub_roles)
    if not HubMembership.objects.filter(role=HubRole.OPERATOR).exists():
        roles.add(HubRole.OPERATOR)
    user, password = _user(email_of(email), name)
    organisation = found_for(actor=SYSTEM, owner=user, name=organisation_name, kind=kind, now=now)
    for capability in capabilities:
        admit(actor=SYSTEM, organisation_id=organisation.id, capability=capability, now=now)
    for role in sorted(roles):
        grant_hub_role(actor=SYSTEM, user_id=user.id, role=role, now=now)
    actor = actor_for_user(user, organisation_id=organisation.id)
    # A token for one organisation carries no hub role; the staff's speaks for the person.
    only = None if actor.hub_roles else organisation.id
    _, secret = make_token(actor=actor, name="bootstrap", scopes=ALL_SCOPES, organisation_id=only, now=now)
    return Bootstrapped(organisation_id=organisation.id, user_id=user.id, token=secret, password=password)


@transaction.atomic
def add_staff(*, email: str, role: HubRole, now: datetime, name: str = "") -> tuple[UUID, str, str | None]:
    """A person of the hub's staff: their id, an API token with all scopes, and the password of a new account.

    The token speaks for the person, not for an organisation of theirs. Repeated, it makes a further token.

    Raises:
        Invalid: not an e-mail address.
    """
    user, password = _user(email_of(email), name)
    grant_hub_role(actor=SYSTEM, user_id=user.id, role=role, now=now)
    _, secret = make_token(
        actor=actor_for_user(user), name="staff", scopes=ALL_SCOPES, organisation_id=None, now=now
    )
    return user.id, secret, password


def _user(email: str, name: str) -> tuple[User, str | None]:
    user = User.objects.filter(email__iexact=email).first()
    if user:
        return user, None
    password = secrets.token_urlsafe(12)
    user = User.objects.create_user(email, password, name=name)
    # Whoever administers the machine vouches for the address.
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user, password
