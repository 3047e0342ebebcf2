"""How attempts and their runs end: by the agent's report, without a word, or by an operator's fence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Allocation, Attempt, Run
from mosu.compute.moves import move_attempt, move_run, notify_pool, record_made
from mosu.compute.placement import Placement
from mosu.compute.requests import request_of
from mosu.compute.services.capacity import allocate, find_place, release
from mosu.compute.services.delivery import tell_buyer
from mosu.compute.services.identity import pool_of
from mosu.compute.states import ATTEMPT_ENDS, RUN_STATE_OF, AttemptState, RunState
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.market.models import Order, Outcome
from mosu.market.services import settle_order
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.policy import require
from mosu.platform.rows import insert
from mosu.platform.services import emit, record_audit
from mosu.store.services import ManifestEntry, QuotaExceeded, put_manifest
from mosu.wire.agent import OutputFile, Report, ReportAck
from mosu.wire.paths import safe_relative_path

ATTEMPTS_MAX: Final = 3
"""How often a run is handed out again when an agent says that nothing of it had started."""
WALL_LEAST_S: Final = 60
"""With less of its wall limit left an interrupted run is not begun again."""
INTERRUPTED: Final = "its place went to an order that is not interruptible"
OUTPUTS_MAX: Final = 10_000
REASON_CHARACTERS_MAX: Final = 2000


class NotLeased(DomainError):
    """The attempt was never handed to an agent, so nobody can have run it."""

    code = "not_leased"


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of the work of a run that ends."""

    exit_code: int | None = None
    measures: dict[str, Any] | None = None
    outputs: tuple[OutputFile, ...] = ()
    started_at: datetime | None = None


@transaction.atomic(durable=True)
def take_report(*, actor: Actor, attempt_id: UUID, report: Report, now: datetime) -> ReportAck:
    """Take how an attempt ended: the run ends, its capacity is free, its order is settled, all in one.

    Repeating is harmless. An attempt that is unreachable is taken too. One that was ended without its agent
    stays ended; what is said of it late is kept, and frees what it still held.

    Raises:
        NotFound: not an attempt of this pool.
        NotLeased: it was never handed out.
        UnsafePath, Invalid: an output's path is bad or its bytes were not sent; nothing is taken.
    """
    reason = report.reason.replace("\x00", "?")[:REASON_CHARACTERS_MAX]
    report = report.model_copy(update={"reason": reason})
    attempt = locked_attempt(attempt_id, pool_id=pool_of(actor))
    if attempt.state == AttemptState.WAITING:
        raise NotLeased("This attempt was not leased.", hint="Ask for a lease.")
    attempt.last_contact_at = now
    attempt.save(update_fields=["last_contact_at"])
    if attempt.state in ATTEMPT_ENDS:
        _keep_late_report(attempt, report, now=now)
    elif report.phase == "lost" and report.started_at is None and attempt.first_running_at is None:
        _hand_out_again(attempt, report, actor=actor, now=now)
    else:
        _take_end(attempt, report, actor=actor, now=now)
    return ReportAck(settled=attempt.settled_at is not None, settled_at=attempt.settled_at)


@transaction.atomic(durable=True)
def fence_attempt(*, actor: Actor, attempt_id: UUID, why: str, now: datetime) -> None:
    """Record an operator's word that an attempt runs no more: it ends, what it held is free, nothing is charged.

    Raises:
        Invalid: without a reason.
        IllegalMove: it has ended and holds nothing.
    """
    require(actor, "attempt.fence")
    if not why.strip():
        raise Invalid("A fence needs a reason.", hint="Say how you know that it runs no more.", field="why")
    attempt = locked_attempt(attempt_id)
    if attempt.state in ATTEMPT_ENDS and _free(attempt, now=now):
        record_audit(
            actor=actor,
            action="attempt.fenced",
            subject_id=attempt.id,
            before=attempt.state,
            after=attempt.state,
            now=now,
            organisation_id=attempt.run.organisation_id,
            why=why,
        )
        return
    _end(attempt, to=AttemptState.LOST, actor=actor, now=now, why=f"fenced: {why}", failed_us=True)
    _free(attempt, now=now)


