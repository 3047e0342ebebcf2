"""What a month cost, by day, project and accelerator."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Count, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import TruncDate

from mosu.kernel.time import Period
from mosu.market.models import OrderState
from mosu.market.queries.orders import orders_visible_to
from mosu.platform.actors import Actor


@dataclass
class Costs:
    """The charges of an organisation's settled orders in a span, in micros, vouchers' part included."""

    orders: int = 0
    total_micros: int = 0
    by_day: Counter[date] = field(default_factory=Counter)
    by_project: Counter[str] = field(default_factory=Counter)
    """By the project's name."""
    by_accelerator: Counter[str] = field(default_factory=Counter)
    """By its code; empty for cores alone."""


def costs_in(actor: Actor, organisation_id: UUID, span: Period, *, zone: ZoneInfo) -> Costs:
    """Of what the actor sees; one query, whose answer is one row for each day, project and accelerator."""
    rows = (
        orders_visible_to(actor)
        .select_related(None)
        .filter(
            organisation_id=organisation_id,
            state=OrderState.SETTLED,
            settled_at__gte=span.start,
            settled_at__lt=span.end,
        )
        .order_by()
        .annotate(
            day=TruncDate("settled_at", tzinfo=zone),
            accelerator=KeyTextTransform("accelerator", "offer__attributes"),
        )
        .values_list("day", "project__name", "accelerator")
        .annotate(orders=Count("id"), total=Sum("total_micros"))
    )
    costs = Costs()
    for day, project, accelerator, orders, total in rows:
        costs.orders += orders
        costs.total_micros += int(total)
        costs.by_day[day] += int(total)
        costs.by_project[project] += int(total)
        costs.by_accelerator[accelerator or ""] += int(total)
    return costs


def largest(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The parts that cost something, the largest first."""
    return sorted(
        ((name, amount) for name, amount in parts.items() if amount), key=lambda one: (-one[1], one[0])
    )
