"""The one policy, compared with a table written by hand."""

from types import MappingProxyType

import pytest

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Forbidden
from mosu.platform.actors import ALL_SCOPES, ANONYMOUS, SYSTEM, Actor, ActorKind, HubRole, Role, Scope
from mosu.platform.policy import POLICY, Unauthenticated, allows, require

HOME, ELSEWHERE = uuid7(), uuid7()

# Who may, in the order: owner admin developer finance viewer | operator checker auditor | stranger anonymous agent
EXPECTED = {
    "hub.look": "yyyyy yyy yyy",
    "offer.read": "yyyyy yyy yyy",
    "self.read": "yyyyy yyy y..",
    "organisation.found": "yyyyy yyy y..",
    "organisation.read": "yyyyy yyy ...",
    "organisation.manage": "yy... y.. ...",
    "organisation.admit": "..... y.. ...",
    "invitation.read": "yy... yyy ...",
    "project.make": "yyy.. y.. ...",
    "fact.verify": "..... y.. ...",
    "audit.read": "yy... yyy ...",
    "hub.staff": "..... y.. ...",
    "mail.read": "..... y.. ...",
    "mail.pass_on": "..... y.. ...",
    "deposit.propose": "..... y.. ...",
    "deposit.confirm": "..... .y. ...",
    "programme.propose": "..... y.. ...",
    "programme.release": "..... .y. ...",
    "voucher.issue": "..... y.. ...",
    "voucher.release": "..... .y. ...",
    "quote.ask": "yyy.. ... ...",
    "order.place": "yyy.. ... ...",
    "order.cancel": "yyy.. y.. ...",
    "run.read": "yyyyy yyy ...",
    "run.connect": "yyy.. ... ...",
    "agent.serve": "..... ... ..y",
}


def user(*hub_roles: HubRole, role: Role | None = None, scopes: frozenset[Scope] = ALL_SCOPES) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id=uuid7(),
        roles=MappingProxyType({HOME: role} if role else {}),
        hub_roles=frozenset(hub_roles),
        scopes=scopes,
    )


ACTORS = {
    **{role.value: user(role=role) for role in Role},
    **{role.value: user(role) for role in HubRole},
    "stranger": user(),
    "anonymous": ANONYMOUS,
    "agent": Actor(kind=ActorKind.AGENT, id=uuid7()),
}


@pytest.mark.parametrize("action", EXPECTED)
@pytest.mark.parametrize(("place", "who"), list(enumerate(ACTORS)))
def test_who_may(action: str, place: int, who: str) -> None:
    expected = EXPECTED[action].replace(" ", "")
    assert len(expected) == len(ACTORS)
    assert allows(ACTORS[who], action, HOME) is (expected[place] == "y")


@pytest.mark.parametrize("action", POLICY)
@pytest.mark.parametrize("role", Role)
def test_a_role_here_is_none_elsewhere(action: str, role: Role) -> None:
    if allows(user(role=role), action, ELSEWHERE):
        assert allows(user(), action, ELSEWHERE)


@pytest.mark.parametrize("action", POLICY)
def test_an_auditor_changes_nothing_but_their_own_findings(action: str) -> None:
    rule = POLICY[action]
    if action == "finding.open":
        return
    if allows(user(HubRole.AUDITOR), action) and not (rule.public or rule.signed_in):
        assert rule.scope is Scope.READ


@pytest.mark.parametrize("action", POLICY)
def test_a_token_without_the_scope_is_refused(action: str) -> None:
    scope = POLICY[action].scope
    everything = user(*HubRole, role=Role.OWNER, scopes=ALL_SCOPES - {scope})
    assert allows(everything, action, HOME) is POLICY[action].public
    assert allows(SYSTEM, action, HOME)


def test_the_refusal_says_what_would_help() -> None:
    with pytest.raises(Unauthenticated):
        require(ANONYMOUS, "order.place")
    with pytest.raises(Forbidden, match="scope 'buy'"):
        require(user(role=Role.OWNER, scopes=frozenset({Scope.READ})), "order.place", HOME)
    with pytest.raises(Forbidden) as refused:
        require(user(role=Role.VIEWER), "order.place", HOME)
    assert refused.value.hint == "Who may: admin, developer, owner."


def test_what_is_not_in_the_policy_is_a_bug() -> None:
    with pytest.raises(KeyError):
        allows(SYSTEM, "moon.land")
