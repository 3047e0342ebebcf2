"""The agent's report of how an attempt ended, and whether its run is begun again."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Allocation, Attempt
from mosu.compute.moves import move_attempt, move_run, notify_pool
from mosu.compute.placement import Placement
from mosu.compute.requests import request_of
from mosu.compute.services.attempts import give_back, locked_attempt, make_attempt
from mosu.compute.services.capacity import allocate, find_place, release
from mosu.compute.services.endings import Result, end_attempt, manifest_of
from mosu.compute.services.identity import pool_of
from mosu.compute.states import ATTEMPT_ENDS, AttemptState, RunState
from mosu.kernel.refusals import DomainError, Invalid
from mosu.platform.actors import Actor
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


def _keep_late_report(attempt: Attempt, report: Report, *, now: datetime) -> None:
    if attempt.state == AttemptState.LOST and attempt.late_report is None:
        attempt.late_report = report.model_dump(mode="json", exclude={"outputs"})
        attempt.save(update_fields=["late_report"])
    give_back(attempt, now=now)


def _take_end(attempt: Attempt, report: Report, *, actor: Actor, now: datetime) -> None:
    to = AttemptState(report.phase)
    attempt.log_bytes = report.log_bytes
    attempt.save(update_fields=["log_bytes"])
    left_s = _left_s(attempt, now=now)
    if to is AttemptState.CANCELLED and _goes_on(attempt) and left_s >= WALL_LEAST_S:
        _begin_again(attempt, report, left_s=left_s, actor=actor, now=now)
        return
    result = Result(
        exit_code=report.exit_code,
        measures=report.measures.model_dump(mode="json") if report.measures else None,
        outputs=_checked_outputs(report.outputs),
        started_at=_believable(report.started_at, attempt, now=now),
    )
    end_attempt(
        attempt,
        to=to,
        actor=actor,
        now=now,
        why=_why(attempt, report),
        failed_us=to is AttemptState.LOST,
        ended_at=_believable(report.ended_at, attempt, now=now),
        result=result,
    )
    give_back(attempt, now=now)


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
        end_attempt(attempt, to=AttemptState.LOST, actor=actor, now=now, why=why, failed_us=True)
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
    run.outputs_manifest = manifest_of(run, outputs, now=now)
    run.save(update_fields=["outputs", "outputs_manifest"])
    if run.state == RunState.RUNNING:
        move_run(run, to=RunState.QUEUED, actor=actor, now=now, why=INTERRUPTED)
    give_back(attempt, now=now)
    make_attempt(run=run, epoch=attempt.epoch + 1, now=now, wall_limit_s=left_s)
