"""The wall limit of what people sit at: they are told before it comes."""

from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import transaction

from mosu.compute.ends import ending_soon, ends_at
from mosu.compute.moves import notify_run
from mosu.compute.services.extending import why_not_extensible
from mosu.market.hub import hub_zone
from mosu.platform.each import on_each
from mosu.platform.services import notify


def watch_ends(*, now: datetime) -> None:
    """Tell whoever ordered a session or a service that its wall limit is near, once; each on its own.

    Raises:
        ExceptionGroup: of some nobody could be told; of all others they were.
    """
    on_each(partial(_tell, now=now), list(ending_soon(now=now).values_list("id", flat=True)))


@transaction.atomic(durable=True)
def _tell(attempt_id: UUID, *, now: datetime) -> None:
    rows = ending_soon(now=now).select_for_update(of=("self",), no_key=True)
    attempt = rows.filter(id=attempt_id).first()
    by = ends_at(attempt.run, attempt) if attempt is not None else None
    if attempt is None or by is None:
        return
    attempt.end_told_at = now
    attempt.save(update_fields=["end_told_at"])
    run = attempt.run
    notify_run(run.id)
    extensible = why_not_extensible(run) is None
    name, clock = run.name or run.order.number, by.astimezone(hub_zone()).strftime("%H:%M")
    notify(
        user_ids=[run.order.placed_by] if run.order.placed_by else [],
        kind="run.ends_soon",
        title={"zh": f"{name}：{clock} 到达时限", "en": f"{name} reaches its wall limit at {clock}"},
        body={
            "zh": "到时会停止，任务文件里 outputs 所列的文件会保存，内存中的内容会丢失。"
            + (f"延长：作业页面，或 mosu extend {run.public_id} 30m。" if extensible else ""),
            "en": "It is stopped then. The files that its task names as outputs are saved; "
            "what it holds in memory is lost."
            + (f" More time: on its page, or mosu extend {run.public_id} 30m." if extensible else ""),
        },
        now=now,
        link=f"/orders/{run.order.public_id}/",
        subject_id=run.id,
        organisation_id=run.organisation_id,
        mail=True,
    )
