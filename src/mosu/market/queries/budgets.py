"""Reads of budgets: what is spent of a month's cap, and what more is promised."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, TypeAlias
from uuid import UUID

from django.db.models import QuerySet, Sum

from mosu.kernel.time import month_in, span_of_month
from mosu.market import rules
from mosu.market.hub import hub_zone
from mosu.market.models import Budget, BudgetEnd, BudgetState, Order, OrderLine, OrderState, Spending
from mosu.platform.actors import Actor

Subject: TypeAlias = tuple[UUID, UUID | None, UUID | None]
"""An organisation, and of it a project or a person."""
OPEN: Final = (OrderState.PLACED, OrderState.ACTIVE)


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """A budget and how a month stands with it, in micros. `spent <= committed`."""

    budget: Budget
    month: date
    spent_micros: int
    """Settled, and what open orders have used so far."""
    committed_micros: int
    """Spent, and what open orders may use yet."""

    @property
    def spent_percent(self) -> int:
        return percent_of(self.spent_micros, self.budget.cap_micros)

    @property
    def left_micros(self) -> int:
        """What more can be promised."""
        return max(0, self.budget.cap_micros - self.committed_micros)


def percent_of(spent_micros: int, cap_micros: int) -> int:
    """Whole percents, rounded down; a budget of nothing is spent from the start."""
    return spent_micros * 100 // cap_micros if cap_micros else 100


def subject_of(budget: Budget) -> Subject:
    return (budget.organisation_id, budget.project_id, budget.user_id)


def budgets_visible_to(actor: Actor) -> QuerySet[Budget]:
    """Budgets in force of the actor's organisations, or all for the hub's people; oldest first."""
    rows = Budget.objects.filter(state=BudgetState.SET).select_related("project", "user")
    rows = rows.order_by("created_at", "id")
    return rows if actor.sees_all else rows.filter(organisation_id__in=actor.organisation_ids)


def standings_of(budgets: Sequence[Budget], *, now: datetime) -> list[BudgetStanding]:
    """How each stands in this month; three queries, however many. The caller has shown that they may be seen."""
    month = month_in(hub_zone(), now)
    organisations = {budget.organisation_id for budget in budgets}
    spent = spent_by_subject(organisations, month=month)
    rows = Spending.objects.filter(organisation_id__in=organisations, month=month).order_by()
    committed = {(row.organisation_id, row.project_id, row.user_id): row.committed_micros for row in rows}
    return [
        BudgetStanding(
            budget=budget,
            month=month,
            spent_micros=spent.get(subject_of(budget), 0),
            committed_micros=committed.get(subject_of(budget), 0),
        )
        for budget in budgets
    ]


def spent_by_subject(organisation_ids: Collection[UUID], *, month: date) -> Mapping[Subject, int]:
    """What the orders that were placed in a month cost, those under way so far; two queries."""
    span = span_of_month(month, zone=hub_zone())
    orders = Order.objects.filter(
        organisation_id__in=organisation_ids, placed_at__gte=span.start, placed_at__lt=span.end
    ).order_by()
    found: dict[Subject, int] = defaultdict(int)
    settled = orders.filter(state=OrderState.SETTLED).values_list(
        "organisation_id", "project_id", "placed_by"
    )
    for organisation_id, project_id, user_id, micros in settled.annotate(sum=Sum("total_micros")):
        _add(found, organisation_id, project_id, user_id, int(micros or 0))
    under_way = OrderLine.objects.filter(order__in=orders.filter(state__in=OPEN)).select_related("order")
    for line in under_way.order_by().annotate(used=Sum("usage__quantity_accepted")):
        order = line.order
        micros = rules.amount_of(line.used or 0, _price_of(line), currency=order.currency)
        _add(found, order.organisation_id, order.project_id, order.placed_by, micros)
    return found


def budget_spent_by(order_ids: Collection[UUID]) -> datetime | None:
    """When a budget that ends the work of these orders is spent, where that is near; the caller has shown that they
    may be seen."""
    rows = BudgetEnd.objects.filter(order_id__in=order_ids, by__isnull=False)
    return rows.order_by("by").values_list("by", flat=True).first()


def _add(
    found: dict[Subject, int], organisation_id: UUID, project_id: UUID, user_id: UUID | None, micros: int
) -> None:
    found[organisation_id, None, None] += micros
    found[organisation_id, project_id, None] += micros
    if user_id is not None:
        found[organisation_id, None, user_id] += micros


def _price_of(line: OrderLine) -> rules.Price:
    return rules.Price(
        meter=line.meter,
        unit=line.unit,
        per=line.per,
        unit_price_micros=line.unit_price_micros,
        tax_rate_bp=line.tax_rate_bp,
        tax_included=line.tax_included,
    )
