"""What is paid for and does nothing: people are told and warned, and it is stopped where they want that.

A session does nothing when nobody uses it (no byte passed any of its connections) and its cores and cards idle.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction

from mosu.compute.idle_runs import Idleness, judged
from mosu.compute.idleness import WARNED_BEFORE, Deed, deed_due
from mosu.compute.models import Attempt, IdleRule, Run
from mosu.compute.moves import notify_run
from mosu.compute.queries import run_visible_to
from mosu.compute.reach import is_reached
from mosu.compute.services.connections import NotASession, NotRunning
from mosu.compute.states import AttemptState, RunState, is_ended
from mosu.kernel.refusals import Invalid
from mosu.market.hub import hub_zone
from mosu.market.services import stop_order
from mosu.platform.actors import Actor, Role
from mosu.platform.each import on_each
from mosu.platform.policy import require
from mosu.platform.services import members_of, notify, record_audit
from mosu.wire.task import IDLE_STOP_S_MAX, IDLE_STOP_S_MIN

BATCH_IDLE: Final = "its accelerators did nothing"
UNUSED: Final = "nobody used it"


@transaction.atomic(durable=True)
def set_idle_stop(*, actor: Actor, organisation_id: UUID, stop_after_s: int | None, now: datetime) -> None:
    """Have runs of the organisation stopped that did nothing for so long; None: never. Services are not: they wait.

    Raises:
        Forbidden: the actor may not for this organisation.
        Invalid: less than 15 minutes, or more than a week.
    """
    require(actor, "budget.set", organisation_id)
    _check(stop_after_s)
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


@transaction.atomic(durable=True)
def set_own_idle_stop(*, actor: Actor, run_id: UUID, stop_after_s: int | None, now: datetime) -> Run:
    """Have this one session or service stopped when nobody used it for so long; None: by the organisation's rule alone.

    That rule holds beside it: the shorter time counts. Repeating it changes nothing.

    Raises:
        NotFound, Forbidden: no such run, or the actor may not run things in its organisation.
        Invalid: less than 15 minutes, or more than a week.
        NotASession: the run is of another kind.
        NotRunning: it has ended.
    """
    run = _locked_run(actor, run_id)
    _check(stop_after_s)
    if run.idle_stop_s == stop_after_s:
        return run
    _audit(
        run,
        "run.idle_stop_set",
        before=_said(run.idle_stop_s),
        after=_said(stop_after_s),
        actor=actor,
        now=now,
    )
    run.idle_stop_s = stop_after_s
    run.save(update_fields=["idle_stop_s"])
    notify_run(run.id)
    return run


@transaction.atomic(durable=True)
def keep_run(*, actor: Actor, run_id: UUID, now: datetime) -> Run:
    """The session or service: it counts as used now, so the time after which it is stopped starts anew.

    Raises:
        NotFound, Forbidden, NotASession: as `set_own_idle_stop` says.
        NotRunning: it does not run.
    """
    run = _locked_run(actor, run_id)
    if run.state != RunState.RUNNING:
        raise NotRunning(f"This session is {run.state}, not running.", hint="See how it stands: mosu runs.")
    before = run.kept_at.isoformat() if run.kept_at else None
    _audit(run, "run.kept", before=before, after=now.isoformat(), actor=actor, now=now)
    run.kept_at = now
    run.save(update_fields=["kept_at"])
    notify_run(run.id)
    return run


def _locked_run(actor: Actor, run_id: UUID) -> Run:
    run = run_visible_to(actor, run_id)
    require(actor, "run.keep", run.organisation_id)
    run = Run.objects.select_for_update(no_key=True).get(id=run_id)
    if not is_reached(run):
        raise NotASession(
            "This run is no session or service.", hint="A batch job ends by itself: mosu cancel stops it."
        )
    if is_ended(run.state):
        raise NotRunning(f"This session is {run.state}, not running.", hint="See how it stands: mosu runs.")
    return run


def _audit(run: Run, action: str, *, before: str | None, after: str, actor: Actor, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=action,
        subject_id=run.id,
        before=before,
        after=after,
        now=now,
        organisation_id=run.organisation_id,
    )


def _said(stop_after_s: int | None) -> str:
    return "never" if stop_after_s is None else str(stop_after_s)


def _check(stop_after_s: int | None) -> None:
    if stop_after_s is not None and not IDLE_STOP_S_MIN <= stop_after_s <= IDLE_STOP_S_MAX:
        raise Invalid(
            f"stop_after_s: {stop_after_s} cannot be used.",
            hint=f"Choose {IDLE_STOP_S_MIN} to {IDLE_STOP_S_MAX} seconds.",
            field="stop_after_s",
            found=stop_after_s,
        )


def watch_idle(*, now: datetime) -> None:
    """Tell people of runs that do nothing, warn them, and stop those that are to be stopped; each on its own.

    Raises:
        ExceptionGroup: some could not be dealt with; all others were.
    """
    first_word = timedelta(seconds=IDLE_STOP_S_MIN) - WARNED_BEFORE
    idle = Attempt.objects.filter(state=AttemptState.RUNNING, idle_since__lte=now - first_word)
    attempts = list(idle.filter(run__cancel_asked_at=None).select_related("run").order_by("id"))
    found = judged({one.run: one.idle_since for one in attempts if one.idle_since})
    due = [one for one in attempts if _due(one, found.get(one.run_id), now=now) is not None]
    on_each(partial(_deal_with, now=now), due)


def _deal_with(attempt: Attempt, *, now: datetime) -> None:
    why = _see_to(attempt.id, now=now)
    if why:
        stop_order(order_id=attempt.run.order_id, why=why, now=now)


@transaction.atomic(durable=True)
def _see_to(attempt_id: UUID, *, now: datetime) -> str:
    """Say what is due now of the attempt, once for each time that it is idle. Why it is to be stopped, if it is."""
    rows = Attempt.objects.select_for_update(of=("self",), no_key=True).select_related("run__order")
    attempt = rows.get(id=attempt_id)
    run = attempt.run
    found = judged({run: attempt.idle_since} if attempt.idle_since else {}).get(run.id)
    deed = _due(attempt, found, now=now)
    if found is None or deed is None:
        return ""
    if deed == "stop":
        return UNUSED if is_reached(run) else BATCH_IDLE
    if deed == "warn":
        attempt.idle_warned_at = now
        attempt.save(update_fields=["idle_warned_at"])
        _notify(run, "run.idle_stop", *_warning_said(run, found), now=now)
    else:
        attempt.idle_told_at = now
        attempt.save(update_fields=["idle_told_at"])
        _notify(
            run, "run.idle", *_idle_said(run, minutes=int((now - found.since).total_seconds() // 60)), now=now
        )
    return ""


def _due(attempt: Attempt, idleness: Idleness | None, *, now: datetime) -> Deed | None:
    if idleness is None:
        return None
    deed = deed_due(
        idleness.since,
        told_at=attempt.idle_told_at,
        warned_at=attempt.idle_warned_at,
        stop_after_s=idleness.stop_after_s,
        now=now,
    )
    request = attempt.run.request
    waits = request.get("kind") == "service" and not request["cards"]
    return None if deed == "tell" and waits else deed


def _notify(run: Run, kind: str, title: Mapping[str, str], body: Mapping[str, str], *, now: datetime) -> None:
    """Whoever ordered it, and who looks after the organisation's money."""
    people = {
        *members_of(run.organisation_id, roles=(Role.OWNER, Role.ADMIN, Role.FINANCE)),
        *([run.order.placed_by] if run.order.placed_by else []),
    }
    notify(
        user_ids=people,
        kind=kind,
        title=title,
        body=body,
        now=now,
        link=f"/orders/{run.order.public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
        mail=True,
    )