def fail_attempt(*, attempt_id: UUID, why: str, keeps_capacity: bool, now: datetime) -> None:
    """End an attempt for which the platform or the supplier failed: nothing is charged. For tasks and the lease."""
    with transaction.atomic(durable=True):
        attempt = locked_attempt(attempt_id)
        if attempt.state in ATTEMPT_ENDS:
            return
        _end(attempt, to=AttemptState.LOST, actor=SYSTEM, now=now, why=why, failed_us=True)
        if not keeps_capacity:
            _free(attempt, now=now)


def cancel_waiting(*, attempt: Attempt, actor: Actor, now: datetime, why: str = "") -> None:
    """End an attempt that nobody has: its run is cancelled, its capacity free. The caller settles or cancels."""
    move_attempt(attempt, to=AttemptState.CANCELLED, actor=actor, now=now)
    attempt.ended_at = attempt.settled_at = now
    attempt.save(update_fields=["ended_at", "settled_at"])
    _free(attempt, now=now)
    _end_run(
        attempt.run,
        AttemptState.CANCELLED,
        _Result(),
        actor=actor,
        now=now,
        why=why or "cancelled before it started",
    )


def locked_attempt(attempt_id: UUID, *, pool_id: UUID | None = None) -> Attempt:
    """The attempt under lock: its order first, then it and its run, as in every intention that ends a run.

    Raises:
        NotFound: there is none, or not in this pool.
    """
    rows = Attempt.objects.filter(id=attempt_id)
    if pool_id is not None:
        rows = rows.filter(pool_id=pool_id)
    order_id = rows.values_list("run__order_id", flat=True).first()
    if order_id is None:
        raise NotFound("There is no such attempt.", hint="An agent sees the attempts of its own pool.")
    Order.objects.select_for_update(no_key=True).get(id=order_id)
    return rows.select_for_update(of=("self", "run"), no_key=True).select_related("run", "pool").get()


def _free(attempt: Attempt, *, now: datetime) -> bool:
    """Give back what the attempt holds and wake the pool's agent: what waits may begin. Whether it held anything."""
    held = release(attempt.id, now=now)
    if held:
        notify_pool(attempt.pool_id)
    return held


def _keep_late_report(attempt: Attempt, report: Report, *, now: datetime) -> None:
    if attempt.state == AttemptState.LOST and attempt.late_report is None:
        attempt.late_report = report.model_dump(mode="json", exclude={"outputs"})
        attempt.save(update_fields=["late_report"])
    _free(attempt, now=now)


def _take_end(attempt: Attempt, report: Report, *, actor: Actor, now: datetime) -> None:
    to = AttemptState(report.phase)
    attempt.log_bytes = report.log_bytes
    attempt.save(update_fields=["log_bytes"])
    left_s = _left_s(attempt, now=now)
    if to is AttemptState.CANCELLED and _goes_on(attempt) and left_s >= WALL_LEAST_S:
        _begin_again(attempt, report, left_s=left_s, actor=actor, now=now)
        return
    result = _Result(
        exit_code=report.exit_code,
        measures=report.measures.model_dump(mode="json") if report.measures else None,
        outputs=_checked_outputs(report.outputs),
        started_at=_believable(report.started_at, attempt, now=now),
    )
    _end(
        attempt,
        to=to,
        actor=actor,
        now=now,
        why=_why(attempt, report),
        failed_us=to is AttemptState.LOST,
        ended_at=_believable(report.ended_at, attempt, now=now),
        result=result,
    )
    _free(attempt, now=now)


def _why(attempt: Attempt, report: Report) -> str:
    """What the agent says, or by what rule it was told to stop."""
    if report.phase != "cancelled":
        return report.reason
    return attempt.run.cancel_why or (INTERRUPTED if _gave_way(attempt) else report.reason)


def _believable(said: datetime | None, attempt: Attempt, *, now: datetime) -> datetime | None:
    """What the agent's clock says, within what the hub saw itself."""
    return min(max(said, attempt.leased_at or now), now) if said else None


