"""Who asks: a person, a pool's site agent, or mosu itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID


class Role(StrEnum):
    """What a person may do in an organisation."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    FINANCE = "finance"
    VIEWER = "viewer"


class HubRole(StrEnum):
    """What a person may do for the hub itself. All three see everything; only two of them act."""

    OPERATOR = "operator"
    CHECKER = "checker"
    AUDITOR = "auditor"


class Scope(StrEnum):
    """What a token is good for. A session has all scopes."""

    READ = "read"
    BUY = "buy"
    MANAGE = "manage"


class ActorKind(StrEnum):
    ANONYMOUS = "anonymous"
    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Actor:
    """The one who asks, with all that the policy needs; made once per request by `actor_of`.

    `id` is the user's id, or the pool's for a site agent, or None for mosu itself.
    """

    kind: ActorKind
    id: UUID | None = None
    label: str = ""
    roles: Mapping[UUID, Role] = field(default_factory=lambda: MappingProxyType({}))
    hub_roles: frozenset[HubRole] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    organisation_id: UUID | None = None
    """The organisation on whose behalf the actor speaks (the token's, or the one chosen in the session)."""
    token_id: UUID | None = None
    """The API token with which a person came."""

    @property
    def organisation_ids(self) -> frozenset[UUID]:
        return frozenset(self.roles)

    @property
    def sees_all(self) -> bool:
        """True for the hub's own people, whose reads are not limited to their organisations."""
        return bool(self.hub_roles)

    def sees(self, organisation_id: UUID) -> bool:
        """Whether reads show what belongs to this organisation."""
        return organisation_id in self.roles or self.sees_all


SYSTEM = Actor(kind=ActorKind.SYSTEM, label="mosu", scopes=ALL_SCOPES)
"""mosu itself, acting by rule: in background tasks and at expiry."""

ANONYMOUS = Actor(kind=ActorKind.ANONYMOUS, label="anonymous")
