"""What the hub does by itself, for its people to look at: tasks that failed, wait or are tried again."""

from datetime import datetime

from django.db.models import OuterRef, Q, QuerySet, Subquery
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from mosu.platform.actors import Actor


def troubled_tasks(actor: Actor) -> QuerySet[ProcrastinateJob]:
    """Tasks that failed for good, or failed and will be tried again; the newest first. For the hub's people."""
    rows = ProcrastinateJob.objects.filter(
        Q(status="failed") | Q(status__in=["todo", "doing"], attempts__gt=0)
    )
    last = ProcrastinateEvent.objects.filter(job=OuterRef("pk")).order_by("-id").values("at")[:1]
    rows = rows.annotate(last_at=Subquery(last)).order_by("-id")
    found: QuerySet[ProcrastinateJob] = rows if actor.sees_all else rows.none()
    return found


def last_success_of(task_name: str) -> datetime | None:
    """When a task last ended well; None: never, or not since its records were cleared."""
    found = ProcrastinateEvent.objects.filter(job__task_name=task_name, type="succeeded").order_by("-at")
    return found.values_list("at", flat=True).first()
