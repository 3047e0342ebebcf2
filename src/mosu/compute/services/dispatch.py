"""What an agent hears of: attempts to start, and commands. What the hub hears of it: that they run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import FilteredRelation, Q, QuerySet

from mosu.compute.models import Allocation, Attempt, Pool, Volume
from mosu.compute.moves import move_attempt, move_run
from mosu.compute.placement import GIB, Placement
from mosu.compute.quotas import earliest_within
from mosu.compute.requests import ENGINE_GRACE_S, RunRequest, request_of
from mosu.compute.sealing import opened
from mosu.compute.services.capacity import allocate, find_place, release
from mosu.compute.services.endings import fail_attempt
from mosu.compute.services.health import checks_wanted
from mosu.compute.services.identity import LEASE_S, served_pool
from mosu.compute.services.samples import keep_samples
from mosu.compute.services.sharing import limits_of
from mosu.compute.services.snapshots import copies_wanted, note_copies
from mosu.compute.services.volumes import confirm_deleted, volumes_to_delete
from mosu.compute.session_apps import script_with, secrets_of
from mosu.compute.states import ATTEMPT_ENDS, AttemptState, RunState
from mosu.compute.turns import turns_in
from mosu.market.models import Order
from mosu.market.services import activate_order
from mosu.platform.actors import Actor
from mosu.store.services import read_manifest
from mosu.wire.agent import (
    VOLUMES_MAX,
    AttemptPhase,
    AttemptSpec,
    AttemptStatus,
    Command,
    Heartbeat,
    HeartbeatAnswer,
    InputFile,
    Lease,
    LeaseRequest,
    ServiceSpec,
    VolumeSpec,
)

BACKFILL_MAX: Final = 10
"""So many are tried for an early start at one call: each looks at the whole pool."""
PATIENCE: Final = timedelta(seconds=60)
"""How long a start waits for what the one before it still holds."""

_OBSERVED: Final = (
    "last_contact_at",
    "leased_until",
    "first_running_at",
    "started_at",
    "sampled_at",
    "looked_at",
    "looked_cpu_s",
    "idle_since",
    "idle_told_at",
)


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """A lease, or when to look again at the latest (None: when somebody orders something)."""

    lease: Lease | None = None
    next_at: datetime | None = None


class _NoRoom(Exception):
    """Inside this module: the attempt cannot start where it was promised."""

    def __init__(self, attempt_id: UUID) -> None:
        super().__init__(attempt_id)
        self.attempt_id = attempt_id


def lease_attempt(*, actor: Actor, asked: LeaseRequest, now: datetime) -> LeaseAnswer:
    """Hand the pool's agent its next attempt, if one is due.

    What was handed out before and is not among `asked.running`, because the answer was lost on its way, is
    handed out again, the same attempt: an engine starts one attempt id once. An attempt whose place is taken by
    one that overstays is moved to another, or ended and credited. One that was promised a later start begins as
    soon as there is room, unless its buyer asked for no earlier one: most runs end long before their wall limit.
    Who is tried first for that is a matter of fairness (see `fairness`); what was promised to others stays theirs.
    """
    try:
        return _lease(actor=actor, asked=asked, now=now)
    except _NoRoom as no_room:
        fail_attempt(
            attempt_id=no_room.attempt_id,
            why="its place was still taken when it was to start",
            keeps_capacity=False,
            now=now,
        )
        return LeaseAnswer(next_at=now)


@transaction.atomic(durable=True)
def _lease(*, actor: Actor, asked: LeaseRequest, now: datetime) -> LeaseAnswer:
    pool = served_pool(actor, instance=asked.instance, now=now)
    pool_id = pool.id
    Pool.objects.filter(id=pool_id).update(last_seen_at=now)
    if not pool.sandbox_ok:
        return LeaseAnswer()
    running = [Attempt.key_of(attempt_id) for attempt_id in asked.running]
    lost = _locked(
        Attempt.objects.filter(
            pool_id=pool_id,
            state__in=[AttemptState.LEASED.value, AttemptState.UNREACHABLE.value],
            first_running_at=None,
        ).exclude(id__in=running)
    )
    if lost is not None:
        return LeaseAnswer(lease=_handed(lost, actor=actor, now=now))
    waiting = Attempt.objects.filter(pool_id=pool_id, state=AttemptState.WAITING).annotate(
        place=FilteredRelation("allocations", condition=Q(allocations__live=True))
    )
    early = waiting.filter(place__period__startswith__gt=now).exclude(
        run__request__not_before_s__gt=int(now.timestamp())
    )
    due = _locked(waiting.filter(place__period__startswith__lte=now))
    if due is not None and _keep_place(due, now=now):
        return LeaseAnswer(lease=_handed(due, actor=actor, now=now))
    for attempt_id in _turns(pool_id, set(early.values_list("id", flat=True)), now=now):
        next_one = _locked(waiting.filter(id=attempt_id))
        if next_one is not None and _keep_place(next_one, now=now):
            return LeaseAnswer(lease=_handed(next_one, actor=actor, now=now))
    starts = waiting.filter(place__isnull=False).order_by("place__period")
    first = starts.values_list("place__period", flat=True).first()
    return LeaseAnswer(next_at=max(first.lower, now + timedelta(seconds=1)) if first else None)


def _turns(pool_id: UUID, attempt_ids: set[UUID], *, now: datetime) -> Iterator[UUID]:
    """Those of the attempts that are tried for an early start: some in the order of their turns, then the next of each
    node, which can always go forward in its own place: else a node idles whose room is promised to later ones.

    One that finds no room lets the next one try: it delays nobody, since every other's place stays reserved.
    """
    if not attempt_ids:
        return
    first = list(islice((one for one in turns_in([pool_id])[pool_id] if one in attempt_ids), BACKFILL_MAX))
    yield from first
    promised = Allocation.objects.filter(
        live=True, attempt_id__in=attempt_ids - set(first), period__startswith__gt=now
    )
    next_of_nodes = (
        promised.order_by("node_id", "period").distinct("node_id").values_list("period", "attempt_id")
    )
    yield from (attempt_id for _, attempt_id in sorted(next_of_nodes)[:BACKFILL_MAX])


def _locked(rows: QuerySet[Attempt]) -> Attempt | None:
    return (
        rows.order_by("id")
        .select_for_update(of=("self",), skip_locked=True, no_key=True)
        .select_related("run")
        .first()
    )


def _keep_place(attempt: Attempt, *, now: datetime) -> bool:
    """Move the start of the attempt's period to now, in its place or another; False: nothing is free yet.

    The period's end stays, unless what is left is too short for the wall limit and the engine's grace.

    Raises:
        _NoRoom: not free, and it has waited long enough.
    """
    request = request_of(attempt)
    # Of several nodes all have one period.
    allocation = Allocation.objects.filter(attempt=attempt, live=True).order_by("id")[0]
    least = timedelta(seconds=request.wall_limit_s + ENGINE_GRACE_S)
    duration = min(max(allocation.period.upper - now, least), request.duration)
    if (
        allocation.period.lower > now
        and not request.within
        and not _is_within_quota(attempt, request, duration, now=now)
    ):
        return False
    found = find_place(
        pool_id=attempt.pool_id,
        need=request.need,
        earliest=now,
        latest=now,
        duration=duration,
        now=now,
        without=attempt.id,
        within=request.within,
    )
    if not isinstance(found, Placement):
        if now > allocation.period.lower + PATIENCE:
            raise _NoRoom(attempt.id)
        return False
    release(attempt.id, now=now)
    allocate(attempt=attempt, block_id=request.within, need=request.need, placement=found)
    return True


def _is_within_quota(attempt: Attempt, request: RunRequest, duration: timedelta, *, now: datetime) -> bool:
    """Whether an earlier start passes no quota; the promised one was checked when it was promised."""
    limits = limits_of(
        organisation_id=attempt.run.organisation_id,
        project_id=attempt.run.project_id,
        need=request.need,
        now=now,
        without=attempt.id,
        lock=True,
    )
    return earliest_within(limits, units=request.need.held, earliest=now, duration=duration) == now


def _handed(attempt: Attempt, *, actor: Actor, now: datetime) -> Lease:
    if attempt.state != AttemptState.LEASED:
        move_attempt(attempt, to=AttemptState.LEASED, actor=actor, now=now)
    attempt.leased_at = attempt.leased_at or now
    attempt.leased_until = now + timedelta(seconds=LEASE_S)
    attempt.save(update_fields=["leased_at", "leased_until"])
    return Lease(spec=_spec(attempt), lease_s=LEASE_S)


def _spec(attempt: Attempt) -> AttemptSpec:
    run = attempt.run
    request = request_of(attempt)
    # In the order of their ranks: so they were written.
    allocations = Allocation.objects.filter(attempt=attempt, live=True).select_related("node").order_by("id")
    placed = list(allocations.prefetch_related("devices__device"))
    return AttemptSpec(
        attempt_id=attempt.public_id,
        run_id=run.public_id,
        organisation_id=run.organisation.public_id,
        epoch=attempt.epoch,
        nodes=tuple(one.node.name for one in placed),
        cores=request.cores,
        accelerator=request.need.accelerator or "",
        devices=tuple(_cards_of(one) for one in placed) if request.cards else (),
        memory_bytes=request.memory_bytes,
        disk_bytes=request.disk_bytes,
        wall_limit_s=request.wall_limit_s,
        grace_s=ENGINE_GRACE_S,
        environment=request.environment,
        setup=request.setup,
        run=script_with(request.apps, request.run),
        envs=request.envs,
        secrets={**opened(request.sealed_secrets), **secrets_of(request.apps, attempt.public_id)},
        workdir=_inputs_of(request.workdir_manifest, run.outputs_manifest if attempt.epoch > 1 else ""),
        outputs=request.outputs,
        session=request.is_reached,
        service=ServiceSpec(port=request.port, health=request.health) if request.port else None,
        volumes=_volumes_of(request),
    )


def _volumes_of(request: RunRequest) -> tuple[VolumeSpec, ...]:
    """Empty for all that see none, without a question to the database."""
    if not request.volumes:
        return ()
    rows = Volume.objects.in_bulk([UUID(one.id) for one in request.volumes])
    return tuple(
        VolumeSpec(
            volume_id=rows[UUID(one.id)].public_id,
            path=one.path,
            size_bytes=rows[UUID(one.id)].size_gb * GIB,
            writes=one.writes,
        )
        for one in request.volumes
    )


def _cards_of(allocation: Allocation) -> tuple[int, ...]:
    return tuple(sorted(one.device.index for one in allocation.devices.all()))


def _inputs_of(workdir: str, written: str) -> tuple[InputFile, ...]:
    """The working folder, and over it what an interrupted attempt had written."""
    files = {
        entry.path: entry for manifest in (workdir, written) if manifest for entry in read_manifest(manifest)
    }
    return tuple(
        InputFile(
            path=entry.path, sha256=entry.sha256, size_bytes=entry.size_bytes, executable=entry.executable
        )
        for entry in files.values()
    )


@transaction.atomic(durable=True)
def heartbeat(*, actor: Actor, message: Heartbeat, now: datetime) -> HeartbeatAnswer:
    """Note what the agent says runs, renew its leases, and answer what it shall stop or forget.

    An attempt of another pool is answered like one that nobody knows: with nothing.
    """
    pool_id = served_pool(actor, instance=message.instance, now=now).id
    Pool.objects.filter(id=pool_id).update(
        last_seen_at=now, clock_skew_s=(message.clock_at - now).total_seconds()
    )
    said = {Attempt.key_of(status.attempt_id): status for status in message.attempts}
    _lock_orders_that_start(said, pool_id=pool_id)
    attempts = list(
        Attempt.objects.select_for_update(of=("self", "run"), no_key=True)
        .select_related("run")
        .filter(id__in=said, pool_id=pool_id)
        .order_by("id")
    )
    over = set(
        Allocation.objects.filter(
            Q(period__endswith__lt=now) | Q(gave_way_at__isnull=False),
            attempt_id__in=[attempt.id for attempt in attempts],
            live=True,
        ).values_list("attempt_id", flat=True)
    )
    commands: list[Command] = []
    keep_samples(((attempt, said[attempt.id]) for attempt in attempts), now=now)
    for attempt in attempts:
        _observe(attempt, said[attempt.id], actor=actor, now=now)
        action = _command_for(attempt, said[attempt.id], is_over=attempt.id in over)
        if action is not None:
            wall_limit_s = request_of(attempt).wall_limit_s if action == "extend" else None
            commands.append(
                Command(
                    attempt_id=attempt.public_id,
                    epoch=attempt.epoch,
                    action=action,
                    wall_limit_s=wall_limit_s,
                )
            )
    for attempt in attempts:
        if attempt.first_running_at == now:
            activate_order(order_id=attempt.run.order_id, now=now)
    if message.volumes_deleted:
        gone = [Volume.key_of(volume_id) for volume_id in message.volumes_deleted]
        confirm_deleted(pool_id=pool_id, volume_ids=gone, actor=actor, now=now)
    if message.volume_copies:
        note_copies(pool_id=pool_id, said=message.volume_copies, actor=actor, now=now)
    return HeartbeatAnswer(
        commands=tuple(commands),
        checks=checks_wanted(pool_id, now=now),
        volumes_to_delete=tuple(volumes_to_delete(pool_id, count_max=VOLUMES_MAX)),
        volume_copies=tuple(copies_wanted(pool_id, count_max=VOLUMES_MAX)),
    )


def _lock_orders_that_start(attempt_ids: Iterable[UUID], *, pool_id: UUID) -> None:
    """Orders are locked before attempts, as where runs end."""
    starting = Order.objects.filter(
        id__in=Attempt.objects.filter(id__in=attempt_ids, pool_id=pool_id, run__state=RunState.QUEUED).values(
            "run__order_id"
        )
    )
    list(starting.order_by("id").select_for_update(no_key=True).values_list("id"))


def _observe(attempt: Attempt, status: AttemptStatus, *, actor: Actor, now: datetime) -> None:
    """The epoch fences commands, never observations: whatever epoch it says, it is seen."""
    attempt.last_contact_at = now
    if attempt.state in ATTEMPT_ENDS or attempt.state == AttemptState.WAITING:
        attempt.save(update_fields=["last_contact_at"])
        return
    attempt.leased_until = now + timedelta(seconds=LEASE_S)
    if status.phase is AttemptPhase.RUNNING and attempt.first_running_at is None:
        attempt.first_running_at = now
        said = status.started_at or now
        attempt.started_at = min(max(said, attempt.leased_at or now), now)
    attempt.save(update_fields=_OBSERVED)
    to = AttemptState.LEASED if attempt.first_running_at is None else AttemptState.RUNNING
    if attempt.state != to:
        move_attempt(attempt, to=to, actor=actor, now=now)
    if to is AttemptState.RUNNING and attempt.run.state == RunState.QUEUED:
        move_run(attempt.run, to=RunState.RUNNING, actor=actor, now=attempt.started_at or now)


def _command_for(
    attempt: Attempt, status: AttemptStatus, *, is_over: bool
) -> Literal["cancel", "forget", "extend"] | None:
    lives = status.phase in {AttemptPhase.PREPARING, AttemptPhase.RUNNING}
    if attempt.state in ATTEMPT_ENDS:
        return "cancel" if lives else "forget"
    if lives and (is_over or attempt.run.cancel_asked_at):
        return "cancel"
    return "extend" if lives and attempt.extended_s else None
