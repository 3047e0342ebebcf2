"""The states of pools, nodes, blackouts, blocks, volumes, endpoints, runs and attempts, and every move between them."""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class PoolState(StrEnum):
    OPEN = "open"
    DRAINING = "draining"
    """What runs goes on; nothing new is sold."""
    CLOSED = "closed"


class Placing(StrEnum):
    """How a supplier wants single runs placed among nodes that all could take them."""

    PACK = "pack"
    """Close together, so that whole nodes stay free for large ones."""
    SPREAD = "spread"
    """Apart, so that they share as little as can be."""


class NodeState(StrEnum):
    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


class Fitness(StrEnum):
    """What the last health test says of a node; only what is fit is sold."""

    UNCHECKED = "unchecked"
    FIT = "fit"
    UNFIT = "unfit"


class BlackoutState(StrEnum):
    SET = "set"
    LIFTED = "lifted"


class BlackoutKind(StrEnum):
    """Why a node is not sold for a while."""

    MAINTENANCE = "maintenance"
    ELSEWHERE = "elsewhere"
    """Its supplier sold it to somebody without the hub."""


class BlockState(StrEnum):
    HELD = "held"
    """Bought, and not begun."""
    OPEN = "open"
    """Its buyer's runs go into it."""
    ENDED = "ended"
    CANCELLED = "cancelled"


class VolumeState(StrEnum):
    MAKING = "making"
    """A snapshot that is not whole yet: nobody sees it, and nothing is charged for it."""
    KEPT = "kept"
    EXPIRED = "expired"
    """Its paid time is over: it can be read and renewed, until it is deleted."""
    DELETING = "deleting"
    """Its agent has still to delete it; its room is not free yet."""
    DELETED = "deleted"


class CopyState(StrEnum):
    COPYING = "copying"
    WHOLE = "whole"
    FAILED = "failed"
    """Nothing is left of it, and what it was copied to is as it was."""


class EndpointState(StrEnum):
    OPEN = "open"
    """It has an address, and replicas as it needs them."""
    ENDED = "ended"


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class AttemptState(StrEnum):
    WAITING = "waiting"
    LEASED = "leased"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"


POOL_MOVES: Final = MappingProxyType(
    {
        PoolState.OPEN: frozenset({PoolState.DRAINING, PoolState.CLOSED}),
        PoolState.DRAINING: frozenset({PoolState.OPEN, PoolState.CLOSED}),
    }
)
NODE_MOVES: Final = MappingProxyType(
    {
        NodeState.UP: frozenset({NodeState.DRAINING, NodeState.DOWN}),
        NodeState.DRAINING: frozenset({NodeState.UP, NodeState.DOWN}),
        NodeState.DOWN: frozenset({NodeState.UP, NodeState.DRAINING}),
    }
)
BLACKOUT_MOVES: Final = MappingProxyType({BlackoutState.SET: frozenset({BlackoutState.LIFTED})})

BLOCK_MOVES: Final = MappingProxyType(
    {
        BlockState.HELD: frozenset({BlockState.OPEN, BlockState.ENDED, BlockState.CANCELLED}),
        BlockState.OPEN: frozenset({BlockState.ENDED, BlockState.CANCELLED}),
    }
)
BLOCK_LIVES: Final = frozenset({BlockState.HELD, BlockState.OPEN})

VOLUME_MOVES: Final = MappingProxyType(
    {
        VolumeState.MAKING: frozenset({VolumeState.KEPT, VolumeState.DELETING}),
        VolumeState.KEPT: frozenset({VolumeState.EXPIRED, VolumeState.DELETING}),
        VolumeState.EXPIRED: frozenset({VolumeState.KEPT, VolumeState.DELETING}),
        VolumeState.DELETING: frozenset({VolumeState.DELETED}),
    }
)
VOLUME_LIVES: Final = frozenset({VolumeState.MAKING, VolumeState.KEPT, VolumeState.EXPIRED})
COPY_MOVES: Final = MappingProxyType({CopyState.COPYING: frozenset({CopyState.WHOLE, CopyState.FAILED})})
ENDPOINT_MOVES: Final = MappingProxyType({EndpointState.OPEN: frozenset({EndpointState.ENDED})})

_RUN_ENDS: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.TIMED_OUT})
RUN_MOVES: Final = MappingProxyType(
    {RunState.QUEUED: _RUN_ENDS | {RunState.RUNNING}, RunState.RUNNING: _RUN_ENDS | {RunState.QUEUED}}
)

ATTEMPT_ENDS: Final = frozenset(
    {
        AttemptState.SUCCEEDED,
        AttemptState.FAILED,
        AttemptState.CANCELLED,
        AttemptState.TIMED_OUT,
        AttemptState.LOST,
    }
)
HELD: Final = frozenset({AttemptState.LEASED, AttemptState.RUNNING, AttemptState.UNREACHABLE})
"""An agent has the attempt, or had it when it was last heard of."""
ATTEMPT_MOVES: Final = MappingProxyType(
    {
        AttemptState.WAITING: frozenset({AttemptState.LEASED, AttemptState.CANCELLED, AttemptState.LOST}),
        AttemptState.LEASED: ATTEMPT_ENDS | {AttemptState.RUNNING, AttemptState.UNREACHABLE},
        AttemptState.RUNNING: ATTEMPT_ENDS | {AttemptState.UNREACHABLE},
        AttemptState.UNREACHABLE: ATTEMPT_ENDS | {AttemptState.LEASED, AttemptState.RUNNING},
    }
)

RUN_STATE_OF: Final = MappingProxyType(
    {
        AttemptState.SUCCEEDED: RunState.SUCCEEDED,
        AttemptState.FAILED: RunState.FAILED,
        AttemptState.CANCELLED: RunState.CANCELLED,
        AttemptState.TIMED_OUT: RunState.TIMED_OUT,
        AttemptState.LOST: RunState.FAILED,
    }
)
"""How a run ends when its last attempt ended so."""


def is_ended(state: str) -> bool:
    """Whether a run in `state` has ended."""
    return RunState(state) in _RUN_ENDS
