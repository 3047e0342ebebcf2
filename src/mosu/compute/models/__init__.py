"""Tables of the compute shelf: pools, what they have, what is promised of it, and what runs there."""

from mosu.compute.models.allocations import Allocation, DeviceAllocation
from mosu.compute.models.blocks import Block, BlockLoss
from mosu.compute.models.connections import PORT_MAX, Connection, Guest
from mosu.compute.models.endpoints import (
    LATENCY_MS,
    Endpoint,
    EndpointKey,
    EndpointMinute,
    EndpointRequest,
    Replica,
)
from mosu.compute.models.pools import WHOLE, Blackout, Device, HealthCheck, Node, Pool
from mosu.compute.models.runs import Attempt, Extension, LogPiece, MeterSample, Run
from mosu.compute.models.sharing import IdleRule, PoolShare, Quota
from mosu.compute.models.tickets import Ticket
from mosu.compute.models.volumes import Volume, VolumeCopy, VolumeTerm, VolumeUse

__all__ = [
    "LATENCY_MS",
    "PORT_MAX",
    "WHOLE",
    "Allocation",
    "Attempt",
    "Blackout",
    "Block",
    "BlockLoss",
    "Connection",
    "Device",
    "DeviceAllocation",
    "Endpoint",
    "EndpointKey",
    "EndpointMinute",
    "EndpointRequest",
    "Extension",
    "Guest",
    "HealthCheck",
    "IdleRule",
    "LogPiece",
    "MeterSample",
    "Node",
    "Pool",
    "PoolShare",
    "Quota",
    "Replica",
    "Run",
    "Ticket",
    "Volume",
    "VolumeCopy",
    "VolumeTerm",
    "VolumeUse",
]
