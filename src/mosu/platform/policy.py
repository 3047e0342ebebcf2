"""The one policy. Every action of every door stands in the table below; what is not in it is refused.

A door names its action; a service calls `require` with the organisation that the action touches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from uuid import UUID

from mosu.kernel.refusals import Forbidden
from mosu.platform.actors import Actor, ActorKind, HubRole, Role, Scope

_ANYONE_IN = frozenset(Role)
_MAKERS = frozenset({Role.OWNER, Role.ADMIN, Role.DEVELOPER})
_MANAGERS = frozenset({Role.OWNER, Role.ADMIN})
_MONEY = frozenset({Role.OWNER, Role.ADMIN, Role.FINANCE})
_HUB = frozenset(HubRole)
_OPERATOR = frozenset({HubRole.OPERATOR})
_CHECKER = frozenset({HubRole.CHECKER})
_NONE: Final[frozenset[Role]] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may: any of `roles` in the organisation, or any of `hub_roles`; with a token, only with `scope`."""

    scope: Scope
    roles: frozenset[Role] = _NONE
    hub_roles: frozenset[HubRole] = frozenset()
    agent: bool = False
    public: bool = False
    signed_in: bool = False


PUBLIC: Final = Rule(scope=Scope.READ, public=True)

POLICY: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        # everyone
        "hub.look": PUBLIC,
        "hub.enter": PUBLIC,
        "self.read": Rule(scope=Scope.READ, signed_in=True),
        "self.change": Rule(scope=Scope.MANAGE, signed_in=True),
        # platform
        "organisation.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "organisation.found": Rule(scope=Scope.MANAGE, signed_in=True),
        "organisation.manage": Rule(scope=Scope.MANAGE, roles=_MANAGERS, hub_roles=_OPERATOR),
        "organisation.admit": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "admission.ask": Rule(scope=Scope.MANAGE, roles=_MANAGERS),
        "fact.verify": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "invitation.read": Rule(scope=Scope.READ, roles=_MANAGERS, hub_roles=_HUB),
        "project.make": Rule(scope=Scope.MANAGE, roles=_MAKERS, hub_roles=_OPERATOR),
        "audit.read": Rule(scope=Scope.READ, roles=_MANAGERS, hub_roles=_HUB),
        "hub.staff": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "desk.read": Rule(scope=Scope.READ, hub_roles=_HUB),
        "notice.send": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "mail.read": Rule(scope=Scope.READ, hub_roles=_OPERATOR),
        "mail.pass_on": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "books.read": Rule(scope=Scope.READ, hub_roles=_HUB),
        "figures.read": Rule(scope=Scope.READ, hub_roles=_HUB),
        "admin.read": Rule(scope=Scope.READ, hub_roles=_OPERATOR),
        "finding.read": Rule(scope=Scope.READ, hub_roles=_HUB),
        "finding.open": Rule(scope=Scope.MANAGE, hub_roles=frozenset({HubRole.AUDITOR})),
        "finding.answer": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        # store
        "document.add": Rule(scope=Scope.MANAGE, roles=_MONEY),
        # ledger
        "ledger.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "deposit.propose": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "deposit.confirm": Rule(scope=Scope.MANAGE, hub_roles=_CHECKER),
        "payout.propose": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "payout.confirm": Rule(scope=Scope.MANAGE, hub_roles=_CHECKER),
        # subsidies
        "programme.read": Rule(scope=Scope.READ, signed_in=True),
        "programme.propose": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "programme.release": Rule(scope=Scope.MANAGE, hub_roles=_CHECKER),
        "voucher.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "voucher.apply": Rule(scope=Scope.MANAGE, roles=_MONEY),
        "voucher.issue": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "voucher.release": Rule(scope=Scope.MANAGE, hub_roles=_CHECKER),
        # market
        "offer.read": PUBLIC,
        "offer.manage": Rule(scope=Scope.MANAGE, roles=_MANAGERS, hub_roles=_OPERATOR),
        "import.read": Rule(scope=Scope.READ, roles=_MANAGERS, hub_roles=_HUB),
        "import.release": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "rate.record": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "quote.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "quote.ask": Rule(scope=Scope.BUY, roles=_MAKERS),
        "order.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "order.place": Rule(scope=Scope.BUY, roles=_MAKERS),
        "order.cancel": Rule(scope=Scope.BUY, roles=_MAKERS, hub_roles=_OPERATOR),
        "budget.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "budget.set": Rule(scope=Scope.MANAGE, roles=_MONEY),
        "sample.draw": Rule(scope=Scope.READ, hub_roles=_HUB),
        "sale.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "receipt.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "month.close": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "credit.propose": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "credit.issue": Rule(scope=Scope.MANAGE, hub_roles=_CHECKER),
        # compute
        "run.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "run.connect": Rule(scope=Scope.BUY, roles=_MAKERS),
        "run.share": Rule(scope=Scope.BUY, roles=_MAKERS),
        "run.keep": Rule(scope=Scope.BUY, roles=_MAKERS),
        "endpoint.ask": PUBLIC,  # the endpoint's own word says who may
        "endpoint.enter": Rule(scope=Scope.READ, signed_in=True),
        "run.cancel": Rule(scope=Scope.BUY, roles=_MAKERS, hub_roles=_OPERATOR),
        "endpoint.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "endpoint.change": Rule(scope=Scope.BUY, roles=_MAKERS),
        "endpoint.end": Rule(scope=Scope.BUY, roles=_MAKERS, hub_roles=_OPERATOR),
        "blob.put": Rule(scope=Scope.BUY, roles=_MAKERS),
        "pool.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "pool.manage": Rule(scope=Scope.MANAGE, roles=_MANAGERS, hub_roles=_OPERATOR),
        "share.set": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "quota.read": Rule(scope=Scope.READ, roles=_ANYONE_IN, hub_roles=_HUB),
        "quota.set": Rule(scope=Scope.MANAGE, roles=_MANAGERS, hub_roles=_OPERATOR),
        "quota.grant": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "attempt.fence": Rule(scope=Scope.MANAGE, hub_roles=_OPERATOR),
        "agent.serve": Rule(scope=Scope.MANAGE, agent=True),
    }
)


