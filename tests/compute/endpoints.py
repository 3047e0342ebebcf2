"""A hub that has addresses for endpoints, a pool that serves, and what the relay and the agent say meanwhile."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mosu.compute import services
from mosu.compute.models import Attempt, Endpoint, Replica, Run
from mosu.kernel.ids import uuid7
from mosu.platform.actors import Actor, Role
from mosu.wire.task import parse_task
from tests.compute.world import World, attempt_of, beat, lease, make_world, register
from tests.conftest import NOW
from tests.platform.factories import make_member

SERVICE = (
    "name: chat\nresources: {cpus: 1}\nrun: serve\nmosu: {kind: service, port: 8000, wall_limit: 2h%s}\n"
)


@dataclass
class Hub:
    """A resident with money, a developer of theirs, and a pool whose agent joins people to ports."""

    world: World
    person: Actor

    def task(self, terms: str = "") -> str:
        return SERVICE % (f", {terms}" if terms else "")

    def make(self, terms: str = "", *, now: datetime = NOW, **changes: Any) -> Endpoint:
        facts: dict[str, Any] = {
            "actor": self.person,
            "organisation_id": self.world.buyer.id,
            "project_id": self.world.project.id,
            "name": "chat",
            "task": parse_task(self.task(terms)),
            "workdir": (),
            "idempotency_key": uuid7().hex,
            "now": now,
        }
        return services.make_endpoint(**(facts | changes))

    def keep(self, endpoint: Endpoint, *, now: datetime = NOW) -> list[Replica]:
        """One round of the keeper; which replicas are not over after it."""
        services.keep_endpoint(endpoint_id=endpoint.id, now=now)
        return self.live(endpoint)

    def live(self, endpoint: Endpoint) -> list[Replica]:
        return list(Replica.objects.filter(endpoint=endpoint, over=False).order_by("ordinal"))

    def serve(self, replica: Replica, *, now: datetime = NOW) -> Attempt:
        """The agent starts it, and the relay finds it well."""
        register(self.world, now=now, reaches=True)
        running: list[str] = []
        while found := lease(self.world, now=now, running=running):
            running.append(found.spec.attempt_id)
        attempt = attempt_of(Run.objects.get(id=replica.run_id))
        beat(self.world, attempt, "running", now=now)
        Replica.objects.filter(id=replica.id, well_at=None).update(well_at=now)
        return attempt_of(Run.objects.get(id=replica.run_id))

    def ask(self, endpoint: Endpoint, *, in_flight: int = 1, now: datetime = NOW) -> None:
        Endpoint.objects.filter(id=endpoint.id).update(in_flight=in_flight, asked_at=now)


def make_hub(settings: Any, *, cores: int = 8, balance: int = 1_000_000_000) -> Hub:
    settings.MOSU_APPS_HOST = "apps.hub.example"
    settings.MOSU_RELAY_URL = "https://hub.example"
    settings.MOSU_ENCRYPTION_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
    world = make_world(cores=cores, balance=balance)
    register(world, cores=cores, reaches=True)
    return Hub(world, make_member(world.buyer, Role.DEVELOPER))


def later(**gone: float) -> datetime:
    return NOW + timedelta(**gone)
