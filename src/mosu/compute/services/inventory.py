"""What a pool's agent lists, beside what was published: more is published; less is not sold, it has drifted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.accelerators import catalogue
from mosu.compute.models import Device, Node, Pool
from mosu.compute.moves import move_node, record_made
from mosu.compute.services.health import ask_check, locked_node, tell_supplier
from mosu.compute.states import NodeState
from mosu.compute.supply import drift_of_node
from mosu.kernel.refusals import Invalid
from mosu.platform.actors import Actor
from mosu.platform.policy import require
from mosu.platform.services import record_audit
from mosu.wire.agent import NodeInfo
from mosu.wire.shares import kind_of, listed_twice, share_at

_LISTED: Final = (
    "cores",
    "memory_bytes",
    "disk_bytes",
    "reached",
    "cores_published",
    "memory_bytes_published",
)


def take_inventory(pool: Pool, nodes: Sequence[NodeInfo], *, actor: Actor, now: datetime) -> None:
    """Take down the nodes that the agent lists; the caller holds the pool's lock.

    A node that it no longer lists is down. A node that the supplier drains stays draining.

    Raises:
        Invalid: two nodes of one name, a card that is there twice or both whole and cut, or an accelerator that the
            catalogue lacks.
    """
    _check_inventory(nodes)
    known = {node.name: node for node in pool.nodes.order_by("id").select_for_update(no_key=True)}
    for info in nodes:
        _take_node(pool, known.pop(info.name, None), info, actor=actor, now=now)
    for gone in known.values():
        if gone.state != NodeState.DOWN:
            move_node(gone, to=NodeState.DOWN, actor=actor, now=now, why="the agent no longer lists it")
            tell_supplier(gone, "The agent no longer lists it.", now=now)


@transaction.atomic
def publish_node(*, actor: Actor, node_id: UUID, now: datetime) -> Node:
    """Make what is there what is published: the node has drifted no more. Its health is tested again.

    Raises:
        NotFound: there is no such node.
    """
    node = locked_node(node_id)
    require(actor, "pool.manage", node.pool.organisation_id)
    drift = drift_of_node(node)
    node.cores_published, node.memory_bytes_published = node.cores, node.memory_bytes
    node.save(update_fields=["cores_published", "memory_bytes_published"])
    for device in node.devices.order_by("index"):
        if device.found:
            device.accelerator, device.found, device.present = device.found, "", True
        device.published = device.present
        device.save(update_fields=["accelerator", "found", "present", "published"])
    ask_check(node, now=now)
    record_audit(
        actor=actor,
        action="node.published",
        subject_id=node.id,
        before=None,
        after=None,
        now=now,
        organisation_id=node.pool.organisation_id,
        facts={"drift": drift},
    )
    return node


def _take_node(pool: Pool, node: Node | None, info: NodeInfo, *, actor: Actor, now: datetime) -> None:
    if node is None:
        node = Node.objects.create(
            pool=pool,
            name=info.name,
            created_at=now,
            cores=info.cores,
            memory_bytes=info.memory_bytes,
            disk_bytes=info.disk_bytes,
            reached=info.reached,
            cores_published=info.cores,
            memory_bytes_published=info.memory_bytes,
            check_asked_at=now,
        )
        record_made(node, actor=actor, now=now)
        _take_cards(node, info)
        return
    before = drift_of_node(node)
    node.cores, node.memory_bytes, node.disk_bytes = info.cores, info.memory_bytes, info.disk_bytes
    node.reached = info.reached
    node.cores_published = max(node.cores_published, info.cores)
    node.memory_bytes_published = max(node.memory_bytes_published, info.memory_bytes)
    node.save(update_fields=_LISTED)
    if node.state == NodeState.DOWN:
        move_node(node, to=NodeState.UP, actor=actor, now=now, why="the agent lists it again")
        ask_check(node, now=now)
    _take_cards(node, info)
    drift = drift_of_node(node)
    if drift and drift != before:
        ask_check(node, now=now)
        tell_supplier(node, " ".join(drift), now=now)


def _take_cards(node: Node, info: NodeInfo) -> None:
    """Cards that are new are published; one of another accelerator in a published one's place is not sold."""
    known = {device.index: device for device in node.devices.order_by("index")}
    for card in info.devices:
        device = known.pop(card.index, None)
        if device is None:
            Device.objects.create(node=node, index=card.index, accelerator=card.accelerator)
        elif device.published and device.accelerator != card.accelerator:
            _mark(device, present=False, published=True, found=card.accelerator)
        else:
            device.accelerator = card.accelerator
            _mark(device, present=True, published=True, found="")
    for gone in known.values():
        _mark(gone, present=False, published=gone.published, found="")


def _mark(device: Device, *, present: bool, published: bool, found: str) -> None:
    device.present, device.published, device.found = present, published, found
    device.save(update_fields=["accelerator", "present", "published", "found"])


def _check_inventory(nodes: Sequence[NodeInfo]) -> None:
    names = [node.name for node in nodes]
    if len(set(names)) != len(names):
        raise Invalid("Two nodes have the same name.", hint="Give each node its own name.", field="nodes")
    for node in nodes:
        twice = listed_twice((device.index, device.accelerator) for device in node.devices)
        if twice is not None:
            raise Invalid(
                f"Node {node.name}: card {twice} is listed twice, or cut in more than one way.",
                hint="A card is sold whole, or cut into equal shares of one kind.",
                field="devices",
            )
        for device in node.devices:
            kind = kind_of(device.accelerator)
            if kind.accelerator not in catalogue().accelerators:
                raise Invalid(
                    f"Node {node.name}: {device.accelerator[:60]!r} is not an accelerator of the catalogue.",
                    hint="Use an id of accelerators.yaml.",
                    field="accelerator",
                    found=device.accelerator[:60],
                )
            if share_at(device.index) >= kind.shares:
                raise Invalid(
                    f"Node {node.name}: a card cut into {kind.shares} has no share {share_at(device.index) + 1}.",
                    hint="List as many shares as the card has.",
                    field="devices",
                )
