"""A session that runs, people of its organisation, and the tokens with which they come."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mosu.compute import services
from mosu.compute.models import Attempt, Guest, Run
from mosu.compute.services import Granted
from mosu.platform.actors import Actor, Role, Scope
from mosu.platform.models import ApiToken, Membership, User
from mosu.platform.requests import actor_of_authorization
from mosu.platform.services import make_token
from mosu.wire.agent import EnvironmentInfo
from tests.compute.world import World, make_world, register, started
from tests.conftest import NOW
from tests.platform.factories import make_member

JUPYTER = EnvironmentInfo(name="notebooks", python="3.11", packages=("jupyterlab==4.6.6", "numpy==2.4.0"))
EDITOR = EnvironmentInfo(name="editor", python="3.11", packages=("code-server==4.139.1",))
SESSION = "name: lab\nresources: {cpus: 1}\nrun: jupyter lab\nmosu: {kind: session, wall_limit: 2h}\n"


@dataclass(frozen=True, slots=True)
class Session:
    """A session that the hub sees run, and a developer of its organisation, who is signed in and let in."""

    world: World
    run: Run
    attempt: Attempt
    person: Actor

    def let_in(self, person: Actor) -> Guest:
        return let_in(person, self.run)

    def join(self, *, actor: Actor | None = None, port: int = 8888, now: datetime = NOW) -> Granted:
        return services.open_connection(actor=actor or self.person, run_id=self.run.id, port=port, now=now)


def let_in(person: Actor | User, run: Run) -> Guest:
    """Somebody other than who ordered the session may now be joined to it."""
    member = Membership.objects.get(user=person.id, organisation=run.organisation_id)
    return Guest.objects.get_or_create(run=run, member=member, defaults={"let_in_at": NOW})[0]


def make_session(*, now: datetime = NOW, **changes: Any) -> Session:
    world = make_world(now=now)
    register(world, now=now, **({"reaches": True} | changes))
    run, attempt = started(world, now=now, text=SESSION)
    session = Session(world, run, attempt, make_member(world.buyer, Role.DEVELOPER))
    session.let_in(session.person)
    return session


def with_token(
    actor: Actor, *, now: datetime = NOW, scopes: tuple[Scope, ...] = tuple(Scope), days: int = 30
) -> tuple[Actor, ApiToken]:
    """The same person, who comes with a token."""
    token, secret = make_token(
        actor=actor, name="a test's", scopes=scopes, now=now, expires_at=now + timedelta(days=days)
    )
    return actor_of_authorization(f"Bearer {secret}", now=now), token
