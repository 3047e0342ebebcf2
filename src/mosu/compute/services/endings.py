"""How attempts and their runs end: what an end writes, and ends without the agent's report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from mosu.compute.models import Allocation, Attempt, Run
from mosu.compute.moves import move_attempt, move_run, notify_run
from mosu.compute.services.attempts import further_orders, give_back, locked_attempt
from mosu.compute.services.delivery import tell_buyer
from mosu.compute.services.replicas import wake_keeper
from mosu.compute.states import ATTEMPT_ENDS, RUN_STATE_OF, AttemptState, is_ended
from mosu.kernel.refusals import Invalid
from mosu.market.models import Outcome
from mosu.market.services import lock_for_settlement, settle_order
from mosu.platform.actors import SYSTEM, Actor
from mosu.platform.each import on_each
from mosu.platform.policy import require
from mosu.platform.services import emit, record_audit
from mosu.store.services import ManifestEntry, QuotaExceeded, put_manifest
from mosu.wire.agent import OutputFile


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of the work of a run that ends."""

    exit_code: int | None = None
    measures: dict[str, Any] | None = None
    outputs: tuple[OutputFile, ...] = ()
    started_at: datetime | None = None


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
    if attempt.state in ATTEMPT_ENDS and give_back(attempt, now=now):
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
    end_attempt(attempt, to=AttemptState.LOST, actor=actor, now=now, why=f"fenced: {why}", failed_us=True)
    give_back(attempt, now=now)


def fail_attempt(*, attempt_id: UUID, why: str, keeps_capacity: bool, now: datetime) -> None:
    """End an attempt for which the platform or the supplier failed: nothing is charged. For tasks and the lease."""
    with transaction.atomic(durable=True):
        attempt = locked_attempt(attempt_id)
        if attempt.state in ATTEMPT_ENDS:
            return
        end_attempt(attempt, to=AttemptState.LOST, actor=SYSTEM, now=now, why=why, failed_us=True)
        if not keeps_capacity:
            give_back(attempt, now=now)


def cancel_waiting(*, attempt: Attempt, actor: Actor, now: datetime, why: str = "") -> None:
    """End an attempt that nobody has: its run is cancelled, its capacity free. The caller settles or cancels."""
    move_attempt(attempt, to=AttemptState.CANCELLED, actor=actor, now=now)
    attempt.ended_at = attempt.settled_at = now
    attempt.save(update_fields=["ended_at", "settled_at"])
    give_back(attempt, now=now)
    _end_run(
        attempt.run,
        AttemptState.CANCELLED,
        Result(),
        actor=actor,
        now=now,
        why=why or "cancelled before it started",
    )


def ask_to_stop(run: Run, *, now: datetime, why: str) -> None:
    """Have the run's agent stop it, unless it has ended or was told; the caller holds the run's lock."""
    if not is_ended(run.state) and run.cancel_asked_at is None:
        run.cancel_asked_at, run.cancel_why = now, why
        run.save(update_fields=["cancel_asked_at", "cancel_why"])
        notify_run(run.id)


def end_attempt(
    attempt: Attempt,
    *,
    to: AttemptState,
    actor: Actor,
    now: datetime,
    why: str,
    failed_us: bool,
    ended_at: datetime | None = None,
    result: Result | None = None,
) -> None:
    """End the attempt and its run, and settle its orders. `failed_us`: the platform or the supplier failed."""
    move_attempt(attempt, to=to, actor=actor, now=now, why=why)
    attempt.ended_at, attempt.settled_at = ended_at or now, now
    attempt.started_at = (result and result.started_at) or attempt.started_at
    attempt.save(update_fields=["ended_at", "settled_at", "started_at"])
    _end_run(attempt.run, to, result or Result(), actor=actor, now=now, why=why, ended_at=ended_at)
    order_ids = [attempt.run.order_id, *further_orders(attempt.run.order_id)]
    if len(order_ids) > 1:
        lock_for_settlement(order_ids)
    receipts = [
        settle_order(
            order_id=order_id,
            ended_at=ended_at or now,
            outcome=Outcome.PLATFORM_FAILURE if failed_us else Outcome(to.value),
            now=now,
            claimed={} if number else _uptime_of(result),
        )
        for number, order_id in enumerate(order_ids)
    ]
    if failed_us:
        tell_buyer(attempt.run, receipts, why=why, now=now)


def _uptime_of(result: Result | None) -> dict[str, int]:
    """How long a service was well and how often it was started again, as its agent says; of others nothing."""
    measures = (result.measures if result else None) or {}
    if measures.get("uptime_s") is None:
        return {}
    return {"uptime_s": int(measures["uptime_s"]), "restarts": int(measures.get("restarts") or 0)}


def _end_run(
    run: Run,
    ended: AttemptState,
    result: Result,
    *,
    actor: Actor,
    now: datetime,
    why: str,
    ended_at: datetime | None = None,
) -> None:
    run.exit_code, run.measures = result.exit_code, result.measures
    run.outputs = [output.model_dump(mode="json") for output in result.outputs]
    run.outputs_manifest = manifest_of(run, result.outputs, now=now)
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
    if run.request.get("endpoint"):
        wake_keeper(UUID(run.request["endpoint"]))


def manifest_of(run: Run, outputs: Sequence[OutputFile], *, now: datetime) -> str:
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
    """Take note of what was not heard of, and end that of which the time is over: each in a transaction of its own.

    Raises:
        ExceptionGroup: some could not be ended; all others were.
    """
    silent = Attempt.objects.filter(state__in=["leased", "running"], leased_until__lt=now).order_by("id")
    try:
        on_each(partial(_mark_unreachable, now=now), list(silent.values_list("id", flat=True)))
    finally:
        over = Allocation.objects.filter(
            live=True, period__endswith__lt=now, attempt__state__in=["waiting", "unreachable"]
        )
        found = over.order_by("attempt_id").values_list("attempt_id", "attempt__state").distinct()
        on_each(partial(_expire, now=now), list(found))


def _expire(found: tuple[UUID, str], *, now: datetime) -> None:
    attempt_id, state = found
    if state == AttemptState.WAITING:
        fail_attempt(attempt_id=attempt_id, why="no agent came for it in time", keeps_capacity=False, now=now)
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
