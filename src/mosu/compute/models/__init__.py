"""Tables of the compute shelf: pools, what they have, what is promised of it, and what runs there."""

from mosu.compute.models.allocations import Allocation, DeviceAllocation
from mosu.compute.models.blocks import Block, BlockLoss
from mosu.compute.models.pools import Blackout, Device, HealthCheck, Node, Pool
from mosu.compute.models.runs import Attempt, LogPiece, MeterSample, Run
from mosu.compute.models.sharing import IdleRule, PoolShare, Quota

__all__ = [
    "Allocation",
    "Attempt",
    "Blackout",
    "Block",
    "BlockLoss",
    "Device",
    "DeviceAllocation",
    "HealthCheck",
    "IdleRule",
    "LogPiece",
    "MeterSample",
    "Node",
    "Pool",
    "PoolShare",
    "Quota",
    "Run",
]
