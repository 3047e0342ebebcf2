"""The only place that writes states of the compute shelf; the caller holds the row's lock."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from mosu.compute.models import (
    Attempt,
    Blackout,
    Block,
    Endpoint,
    Node,
    Pool,
    Run,
    Volume,
    VolumeCopy,
    VolumeUse,
)
from mosu.compute.states import (
    ATTEMPT_MOVES,
    BLACKOUT_MOVES,
    BLOCK_MOVES,
    COPY_MOVES,
    ENDPOINT_MOVES,
    NODE_MOVES,
    POOL_MOVES,
    RUN_MOVES,
    VOLUME_MOVES,
    AttemptState,
    BlackoutState,
    BlockState,
    CopyState,
    EndpointState,
    NodeState,
    PoolState,
    RunState,
    VolumeState,
)
from mosu.kernel.states import check_move
from mosu.platform.actors import Actor
from mosu.platform.services import record_audit

CHANNEL = "mosu_compute"

_Moved = Pool | Node | Blackout | Block | Volume | VolumeCopy | Endpoint | Run | Attempt


def record_made(row: _Moved, *, actor: Actor, now: datetime, why: str = "") -> None:
    """Audit that a row was made, in the state it has."""
    record_audit(
        actor=actor,
        action=f"{row.prefix}.made",
        subject_id=row.id,
        before=None,
        after=row.state,
        now=now,
        organisation_id=_organisation_of(row),
        why=why,
    )


def move_pool(pool: Pool, *, to: PoolState, actor: Actor, now: datetime, why: str = "") -> None:
    check_move(POOL_MOVES, what=f"Pool {pool.public_id}", now=PoolState(pool.state), to=to)
    _write(pool, to=to, actor=actor, now=now, why=why)


def move_node(node: Node, *, to: NodeState, actor: Actor, now: datetime, why: str = "") -> None:
    check_move(NODE_MOVES, what=f"Node {node.public_id}", now=NodeState(node.state), to=to)
    _write(node, to=to, actor=actor, now=now, why=why)


def move_blackout(blackout: Blackout, *, to: BlackoutState, actor: Actor, now: datetime) -> None:
    check_move(
        BLACKOUT_MOVES, what=f"Blackout {blackout.public_id}", now=BlackoutState(blackout.state), to=to
    )
    _write(blackout, to=to, actor=actor, now=now, why="")


def move_block(block: Block, *, to: BlockState, actor: Actor, now: datetime, why: str = "") -> None:
    """Move a block; how it ended, it ended now."""
    check_move(BLOCK_MOVES, what=f"Block {block.public_id}", now=BlockState(block.state), to=to)
    block.ended_at = now if to in (BlockState.ENDED, BlockState.CANCELLED) else None
    _write(block, to=to, actor=actor, now=now, why=why, fields=("ended_at",))


def move_volume(volume: Volume, *, to: VolumeState, actor: Actor, now: datetime, why: str = "") -> None:
    """Move a volume; its end is when its deletion was asked for."""
    check_move(VOLUME_MOVES, what=f"Volume {volume.public_id}", now=VolumeState(volume.state), to=to)
    if to is VolumeState.DELETING:
        volume.ended_at = now
    _write(volume, to=to, actor=actor, now=now, why=why, fields=("ended_at", "size_gb", "whole_at"))


def move_copy(copy: VolumeCopy, *, to: CopyState, actor: Actor, now: datetime, why: str = "") -> None:
    """End a copy: the volumes that it came from and went to are free of it."""
    check_move(COPY_MOVES, what=f"Copy {copy.public_id}", now=CopyState(copy.state), to=to)
    copy.ended_at, copy.reason = now, why
    VolumeUse.objects.filter(copy=copy).update(live=False)
    fields = ("ended_at", "reason", "bytes_done", "bytes_total", "took_s")
    _write(copy, to=to, actor=actor, now=now, why=why, fields=fields)


def move_endpoint(endpoint: Endpoint, *, to: EndpointState, actor: Actor, now: datetime) -> None:
    """Move an endpoint; it ends once."""
    check_move(
        ENDPOINT_MOVES, what=f"Endpoint {endpoint.public_id}", now=EndpointState(endpoint.state), to=to
    )
    endpoint.ended_at = now
    _write(endpoint, to=to, actor=actor, now=now, why="", fields=("ended_at",))


def move_run(run: Run, *, to: RunState, actor: Actor, now: datetime, why: str = "") -> None:
    """Move a run; whoever follows it is told. Who is interrupted goes back to the queue, an end frees its volumes."""
    check_move(RUN_MOVES, what=f"Run {run.public_id}", now=RunState(run.state), to=to)
    if to is RunState.RUNNING:
        run.started_at = run.started_at or now
    elif to is not RunState.QUEUED:
        run.ended_at, run.reason = now, why[:500]
        if run.request.get("volumes"):
            VolumeUse.objects.filter(run=run).update(live=False)
    _write(run, to=to, actor=actor, now=now, why=why, fields=("started_at", "ended_at", "reason"))
    notify_run(run.id)


def move_attempt(
    attempt: Attempt,
    *,
    to: AttemptState,
    actor: Actor,
    now: datetime,
    why: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Move an attempt; whoever follows its run is told."""
    check_move(ATTEMPT_MOVES, what=f"Attempt {attempt.public_id}", now=AttemptState(attempt.state), to=to)
    attempt.reason = why[:500]
    _write(attempt, to=to, actor=actor, now=now, why=why, fields=("reason",), facts=facts)
    notify_run(attempt.run_id)


def notify_run(run_id: UUID) -> None:
    """Wake whoever follows the run, once this transaction commits."""
    _notify(f"run:{run_id.hex}")


def notify_pool(pool_id: UUID) -> None:
    """Wake the pool's agent where it waits for work, once this transaction commits."""
    _notify(f"pool:{pool_id.hex}")


def _notify(payload: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_notify(%s, %s)", [CHANNEL, payload])


def _write(
    row: _Moved,
    *,
    to: PoolState
    | NodeState
    | BlackoutState
    | BlockState
    | VolumeState
    | CopyState
    | EndpointState
    | RunState
    | AttemptState,
    actor: Actor,
    now: datetime,
    why: str,
    fields: tuple[str, ...] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    before, row.state = row.state, to.value
    row.save(update_fields=["state", *fields])
    record_audit(
        actor=actor,
        action=f"{row.prefix}.{to.value}",
        subject_id=row.id,
        before=before,
        after=to.value,
        now=now,
        organisation_id=_organisation_of(row),
        why=why,
        facts=facts,
    )


def _organisation_of(row: _Moved) -> UUID:
    if isinstance(row, Pool | Run | Block | Volume | Endpoint):
        return row.organisation_id
    if isinstance(row, Blackout):
        return row.node.pool.organisation_id
    if isinstance(row, VolumeCopy):
        return row.target.organisation_id
    return row.pool.organisation_id if isinstance(row, Node) else row.run.organisation_id
