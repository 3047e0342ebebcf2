"""A buyer with money, the hub's own pool with its offer, and an agent that says what a real one would."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from mosu.compute import services
from mosu.compute.models import Attempt, Pool, Run
from mosu.compute.placement import GIB
from mosu.compute.services import QuoteResult
from mosu.kernel.ids import uuid7
from mosu.ledger import services as ledger
from mosu.market.models import Order
from mosu.market.services import accept_quote
from mosu.platform.actors import ALL_SCOPES, SYSTEM, Actor, ActorKind, HubRole, Role
from mosu.platform.models import Organisation, Project
from mosu.platform.services import record_audit
from mosu.wire.agent import (
    AttemptPhase,
    AttemptStatus,
    DeviceInfo,
    EnvironmentInfo,
    HealthAck,
    HealthMeasure,
    HealthReport,
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LeaseRequest,
    NodeInfo,
    Registration,
    Report,
    ReportAck,
    Usage,
    UsageAck,
    UsageBatch,
)
from mosu.wire.task import parse_task
from tests.conftest import NOW

OPERATOR = Actor(
    kind=ActorKind.USER, id=uuid7(), label="op", hub_roles=frozenset({HubRole.OPERATOR}), scopes=ALL_SCOPES
)


@dataclass
class World:
    buyer: Organisation
    project: Project
    actor: Actor
    pool_id: UUID
    token: str
    agent: Actor


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def make_organisation(name: str, *, capabilities: Sequence[str] = ()) -> Organisation:
    organisation = Organisation(
        name=f"{name} {uuid7().hex}", kind="company", capabilities=list(capabilities), created_at=NOW
    )
    with transaction.atomic():
        record_audit(
            actor=SYSTEM, action="test", subject_id=organisation.id, before=None, after="active", now=NOW
        )
        organisation.save(force_insert=True)
    return organisation


def developer_of(organisation: Organisation) -> Actor:
    return Actor(
        kind=ActorKind.USER,
        id=uuid7(),
        label="someone@example.org",
        roles={organisation.id: Role.DEVELOPER},
        scopes=ALL_SCOPES,
        organisation_id=organisation.id,
    )


def make_world(*, cores: int = 4, cards: int = 0, now: datetime = NOW, balance: int = 1_000_000_000) -> World:
    buyer = make_organisation("startup")
    project = Project.objects.create(organisation=buyer, name="p", created_at=NOW)
    deposit(buyer.id, balance)
    pool_id, token = services.ensure_local_pool(now=now)
    assert token is not None
    agent = services.actor_of_agent(f"Bearer {token}", now=now)
    world = World(buyer, project, developer_of(buyer), pool_id, token, agent)
    register(world, cores=cores, cards=cards, now=now)
    return world


def register(world: World, *, cores: int = 4, cards: int = 0, now: datetime = NOW, **changes: Any) -> None:
    node = NodeInfo(
        name="n1",
        cores=cores,
        memory_bytes=64 * GIB,
        disk_bytes=200 * GIB,
        devices=tuple(DeviceInfo(index=index, accelerator="nvidia-h100-sxm") for index in range(cards)),
    )
    facts: dict[str, Any] = {
        "agent_version": "1",
        "engine": "local",
        "clock_at": now,
        "nodes": (node,),
        "environments": (EnvironmentInfo(name="python", python="3.11"),),
        "sandbox": "bubblewrap+seccomp",
        "sandbox_ok": True,
    }
    registration = Registration(**(facts | changes))
    services.register_agent(actor=world.agent, registration=registration, now=now)
    for one in registration.nodes:
        checked(world, one, now=now, instance=registration.instance)


def checked(
    world: World, node: NodeInfo, *, now: datetime, instance: str = "", **changes: float
) -> HealthAck:
    """The node's health test measures what was published, but for `changes`."""
    measures = {
        "cores": node.cores,
        "memory_bytes": node.memory_bytes,
        "write_bytes_per_s": 5e8,
        "cards": len(node.devices),
    } | changes
    report = HealthReport(
        instance=instance,
        node=node.name,
        took_s=1,
        measures=tuple(HealthMeasure(name=name, value=value) for name, value in measures.items()),
    )
    return services.take_health(actor=world.agent, report=report, now=now)


