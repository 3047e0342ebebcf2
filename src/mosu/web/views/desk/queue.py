"""The queue of all pools, attempts out of reach, and the hub's own background tasks."""

from functools import partial
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from mosu.compute.models import Attempt
from mosu.compute.queue import Queued, attempt_in_queue, attempts_in_queue, queued
from mosu.compute.services import fence_attempt
from mosu.compute.states import AttemptState
from mosu.kernel.refusals import NotFound
from mosu.platform.background import troubled_tasks
from mosu.platform.policy import allows
from mosu.platform.queries import audit_visible_to
from mosu.platform.requests import actor_of
from mosu.web.pages import page
from mosu.web.presenters import moment
from mosu.web.reasons import Why, acted_with_reason
from mosu.web.tables import Column, Empty, Filter, Plan, list_page
from mosu.web.views.desk.frame import desk, framed
from mosu.web.words import state_name_lazy, words_of_liveness


def reason_of(one: Queued) -> str:
    """Why it waits, or what is wrong with it."""
    state = one.attempt.state
    if state == AttemptState.WAITING:
        if one.pool_trouble:
            return words_of_liveness(one.pool_trouble)
        if one.starts_at and one.starts_at > timezone.now():
            return _("Its place is promised for %s; it starts earlier if there is room.") % (
                moment(one.starts_at)
            )
        return _("Its turn: the agent takes it next.") if one.place == 1 else _("Waits for those before it.")
    if state == AttemptState.UNREACHABLE:
        return _("The agent says nothing of it; its capacity and money stay held.")
    if one.may_be_fenced:
        return _("Ended without the agent's word; its capacity is off sale.")
    return ""


QUEUE: Final = Plan(
    name="queue",
    title=_lazy("Queue"),
    columns=(
        Column(
            "run",
            _lazy("Run"),
            lambda one: one.attempt.run.name or one.attempt.run.public_id[-8:],
            href=lambda one: reverse("desk_attempt", args=[one.attempt.public_id]),
        ),
        Column("organisation", _lazy("Organisation"), lambda one: one.attempt.run.organisation.name),
        Column("pool", _lazy("Pool"), lambda one: one.attempt.pool.name),
        Column("state", _lazy("State"), lambda one: one.attempt.state, kind="state", sort="state"),
        Column("place", _lazy("Place"), lambda one: one.place, kind="number"),
        Column("priority", _lazy("Priority"), lambda one: one.priority, kind="number", hidden=True),
        Column("expected", _lazy("Expected start"), lambda one: one.expected_at, kind="time"),
        Column("since", _lazy("Since"), lambda one: one.attempt.created_at, kind="time", sort="created_at"),
        Column("why", _lazy("Why it waits"), reason_of),
        Column(
            "heard", _lazy("Last heard of"), lambda one: one.attempt.last_contact_at, kind="time", hidden=True
        ),
        Column(
            "most",
            _lazy("At most"),
            lambda one: one.attempt.run.order.total_max_micros,
            kind="money",
            hidden=True,
        ),
        Column("try", _lazy("Try"), lambda one: one.attempt.epoch, kind="number", hidden=True),
    ),
    order="since",
    filters=(
        Filter("pool", _lazy("Pool"), lambda rows, text: rows.filter(pool__name__icontains=text)),
        Filter(
            "organisation",
            _lazy("Organisation"),
            lambda rows, text: rows.filter(run__organisation__name__icontains=text),
        ),
        Filter(
            "state",
            _lazy("State"),
            lambda rows, state: rows.filter(state=state),
            [
                (one.value, state_name_lazy(one.value))
                for one in (
                    AttemptState.WAITING,
                    AttemptState.LEASED,
                    AttemptState.RUNNING,
                    AttemptState.UNREACHABLE,
                )
            ],
        ),
    ),
    empty=Empty(
        _lazy("Nothing runs and nothing waits."), _lazy("Every order is shown here until it has ended.")
    ),
)

