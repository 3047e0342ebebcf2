"""The machines of a pool: what each has, how its health tests went, when it is not sold."""

from datetime import datetime

from mosu.compute.models import Blackout, HealthCheck, Node, Pool
from mosu.compute.shapes.parts import Why
from mosu.compute.states import BlackoutKind, NodeState
from mosu.compute.supply import drift_of_node
from mosu.kernel.ids import typeid
from mosu.platform.schemas import In, Out
from mosu.wire.times import Moment


class DeviceOut(Out):
    """A card, or a share of one: `share` is which of how many, such as `2/4`."""

    index: int
    card: int
    share: str | None
    accelerator: str
    present: bool


class HealthOut(Out):
    """One health test: what it measured, each in the unit that its name ends with, and how the hub judged it."""

    at: datetime
    took_s: float
    fit: bool
    why: str
    measures: dict[str, float]

    @classmethod
    def of(cls, check: HealthCheck) -> "HealthOut":
        return cls(at=check.at, took_s=check.took_s, fit=check.fit, why=check.why, measures=check.measures)


class NodeOut(Out):
    id: str
    name: str
    state: str
    fitness: str
    unfit_why: str
    checked_at: datetime | None
    check_asked_at: datetime | None
    drift: list[str]
    cores: int
    memory_bytes: int
    disk_bytes: int
    devices: list[DeviceOut]

    @classmethod
    def of(cls, node: Node) -> "NodeOut":
        devices = sorted(node.devices.all(), key=lambda device: device.index)
        return cls(
            id=node.public_id,
            name=node.name,
            state=node.state,
            fitness=node.fitness,
            unfit_why=node.unfit_why,
            checked_at=node.checked_at,
            check_asked_at=node.check_asked_at,
            drift=drift_of_node(node),
            cores=node.cores,
            memory_bytes=node.memory_bytes,
            disk_bytes=node.disk_bytes,
            devices=[
                DeviceOut(
                    index=one.index,
                    card=one.card,
                    share="{}/{}".format(*one.share) if one.share else None,
                    accelerator=one.accelerator,
                    present=one.present,
                )
                for one in devices
            ],
        )


class NodeStateIn(In):
    """Where a node is moved to, and why."""

    state: NodeState
    why: Why = ""


class BlackoutIn(In):
    """From when to when nothing of the node is sold, and why."""

    starts_at: Moment
    ends_at: Moment
    why: Why
    kind: BlackoutKind = BlackoutKind.MAINTENANCE


class BlackoutOut(Out):
    id: str
    kind: str
    pool_id: str
    node_id: str
    node: str
    starts_at: datetime
    ends_at: datetime
    why: str
    state: str

    @classmethod
    def of(cls, blackout: Blackout) -> "BlackoutOut":
        return cls(
            id=blackout.public_id,
            kind=blackout.kind,
            pool_id=typeid(Pool.prefix, blackout.node.pool_id),
            node_id=typeid(Node.prefix, blackout.node_id),
            node=blackout.node.name,
            starts_at=blackout.period.lower,
            ends_at=blackout.period.upper,
            why=blackout.why,
            state=blackout.state,
        )