def task_of(*, cores: int = 1, wall: str = "60s", more: str = "", run: str = "echo hello") -> str:
    return f"name: t\nresources: {{cpus: {cores}}}\nrun: {run}\nmosu: {{wall_limit: {wall}}}\n{more}"


def quote(world: World, text: str, *, now: datetime = NOW, workdir: Sequence[Any] = ()) -> QuoteResult:
    return services.quote_run(
        actor=world.actor,
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        task=parse_task(text),
        workdir=workdir,
        choice="none",
        now=now,
    )


def buy(world: World, text: str | None = None, *, now: datetime = NOW, **asked: Any) -> Run:
    result = quote(world, text or task_of(**asked), now=now)
    assert result.quotes, result.refused
    return accept(world, result.quotes[0].id, now=now)


def accept(world: World, quote_id: UUID, *, now: datetime = NOW) -> Run:
    order = accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=now)
    return Run.objects.get(order_id=order.id)


def lease(world: World, *, now: datetime, running: Sequence[str] = ()) -> Lease | None:
    asked = LeaseRequest(running=tuple(running))
    return services.lease_attempt(actor=world.agent, asked=asked, now=now).lease


def beat(
    world: World, attempt: Attempt, phase: str, *, now: datetime, epoch: int | None = None
) -> HeartbeatAnswer:
    status = AttemptStatus(
        attempt_id=attempt.public_id, epoch=epoch or attempt.epoch, phase=AttemptPhase(phase), started_at=None
    )
    return services.heartbeat(actor=world.agent, message=Heartbeat(clock_at=now, attempts=(status,)), now=now)


def use(
    world: World, attempt: Attempt, quantity: int, *, since: datetime, now: datetime, sequence: int = 0
) -> UsageAck:
    record = Usage(
        attempt_id=attempt.public_id,
        meter="core_second",
        sequence=sequence,
        quantity=quantity,
        start=since,
        end=now,
    )
    return services.take_usage(actor=world.agent, batch=UsageBatch(records=(record,)), now=now)


def report(
    world: World, attempt: Attempt, phase: str = "succeeded", *, now: datetime, **changes: Any
) -> ReportAck:
    facts: dict[str, Any] = {
        "epoch": attempt.epoch,
        "phase": phase,
        "exit_code": 0 if phase == "succeeded" else None,
        "started_at": now - timedelta(seconds=1),
        "ended_at": now,
        "measures": None,
        "log_bytes": 0,
    }
    return services.take_report(
        actor=world.agent, attempt_id=attempt.id, report=Report(**(facts | changes)), now=now
    )


def attempt_of(run: Run) -> Attempt:
    return Attempt.objects.filter(run=run).order_by("-epoch")[0]


def started(world: World, *, now: datetime = NOW, **asked: Any) -> tuple[Run, Attempt]:
    """A run that its agent has started and the hub has seen run."""
    run = buy(world, now=now, **asked)
    found = lease(world, now=now)
    assert found is not None
    beat(world, attempt_of(run), "running", now=now)
    return Run.objects.get(id=run.id), attempt_of(run)


def order_of(run: Run) -> Order:
    return Order.objects.get(id=run.order_id)


def held_micros(organisation_id: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select held_micros from ledger_account where kind = 'balance' and owner_id = %s",
            [organisation_id],
        )
        return int(cursor.fetchone()[0])


def live_cores() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select coalesce(sum(cores), 0) from compute_allocation where live")
        return int(cursor.fetchone()[0])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pool_of(world: World) -> Pool:
    return Pool.objects.get(id=world.pool_id)


def deposit(organisation_id: UUID, amount_micros: int) -> None:
    bank = ledger.open_account(kind="bank", owner_id=UUID(int=0), currency="CNY", floor_micros=None)
    own = ledger.open_account(kind="balance", owner_id=organisation_id, currency="CNY", floor_micros=0)
    ledger.post_entry(
        key=f"deposit:{uuid7()}",
        kind="test",
        moves=[ledger.Move(bank, own, amount_micros)],
        subject_id=organisation_id,
        now=NOW,
    )