def _checked_outputs(outputs: Sequence[OutputFile]) -> tuple[OutputFile, ...]:
    """By path, each safe and named once; that the bytes are there, the manifest checks."""
    if len(outputs) > OUTPUTS_MAX:
        raise Invalid(
            f"{len(outputs)} outputs are too many.", hint=f"At most {OUTPUTS_MAX}.", field="outputs"
        )
    for output in outputs:
        safe_relative_path(output.path, field="outputs.path")
    return tuple(sorted(outputs, key=lambda output: output.path))


def _hand_out_again(attempt: Attempt, report: Report, *, actor: Actor, now: datetime) -> None:
    """The agent lost it before anything started: a new attempt may start, if there is room for all of it."""
    why = report.reason or "lost before it started"
    run = attempt.run
    request = request_of(attempt)
    release(attempt.id, now=now)
    found = find_place(
        pool_id=attempt.pool_id,
        need=request.need,
        earliest=now,
        latest=now,
        duration=request.duration,
        now=now,
    )
    if attempt.epoch >= ATTEMPTS_MAX or run.cancel_asked_at or not isinstance(found, Placement):
        _end(attempt, to=AttemptState.LOST, actor=actor, now=now, why=why, failed_us=True)
        return
    move_attempt(attempt, to=AttemptState.LOST, actor=actor, now=now, why=why)
    attempt.ended_at = attempt.settled_at = now
    attempt.save(update_fields=["ended_at", "settled_at"])
    again = make_attempt(run=run, epoch=attempt.epoch + 1, now=now, wall_limit_s=attempt.wall_limit_s)
    allocate(attempt=again, need=request.need, placement=found)
    notify_pool(again.pool_id)


def _goes_on(attempt: Attempt) -> bool:
    """Whether its run is to be begun again where there is room: it was interrupted, and its task wants that."""
    run = attempt.run
    return run.request.get("recovers", False) and not run.cancel_asked_at and _gave_way(attempt)


def _gave_way(attempt: Attempt) -> bool:
    return Allocation.objects.filter(attempt=attempt, gave_way_at__isnull=False).exists()


