"""What of a block was not delivered, as the hub sees it minute by minute: it is not charged, unasked."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from mosu.compute.models import Allocation, Block, BlockLoss, DeviceAllocation, Node
from mosu.compute.queries import why_not_served
from mosu.compute.states import Fitness, NodeState
from mosu.market.models import Receipt
from mosu.platform.actors import Role
from mosu.platform.services import members_of, notify


def watch_losses(block: Block, *, now: datetime) -> None:
    """Note which nodes of a running block cannot be used from now on, and which can again.

    The caller holds the block's lock. Nothing counts after the block's end.
    """
    at = min(now, block.period.upper)
    troubles = _troubles(block, now=now)
    open_ones = {loss.node_id: loss for loss in block.losses.filter(until=None)}
    for node_id, loss in open_ones.items():
        if node_id not in troubles:
            BlockLoss.objects.filter(id=loss.id).update(until=max(at, loss.since))
    for node_id, why in troubles.items():
        if node_id not in open_ones and at < block.period.upper:
            BlockLoss.objects.create(block=block, node_id=node_id, since=at, why=why[:300])


def tell_of_losses(block: Block, receipt: Receipt, *, lost_units_s: int, now: datetime) -> None:
    """Tell the buyer's people, unasked and in both languages, what of their block is not charged."""
    hours, number = f"{lost_units_s / 3600:,.2f}", receipt.content["order"]["number"]
    notify(
        user_ids=members_of(
            block.organisation_id, roles=[Role.OWNER, Role.ADMIN, Role.DEVELOPER, Role.FINANCE]
        ),
        kind="order.credited",
        title={
            "zh": f"预留时段 {number} 有部分未交付，不收费",
            "en": f"Part of block {number} was not delivered, and is not charged",
        },
        body={
            "zh": f"{hours} 单位小时未交付，不收费；冻结的余额已解冻，券的额度已退回。小票 {receipt.number}。",
            "en": f"{hours} unit-hours were not delivered and are not charged: held money is free again, and vouchers "
            f"have their amount back. Receipt {receipt.number}.",
        },
        now=now,
        link=f"/receipts/{receipt.public_id}/",
        subject_id=block.id,
        organisation_id=block.organisation_id,
        mail=True,
    )


def _troubles(block: Block, *, now: datetime) -> Mapping[UUID, str]:
    """By node of the block: why nothing can be started there now."""
    holds = Allocation.objects.filter(block=block, attempt=None, live=True)
    nodes = {hold.node_id: hold.node for hold in holds.select_related("node")}
    unserved = why_not_served(block.pool, now=now)
    if unserved is not None:
        return dict.fromkeys(nodes, unserved)
    found = {key: why for key, node in nodes.items() if (why := _trouble_of(node))}
    gone = DeviceAllocation.objects.filter(allocation__in=holds, live=True, device__present=False)
    for node_id in gone.order_by("device__node").values_list("device__node", flat=True).distinct():
        found.setdefault(node_id, "a card of it is gone")
    for node_id in _overstayed(block, now=now):
        found.setdefault(node_id, "another run is still there past its time")
    return found


def _trouble_of(node: Node) -> str:
    if node.state != NodeState.UP:
        return f"the node is {node.state}"
    if node.fitness != Fitness.FIT:
        return f"the node is {node.fitness}"
    return ""


def _overstayed(block: Block, *, now: datetime) -> list[UUID]:
    """Nodes on which a run from before the block still has a card of it; for cores: still is at all."""
    holds = Allocation.objects.filter(block=block, attempt=None, live=True)
    late = Allocation.objects.filter(
        node__in=holds.values("node"), live=True, block=None, period__endswith__lte=now
    )
    if block.cards:
        own = DeviceAllocation.objects.filter(allocation__in=holds).values("device")
        late = late.filter(devices__device__in=own, devices__live=True)
    return list(late.order_by("node_id").values_list("node_id", flat=True).distinct())