TASKS: Final = Plan(
    name="tasks",
    title=_lazy("Background tasks in trouble"),
    columns=(
        Column("id", _lazy("Number"), lambda row: row.id, kind="number", sort="id"),
        Column("task", _lazy("Task"), lambda row: row.task_name, kind="mono", sort="task_name"),
        Column(
            "state",
            _lazy("State"),
            lambda row: "task_failed" if row.status == "failed" else "task_again",
            kind="state",
            sort="status",
        ),
        Column("tries", _lazy("Tries"), lambda row: row.attempts, kind="number", sort="attempts"),
        Column("last", _lazy("Last"), lambda row: row.last_at, kind="time"),
        Column("next", _lazy("Next"), lambda row: row.scheduled_at, kind="time"),
        Column(
            "args",
            _lazy("With"),
            lambda row: ", ".join(f"{key}={value}" for key, value in row.args.items()),
            kind="mono",
        ),
    ),
    order="-id",
    filters=(Filter("task", _lazy("Task"), lambda rows, text: rows.filter(task_name__icontains=text)),),
    empty=Empty(
        _lazy("No task is in trouble."),
        _lazy("What the hub does by itself is tried again by itself. What fails for good stands here."),
    ),
)


@require_GET
@page("desk.read")
def queue(request: HttpRequest) -> HttpResponse:
    """What runs and what waits, over all pools."""
    actor, now = actor_of(request), timezone.now()
    context = {
        **framed("desk_queue"),
        "title": QUEUE.title,
        "more": (reverse("desk_tasks"), _("Background tasks in trouble")),
    }
    return list_page(
        request,
        "pages/desk/list.html",
        QUEUE,
        attempts_in_queue(actor),
        prepare=lambda rows: queued(rows, now=now),
        context=context,
    )


@require_GET
@page("desk.read")
def tasks(request: HttpRequest) -> HttpResponse:
    """What the hub does by itself and could not; to be looked at, not changed."""
    context = {
        **framed("desk_queue"),
        "title": TASKS.title,
        "more": (reverse("desk_queue"), _("Back to the queue")),
    }
    return list_page(
        request, "pages/desk/list.html", TASKS, troubled_tasks(actor_of(request)), context=context
    )


@require_GET
@page("desk.read")
def attempt(request: HttpRequest, attempt_id: str) -> HttpResponse:
    """One attempt: what is known of it, and the fence for one that nobody hears of."""
    return _shown(request, attempt_id)


def _shown(request: HttpRequest, attempt_id: str, *, status: int = 200, **more: Any) -> HttpResponse:
    actor, now = actor_of(request), timezone.now()
    row = attempt_in_queue(actor, Attempt.key_of(attempt_id))
    if row is None:
        raise NotFound(_("There is no such attempt."), hint=_("See the queue."))
    (one,) = queued([row], now=now)
    context = {
        "one": one,
        "row": row,
        "why_waits": reason_of(one),
        "order_id": row.run.order.public_id,
        "may_fence": one.may_be_fenced and allows(actor, "attempt.fence"),
        "audit": audit_visible_to(actor).filter(subject_id=row.id),
        "why": Why(),
        **more,
    }
    return desk(request, "pages/desk/attempt.html", "desk_queue", status=status, **context)


@require_POST
@page("attempt.fence")
def fence(request: HttpRequest, attempt_id: str) -> HttpResponse:
    """Record that it runs no more: nothing is charged, what it held is free."""
    return acted_with_reason(
        request,
        lambda why: fence_attempt(
            actor=actor_of(request),
            attempt_id=Attempt.key_of(attempt_id),
            why=why,
            now=timezone.now(),
        ),
        done=_("The attempt is fenced: nothing is charged, its capacity is back on sale."),
        to=reverse("desk_attempt", args=[attempt_id]),
        again=partial(_shown, request, attempt_id),
    )