def allows(actor: Actor, action: str, organisation_id: UUID | None = None) -> bool:
    """Whether `actor` may do `action`; without an organisation: in at least one of theirs."""
    rule = POLICY[action]
    if rule.public or actor.kind is ActorKind.SYSTEM:
        return True
    if actor.kind is ActorKind.AGENT:
        return rule.agent
    if actor.kind is not ActorKind.USER or rule.scope not in actor.scopes:
        return False
    if rule.signed_in or actor.hub_roles & rule.hub_roles:
        return True
    if organisation_id is None:
        return any(role in rule.roles for role in actor.roles.values())
    return actor.roles.get(organisation_id) in rule.roles


def require(actor: Actor, action: str, organisation_id: UUID | None = None) -> None:
    """Pass if the policy allows it.

    Raises:
        Unauthenticated: nobody is signed in and the action needs somebody.
        Forbidden: the actor may not; the hint names who may.
    """
    if allows(actor, action, organisation_id):
        return
    rule = POLICY[action]
    if actor.kind is ActorKind.ANONYMOUS:
        raise Unauthenticated(
            "This needs a sign-in.",
            hint="Sign in, or send an API token: Authorization: Bearer mosu_...",
        )
    if actor.kind is ActorKind.USER and rule.scope not in actor.scopes:
        raise Forbidden(
            f"This token lacks the scope {rule.scope.value!r}.",
            hint=f"Make a token with the scope {rule.scope.value!r}, or sign in with mosu login --manage.",
            action=action,
        )
    who = sorted(role.value for role in (*rule.roles, *rule.hub_roles)) or ["a site agent"]
    raise Forbidden(f"You may not do this ({action}).", hint=f"Who may: {', '.join(who)}.", action=action)


def person_of(actor: Actor) -> UUID:
    """The id of the user who asks.

    Raises:
        Unauthenticated: it is not a person.
    """
    if actor.kind is not ActorKind.USER or actor.id is None:
        raise Unauthenticated("This needs a person.", hint="Sign in.")
    return actor.id


class Unauthenticated(Forbidden):
    """Nobody is signed in, or the token is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
