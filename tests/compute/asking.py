"""Endpoints with replicas, keys and people who ask there, before a real relay."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import httpx
from django.db import transaction
from django.utils import timezone
from websockets.asyncio.client import connect

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost, label_of
from mosu.compute.models import Attempt, Endpoint, EndpointKey, Replica
from mosu.compute.relay import endpoints
from mosu.compute.states import EndpointState
from mosu.compute.stream_doors import in_thread
from mosu.kernel.ids import uuid7
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.models import User
from mosu.platform.queries import actor_for_user
from mosu.platform.services import record_audit
from mosu.wire.streams import Stream
from mosu.wire.tunnel import Target
from tests.compute.browsing import Relay, Serve, asked, browsing, carried, closed, tunnel_of
from tests.compute.test_relay import FakeAgent
from tests.compute.world import started
from tests.patience import PATIENCE_S, PATIENT
from tests.platform.factories import make_member

SERVICE = (
    "name: chat\nresources: {cpus: 1}\nrun: serve\n"
    "mosu: {kind: service, wall_limit: 2h, port: 8000, health: /health}\n"
)
DEAF = SERVICE.replace(", health: /health", "")
"""A service that is well while something listens."""


@dataclass
class Asker:
    """A program or a browser at an endpoint's host."""

    relay: Relay
    host: EndpointHost
    headers: dict[str, str]

    async def ask(self, method: str = "GET", path: str = "/", **more: Any) -> httpx.Response:
        headers = {"Host": self.host.netloc} | self.headers | more.pop("headers", {})
        async with asked() as client:
            url = f"http://127.0.0.1:{self.relay.port}{path}"
            return await client.request(method, url, headers=headers, **more)

    @property
    def head(self) -> bytes:
        told = {"Host": self.host.netloc} | self.headers
        return "".join(f"{name}: {value}\r\n" for name, value in told.items()).encode()

    def websocket(self, path: str = "/", **more: Any) -> connect:
        return connect(
            f"ws://{self.host.netloc}{path}",
            host="127.0.0.1",
            port=self.relay.port,
            additional_headers=self.headers,
            proxy=None,
            compression=None,
            **PATIENT,
            **more,
        )


@contextmanager
def asking(settings: Any, monkeypatch: Any) -> Iterator[Relay]:
    """A relay that looks after its endpoints more often than it would."""
    for name, seconds in {"REFRESH_S": 0.2, "NOTE_S": 0.1, "BREATH_S": 0.02}.items():
        monkeypatch.setattr(endpoints, name, seconds)
    with browsing(settings, monkeypatch) as relay:
        yield relay


@asynccontextmanager
async def served_by(relay: Relay, serves: Mapping[str, Serve]) -> AsyncIterator[FakeAgent]:
    """An agent that joins each attempt's streams to a server of its own; one that has none is refused."""
    writers, served = list[asyncio.StreamWriter](), set[asyncio.Task[None]]()
    addresses = dict[str, tuple[str, int]]()

    async def joins(agent: FakeAgent, stream: Stream, target: Target) -> None:
        if target.attempt_id in addresses:
            await carried(agent, stream, addresses[target.attempt_id], writers)
        else:
            agent.streams.refuse(stream, "nobody listens")

    async with AsyncExitStack() as stack:
        for attempt_id, serve in serves.items():
            server = await asyncio.start_server(partial(_serve, serve, served, writers), "127.0.0.1", 0)
            await stack.enter_async_context(server)
            addresses[attempt_id] = server.sockets[0].getsockname()[:2]
        async with tunnel_of(relay, joins) as agent:
            yield agent
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
    await closed(writers)


async def _serve(
    serve: Serve,
    served: set[asyncio.Task[None]],
    writers: list[asyncio.StreamWriter],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    served.add(task)
    writers.append(writer)
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        await serve(reader, writer)
    writer.close()


async def once(found: Callable[[], Any]) -> Any:
    """What it says, once it says anything."""
    patience = time.monotonic() + PATIENCE_S
    while not (said := await in_thread(found)):
        assert time.monotonic() < patience, "it is never so"
        await asyncio.sleep(0.02)
    return said


def make_endpoint(
    relay: Relay, *, auth: str = "key", replicas: int = 1, text: str = DEAF, name: str = ""
) -> Endpoint:
    """An open endpoint of the relay's buyer, with replicas that run."""
    world, now = relay.session.world, timezone.now()
    name = name or f"chat{Endpoint.objects.count()}"
    owner = make_member(world.buyer, Role.DEVELOPER)
    endpoint = Endpoint(
        organisation=world.buyer, project=world.project, owner_id=owner.id, name=name,
        label=label_of(name, world.buyer.id), auth=auth, port=8000, health="/health", task=text,
        replicas_min=0, replicas_max=5, requests_per_replica=16, idle_s=600, created_at=now,
    )  # fmt: skip
    with transaction.atomic():
        record_audit(actor=SYSTEM, action="test", subject_id=endpoint.id, before=None, after="open", now=now)
        endpoint.save(force_insert=True)
    for _ in range(replicas):
        add_replica(relay, endpoint, text=text)
    return endpoint


def add_replica(
    relay: Relay, endpoint: Endpoint, *, text: str = DEAF, well_at: datetime | None = None
) -> Replica:
    """One more, whose run runs."""
    now, ordinal = timezone.now(), Replica.objects.filter(endpoint=endpoint).count()
    run, _ = started(relay.session.world, now=now, text=text)
    return Replica.objects.create(
        endpoint=endpoint, run=run, ordinal=ordinal, version=1, added_at=now, well_at=well_at
    )


def all_well(served: endpoints.Endpoints) -> bool:
    """Whether no replica that is known is thought ill."""
    return all(way.is_well for one in served._served.values() for way in one.ways.values())


def attempt_id_of(replica: Replica) -> str:
    return Attempt.objects.get(run_id=replica.run_id).public_id


def end_endpoint(endpoint: Endpoint) -> None:
    now = timezone.now()
    with transaction.atomic():
        record_audit(
            actor=SYSTEM, action="test", subject_id=endpoint.id, before="open", after="ended", now=now
        )
        Endpoint.objects.filter(id=endpoint.id).update(state=EndpointState.ENDED, ended_at=now)


def host_of(endpoint: Endpoint) -> EndpointHost:
    return EndpointHost(endpoint.label)


def make_key(endpoint: Endpoint, *, secret: str = "") -> tuple[EndpointKey, str]:
    secret = secret or f"sk-mosu-{uuid7().hex}"
    key = EndpointKey.objects.create(
        endpoint=endpoint, name="a test's", secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        made_by_id=endpoint.owner_id, made_at=timezone.now(),
    )  # fmt: skip
    return key, secret


def program(relay: Relay, endpoint: Endpoint) -> Asker:
    """One with a key of its own."""
    _, secret = make_key(endpoint)
    return Asker(relay, host_of(endpoint), {"Authorization": f"Bearer {secret}"})


def anybody(relay: Relay, endpoint: Endpoint) -> Asker:
    return Asker(relay, host_of(endpoint), {})


def ticket_for(endpoint: Endpoint, user: User, *, sign_in: str, path: str = "/", now: datetime) -> str:
    """The address at which a browser of theirs redeems it."""
    made = services.make_endpoint_ticket(
        actor=actor_for_user(user), endpoint_id=endpoint.id, sign_in=sign_in, path=path, now=now
    )
    return made.url
