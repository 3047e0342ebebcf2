"""Health tests: a node is delivered only after one that it passed, and leaves the shelf with one that it failed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef

from mosu.compute.health import Published, check_is_due, fault_of
from mosu.compute.models import Allocation, HealthCheck, Node
from mosu.compute.services.identity import served_pool
from mosu.compute.states import Fitness, NodeState
from mosu.kernel.languages import Language, said
from mosu.kernel.refusals import Invalid, NotFound
from mosu.platform.actors import Actor, Role
from mosu.platform.policy import require
from mosu.platform.services import members_of, notify, record_audit
from mosu.wire.agent import HealthAck, HealthReport


@transaction.atomic(durable=True)
def take_health(*, actor: Actor, report: HealthReport, now: datetime) -> HealthAck:
    """Keep what a health test measured, and judge it: the node is fit, or leaves the shelf with its reason.

    What runs there goes on. The supplier is told of each change.

    Raises:
        AgentTaken: another agent serves the pool.
        Invalid: the pool has no such node.
    """
    pool = served_pool(actor, instance=report.instance, now=now)
    node = Node.objects.select_for_update(of=("self",), no_key=True).select_related("pool")
    found = node.filter(pool=pool, name=report.node).first()
    if found is None:
        raise Invalid(f"There is no node {report.node!r} here.", hint="Register it first.", field="node")
    measures = {one.name: one.value for one in report.measures}
    # A card that is cut answers once.
    cards = found.devices.filter(present=True).order_by().values("card").distinct().count()
    published = Published(found.cores, found.memory_bytes, cards)
    why = (report.fault or fault_of(published, measures))[:300]
    HealthCheck.objects.create(
        node=found, at=now, took_s=report.took_s, fit=not why, why=why, measures=measures
    )
    before, found.fitness = found.fitness, (Fitness.UNFIT if why else Fitness.FIT).value
    changed = (before, found.unfit_why) != (found.fitness, why)
    found.unfit_why, found.checked_at, found.check_asked_at = why, now, None
    found.save(update_fields=["fitness", "unfit_why", "checked_at", "check_asked_at"])
    if before != found.fitness:
        _audit(found, actor=actor, before=before, why=why, now=now)
    if why and changed:
        tell_supplier(found, f"It failed its health test: {why}", now=now)
    return HealthAck(fit=not why, why=why)


@transaction.atomic
def check_now(*, actor: Actor, node_id: UUID, now: datetime) -> Node:
    """Ask for a health test of a node: it is made as soon as nothing runs there.

    Raises:
        NotFound: there is no such node.
    """
    node = locked_node(node_id)
    require(actor, "pool.manage", node.pool.organisation_id)
    if node.check_asked_at is None:
        node.check_asked_at = now
        node.save(update_fields=["check_asked_at"])
        record_audit(
            actor=actor,
            action="node.check_asked",
            subject_id=node.id,
            before=None,
            after=None,
            now=now,
            organisation_id=node.pool.organisation_id,
        )
    return node


def checks_wanted(pool_id: UUID, *, now: datetime) -> tuple[str, ...]:
    """The names of the pool's nodes to test now: asked for, due, or failed lately, where nothing runs."""
    busy = Allocation.objects.filter(
        attempt__isnull=False, node=OuterRef("pk"), live=True, period__startswith__lte=now
    )
    idle = Node.objects.filter(~Exists(busy), pool_id=pool_id).exclude(state=NodeState.DOWN)
    due = idle.order_by("name").values_list("name", "checked_at", "check_asked_at", "fitness")
    return tuple(
        name
        for name, checked_at, asked_at, fitness in due
        if check_is_due(checked_at=checked_at, asked_at=asked_at, unfit=fitness == Fitness.UNFIT, now=now)
    )


def ask_check(node: Node, *, now: datetime) -> None:
    """Take the node off the shelf until it has passed a health test: it is not what it was. For who holds its lock."""
    node.check_asked_at = node.check_asked_at or now
    if node.fitness == Fitness.FIT:
        node.fitness = Fitness.UNCHECKED.value
    node.save(update_fields=["check_asked_at", "fitness"])


def locked_node(node_id: UUID) -> Node:
    """The node, under lock.

    Raises:
        NotFound: there is none.
    """
    rows = Node.objects.select_for_update(of=("self",), no_key=True).select_related("pool")
    node = rows.filter(id=node_id).first()
    if node is None:
        raise NotFound("There is no such node.", hint="See the pool's nodes.")
    return node


_OFF_THE_SHELF: Final[Mapping[Language, str]] = {
    "zh": "{why} 有问题的部分已下架，正在运行的作业不受影响。",
    "en": "{why} What is wrong is off the shelf; what runs there goes on.",
}


def tell_supplier(node: Node, why: str, *, now: datetime) -> None:
    """Tell the supplier's owners and administrators what is wrong with a node, in both languages."""
    notify(
        user_ids=members_of(node.pool.organisation_id, roles=[Role.OWNER, Role.ADMIN]),
        kind="node.unwell",
        title={
            "zh": f"节点 {node.name} 有问题（{node.pool.name}）",
            "en": f"Node {node.name} of {node.pool.name} is not as it should be",
        },
        body={language: text.format(why=said(why, language)) for language, text in _OFF_THE_SHELF.items()},
        now=now,
        link=f"/nodes/{node.public_id}/",
        subject_id=node.id,
        organisation_id=node.pool.organisation_id,
        mail=True,
    )


def _audit(node: Node, *, actor: Actor, before: str, why: str, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=f"node.{node.fitness}",
        subject_id=node.id,
        before=before,
        after=node.fitness,
        now=now,
        organisation_id=node.pool.organisation_id,
        why=why,
    )
