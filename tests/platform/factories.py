"""Small makers of people and organisations."""

from datetime import UTC, datetime
from itertools import count

from django.utils import timezone

from mosu.platform.actors import SYSTEM, Actor, HubRole, Role, Scope
from mosu.platform.models import Membership, Organisation, User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import found_organisation, grant_hub_role, make_token

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
_numbers = count(1)


def make_user(email: str = "", *, password: str | None = None) -> User:
    return User.objects.create_user(email or f"user{next(_numbers)}@example.org", password)


def make_founder(name: str = "") -> tuple[Actor, Organisation]:
    """An organisation and its owner, as an actor."""
    user = make_user()
    organisation = found_organisation(
        actor=actor_for_user(user), name=name or f"Organisation {next(_numbers)}", kind="company", now=NOW
    )
    return actor_for_user(user), organisation


def make_member(organisation: Organisation, role: Role) -> Actor:
    user = make_user()
    Membership.objects.create(organisation=organisation, user=user, role=role, created_at=NOW)
    return actor_for_user(user)


def make_staff(*roles: HubRole) -> Actor:
    user = make_user()
    for role in roles:
        grant_hub_role(actor=SYSTEM, user_id=user.id, role=role, now=NOW)
    return actor_for_user(user)


def again(actor: Actor) -> Actor:
    """The same person, after what changed."""
    return actor_for_user(User.objects.get(id=actor.id))


def bearer(
    actor: Actor, *, scopes: tuple[Scope, ...] = tuple(Scope), organisation: Organisation | None = None
) -> dict[str, str]:
    """The header of a new token of the actor's."""
    _, secret = make_token(
        actor=actor,
        name="a test's",
        scopes=scopes,
        organisation_id=organisation.id if organisation else None,
        now=timezone.now(),
    )
    return {"Authorization": f"Bearer {secret}"}
