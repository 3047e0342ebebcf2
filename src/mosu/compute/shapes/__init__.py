"""The compute shelf's JSON: ids as TypeIDs, times in UTC, money as decimal strings."""

from mosu.compute.shapes.accelerators import AcceleratorOut
from mosu.compute.shapes.blocks import BlockOut, BlockQuoteIn
from mosu.compute.shapes.connections import AppsOut, ConnectionOut, GuestIn, GuestOut
from mosu.compute.shapes.endpoints import (
    EndpointChangeIn,
    EndpointIn,
    EndpointKeyIn,
    EndpointKeyOut,
    EndpointMinuteOut,
    EndpointOut,
    EndpointRequestOut,
    NewEndpointKeyOut,
    ReplicaOut,
)
from mosu.compute.shapes.nodes import BlackoutIn, BlackoutOut, HealthOut, NodeOut, NodeStateIn
from mosu.compute.shapes.pools import (
    DayUsedOut,
    MadePoolOut,
    PlacingIn,
    PoolIn,
    PoolOut,
    PoolStateIn,
    PoolTokenOut,
)
from mosu.compute.shapes.quotes import QuoteIn, QuotesOut
from mosu.compute.shapes.runs import ExtensionIn, FenceIn, RunIdleStopIn, RunOut, SamplesOut
from mosu.compute.shapes.tickets import TicketIn, TicketOut
from mosu.compute.shapes.volumes import (
    RestoreIn,
    SnapshotQuoteIn,
    VolumeIn,
    VolumeOut,
    VolumeQuoteIn,
    VolumeTimeIn,
)

__all__ = [
    "AcceleratorOut",
    "AppsOut",
    "BlackoutIn",
    "BlackoutOut",
    "BlockOut",
    "BlockQuoteIn",
    "ConnectionOut",
    "DayUsedOut",
    "EndpointChangeIn",
    "EndpointIn",
    "EndpointKeyIn",
    "EndpointKeyOut",
    "EndpointMinuteOut",
    "EndpointOut",
    "EndpointRequestOut",
    "ExtensionIn",
    "FenceIn",
    "GuestIn",
    "GuestOut",
    "HealthOut",
    "MadePoolOut",
    "NewEndpointKeyOut",
    "NodeOut",
    "NodeStateIn",
    "PlacingIn",
    "PoolIn",
    "PoolOut",
    "PoolStateIn",
    "PoolTokenOut",
    "QuoteIn",
    "QuotesOut",
    "ReplicaOut",
    "RestoreIn",
    "RunIdleStopIn",
    "RunOut",
    "SamplesOut",
    "SnapshotQuoteIn",
    "TicketIn",
    "TicketOut",
    "VolumeIn",
    "VolumeOut",
    "VolumeQuoteIn",
    "VolumeTimeIn",
]