def _idle_said(run: Run, *, minutes: int) -> tuple[dict[str, str], dict[str, str]]:
    name = run.name or run.order.number
    if is_reached(run):
        return (
            {"zh": f"{name}：{minutes} 分钟无人使用", "en": f"{name}: not used for {minutes} minutes"},
            {
                "zh": "没有人连接使用，CPU 和加速卡也空闲，但仍在计费。如不再需要，请结束它；结果会保存。",
                "en": "Nobody uses it, its cores and cards do nothing, and it is paid for. "
                "End it if it is not needed: its outputs are saved.",
            },
        )
    return (
        {
            "zh": f"{name}：加速卡空转 {minutes} 分钟",
            "en": f"{name}: accelerators idle for {minutes} minutes",
        },
        {
            "zh": f"{run.request['accelerator']} × {run.request['cards']} 空转但仍在计费。"
            "如不再需要，请取消作业；结果会保存。",
            "en": f"{run.request['cards']} x {run.request['accelerator']} do nothing and are paid for. "
            "Cancel the run if it is not needed: its outputs are saved.",
        },
    )


def _warning_said(run: Run, idleness: Idleness) -> tuple[dict[str, str], dict[str, str]]:
    name = run.name or run.order.number
    minutes = int(WARNED_BEFORE.total_seconds() // 60)
    since = idleness.since.astimezone(hub_zone()).strftime("%H:%M")
    title = {
        "zh": f"{name}：{minutes} 分钟后因闲置而停止",
        "en": f"{name} is stopped for idleness in {minutes} minutes",
    }
    if is_reached(run):
        return title, {
            "zh": f"自 {since} 起无人使用。连接使用，或在作业页面上点“继续保留”，即重新计时；停止时结果会保存。",
            "en": f"Not used since {since}. Use it, or keep it on its page, and the time starts anew. "
            "If it is stopped, its outputs are saved.",
        }
    return title, {
        "zh": f"自 {since} 起加速卡空转。加速卡一经使用即重新计时；停止时结果会保存。",
        "en": f"Its accelerators do nothing since {since}. When they work, the time starts anew. "
        "If it is stopped, its outputs are saved.",
    }
