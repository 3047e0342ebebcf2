"""Budgets that will soon end what runs: how fast it spends, and a word to whoever ordered it, ten minutes before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from mosu.market import rules
from mosu.market.hub import hub_zone
from mosu.market.models import BudgetEnd, Order, OrderLine
from mosu.market.queries.budgets import OPEN
from mosu.platform.each import on_each
from mosu.platform.services import notify

NEAR_S: Final = 600


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an order's work spends, and for how long its own limit lets it."""

    order_id: UUID
    micros_per_s: float
    left_s: float


def paces_of(order_ids: Sequence[UUID]) -> list[Pace]:
    """Of those whose work runs: some of their time is used and some is left. What is charged at its end has no pace."""
    lines = OrderLine.objects.filter(
        order_id__in=order_ids,
        usage_total__quantity_accepted__gt=0,
        usage_total__quantity_accepted__lt=F("quantity_max"),
    ).select_related("usage_total")
    return [
        Pace(
            order_id=line.order_id,
            micros_per_s=line.amount_max_micros * line.units / line.quantity_max,
            left_s=(line.quantity_max - line.usage_total.quantity_accepted) / line.units,
        )
        for line in lines.order_by("order_id", "id")
        if rules.is_timed(line.meter)
    ]


def tell_ends(ends: Mapping[UUID, tuple[datetime, UUID]], *, now: datetime) -> None:
    """Tell whoever placed each order by when which budget ends it, once; take back what is not near any more.

    Raises:
        ExceptionGroup: of some nobody could be told; of all others they were.
    """
    far = BudgetEnd.objects.filter(order__state__in=OPEN, by__isnull=False).exclude(order_id__in=list(ends))
    far.update(by=None)
    on_each(partial(_tell, now=now), [(order_id, *end) for order_id, end in sorted(ends.items())])


@transaction.atomic(durable=True)
def _tell(found: tuple[UUID, datetime, UUID], *, now: datetime) -> None:
    order_id, by, budget_id = found
    _, fresh = BudgetEnd.objects.get_or_create(
        order_id=order_id, defaults={"budget_id": budget_id, "by": by, "told_at": now}
    )
    if not fresh:
        BudgetEnd.objects.filter(order_id=order_id).update(by=by)
        return
    order = Order.objects.select_related("quote").get(id=order_id)
    name, clock = order.quote.facts.get("name") or order.number, by.astimezone(hub_zone()).strftime("%H:%M")
    notify(
        user_ids=[order.placed_by] if order.placed_by else [],
        kind="budget.ends_soon",
        title={"zh": f"{name}：预算约在 {clock} 用完", "en": f"{name}: its budget is spent at about {clock}"},
        body={
            "zh": "照现在的速度，本月预算到时用完，作业会停止。"
            "任务文件里 outputs 所列的文件会保存，内存中的内容会丢失。"
            "要继续，请负责预算的人提高上限。",
            "en": "As fast as it is spent now, the month's budget is used up then, and the run is stopped. "
            "The files that its task names as outputs are saved; what it holds in memory is lost. "
            "To go on, ask who looks after budgets for a higher cap.",
        },
        now=now,
        link=f"/orders/{order.public_id}/",
        subject_id=order.id,
        organisation_id=order.organisation_id,
        mail=True,
    )