def _left_s(attempt: Attempt, *, now: datetime) -> int:
    """What is left of the run's wall limit after this attempt."""
    ran = now - attempt.first_running_at if attempt.first_running_at else timedelta(0)
    return request_of(attempt).wall_limit_s - int(-(-ran // timedelta(seconds=1)))


def _begin_again(attempt: Attempt, report: Report, *, left_s: int, actor: Actor, now: datetime) -> None:
    """A new attempt goes on with what this one wrote. It waits without a place: `interruption` finds one."""
    run, outputs = attempt.run, _checked_outputs(report.outputs)
    move_attempt(attempt, to=AttemptState.CANCELLED, actor=actor, now=now, why=INTERRUPTED)
    attempt.ended_at, attempt.settled_at = _believable(report.ended_at, attempt, now=now) or now, now
    attempt.save(update_fields=["ended_at", "settled_at"])
    run.outputs = [output.model_dump(mode="json") for output in outputs]
    run.outputs_manifest = _manifest_of(run, outputs, now=now)
    run.save(update_fields=["outputs", "outputs_manifest"])
    if run.state == RunState.RUNNING:
        move_run(run, to=RunState.QUEUED, actor=actor, now=now, why=INTERRUPTED)
    _free(attempt, now=now)
    make_attempt(run=run, epoch=attempt.epoch + 1, now=now, wall_limit_s=left_s)


def make_attempt(
    *,
    run: Run,
    epoch: int,
    now: datetime,
    expected_at: datetime | None = None,
    wall_limit_s: int | None = None,
) -> Attempt:
    """A new waiting attempt of the run.

    `expected_at`: when its buyer is told that it will start. `wall_limit_s`: what earlier attempts left of it.
    """
    attempt = Attempt(
        run=run,
        pool_id=run.pool_id,
        epoch=epoch,
        created_at=now,
        expected_at=expected_at,
        wall_limit_s=wall_limit_s,
    )
    insert(attempt)
    record_made(attempt, actor=SYSTEM, now=now)
    return attempt


def _end(
    attempt: Attempt,
    *,
    to: AttemptState,
    actor: Actor,
    now: datetime,
    why: str,
    failed_us: bool,
    ended_at: datetime | None = None,
    result: _Result | None = None,
) -> None:
    """End the attempt and its run, and settle the order. `failed_us`: the platform or the supplier failed."""
    move_attempt(attempt, to=to, actor=actor, now=now, why=why)
    attempt.ended_at, attempt.settled_at = ended_at or now, now
    attempt.started_at = (result and result.started_at) or attempt.started_at
    attempt.save(update_fields=["ended_at", "settled_at", "started_at"])
    _end_run(attempt.run, to, result or _Result(), actor=actor, now=now, why=why, ended_at=ended_at)
    receipt = settle_order(
        order_id=attempt.run.order_id,
        ended_at=ended_at or now,
        outcome=Outcome.PLATFORM_FAILURE if failed_us else Outcome(to.value),
        now=now,
    )
    if failed_us:
        tell_buyer(attempt.run, receipt, why=why, now=now)


def _end_run(
    run: Run,
    ended: AttemptState,
    result: _Result,
    *,
    actor: Actor,
    now: datetime,
    why: str,
    ended_at: datetime | None = None,
) -> None:
    run.exit_code, run.measures = result.exit_code, result.measures
    run.outputs = [output.model_dump(mode="json") for output in result.outputs]
    run.outputs_manifest = _manifest_of(run, result.outputs, now=now)
    run.started_at = result.started_at or run.started_at
    run.save(update_fields=["exit_code", "measures", "outputs", "outputs_manifest", "started_at"])
    move_run(run, to=RUN_STATE_OF[ended], actor=actor, now=ended_at or now, why=why)
    emit(
        name="compute.run_ended",
        subject_id=run.id,
        payload={
            "run_id": run.public_id,
            "state": run.state,
            "outputs_manifest": run.outputs_manifest,
        },
        now=now,
        organisation_id=run.organisation_id,
    )


def _manifest_of(run: Run, outputs: Sequence[OutputFile], *, now: datetime) -> str:
    """The outputs as one folder; empty where there are none, or where the organisation's quota is full."""
    if not outputs:
        return ""
    entries = [
        ManifestEntry(path=output.path, sha256=output.sha256, size_bytes=output.size_bytes)
        for output in outputs
    ]
    try:
        return put_manifest(entries, organisation_id=run.organisation_id, now=now)
    except QuotaExceeded:
        return ""  # each output is there and counted; the run must end all the same


def expire_leases(*, now: datetime) -> None:
    """Take note of what was not heard of: each attempt in a transaction of its own."""
    silent = Attempt.objects.filter(state__in=["leased", "running"], leased_until__lt=now)
    for attempt_id in list(silent.order_by("id").values_list("id", flat=True)):
        _mark_unreachable(attempt_id, now=now)
    over = Allocation.objects.filter(
        live=True, period__endswith__lt=now, attempt__state__in=["waiting", "unreachable"]
    )
    for attempt_id, state in list(
        over.order_by("attempt_id").values_list("attempt_id", "attempt__state").distinct()
    ):
        if state == AttemptState.WAITING:
            fail_attempt(
                attempt_id=attempt_id, why="no agent came for it in time", keeps_capacity=False, now=now
            )
        else:
            fail_attempt(
                attempt_id=attempt_id,
                why="not heard of until its time limit and grace were over",
                keeps_capacity=True,
                now=now,
            )


@transaction.atomic(durable=True)
def _mark_unreachable(attempt_id: UUID, *, now: datetime) -> None:
    attempt = (
        Attempt.objects.select_for_update(of=("self",), skip_locked=True, no_key=True)
        .select_related("run")
        .filter(id=attempt_id, state__in=["leased", "running"], leased_until__lt=now)
        .first()
    )
    if attempt is not None:
        silent_s = int((now - (attempt.last_contact_at or attempt.leased_at or now)) / timedelta(seconds=1))
        move_attempt(
            attempt, to=AttemptState.UNREACHABLE, actor=SYSTEM, now=now, why=f"silent for {silent_s} s"
        )
