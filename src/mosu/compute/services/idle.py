"""Accelerators that are paid for and do nothing: people are told, and the run is stopped if they want that."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.idleness import TOLD_AFTER, is_to_be_stopped, is_to_be_told
from mosu.compute.models import Attempt, IdleRule
from mosu.compute.states import AttemptState
from mosu.kernel.refusals import Invalid
from mosu.market.services import stop_order
from mosu.platform.actors import Actor, Role
from mosu.platform.policy import require
from mosu.platform.services import members_of, notify, record_audit

STOP_AFTER_S_MAX: Final = 7 * 86_400


@transaction.atomic(durable=True)
def set_idle_stop(*, actor: Actor, organisation_id: UUID, stop_after_s: int | None, now: datetime) -> None:
    """Have runs of the organisation stopped whose accelerators did nothing for so long; None: never.

    Raises:
        Forbidden: the actor may not for this organisation.
        Invalid: less than 15 minutes, or more than a week.
    """
    require(actor, "budget.set", organisation_id)
    least = int(TOLD_AFTER.total_seconds())
    if stop_after_s is not None and not least <= stop_after_s <= STOP_AFTER_S_MAX:
        raise Invalid(
            f"stop_after_s: {stop_after_s} cannot be used.",
            hint=f"Choose {least} to {STOP_AFTER_S_MAX} seconds.",
            field="stop_after_s",
            found=stop_after_s,
        )
    before = IdleRule.objects.select_for_update(no_key=True).filter(organisation_id=organisation_id).first()
    was = str(before.stop_after_s) if before else None
    if stop_after_s is not None:
        row, _ = IdleRule.objects.update_or_create(
            organisation_id=organisation_id, defaults={"stop_after_s": stop_after_s}
        )
    elif before is None:
        return
    else:
        row = before
        IdleRule.objects.filter(id=before.id).delete()
    record_audit(
        actor=actor,
        action="idle_rule.set",
        subject_id=row.id,
        before=was,
        after="never" if stop_after_s is None else str(stop_after_s),
        now=now,
        organisation_id=organisation_id,
    )


def watch_idle(*, now: datetime) -> None:
    """Tell people of runs whose accelerators do nothing, and stop those that are to be stopped; each on its own."""
    idle = Attempt.objects.filter(state=AttemptState.RUNNING, idle_since__lte=now - TOLD_AFTER)
    idle = idle.filter(run__cancel_asked_at=None).select_related("run__order").order_by("id")
    rules = dict(IdleRule.objects.values_list("organisation_id", "stop_after_s"))
    for attempt in idle:
        since = attempt.idle_since
        if since is None:
            continue
        if is_to_be_told(since, attempt.idle_told_at, now=now):
            _tell(attempt.id, now=now)
        if is_to_be_stopped(since, stop_after_s=rules.get(attempt.run.organisation_id), now=now):
            stop_order(order_id=attempt.run.order_id, why="its accelerators did nothing", now=now)


@transaction.atomic(durable=True)
def _tell(attempt_id: UUID, *, now: datetime) -> None:
    """Whoever ordered it, and who looks after the organisation's money; once for each time."""
    rows = Attempt.objects.select_for_update(of=("self",), no_key=True).select_related("run__order")
    attempt = rows.get(id=attempt_id)
    if attempt.idle_since is None or not is_to_be_told(attempt.idle_since, attempt.idle_told_at, now=now):
        return
    attempt.idle_told_at = now
    attempt.save(update_fields=["idle_told_at"])
    run = attempt.run
    people = {
        *members_of(run.organisation_id, roles=(Role.OWNER, Role.ADMIN, Role.FINANCE)),
        *([run.order.placed_by] if run.order.placed_by else []),
    }
    minutes = int((now - attempt.idle_since).total_seconds() // 60)
    name = run.name or run.order.number
    notify(
        user_ids=people,
        kind="run.idle",
        title={
            "zh": f"{name}：加速卡空转 {minutes} 分钟",
            "en": f"{name}: accelerators idle for {minutes} minutes",
        },
        body={
            "zh": f"{run.request['accelerator']} × {run.request['cards']} 空转但仍在计费。"
            "如不再需要，请取消作业；结果会保存。",
            "en": f"{run.request['cards']} x {run.request['accelerator']} do nothing and are paid for. "
            "Cancel the run if it is not needed: its outputs are saved.",
        },
        now=now,
        link=f"/orders/{run.order.public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
        mail=True,
    )
