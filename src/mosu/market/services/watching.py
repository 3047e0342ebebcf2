"""Keeping to budgets while work runs: people are told at 50, 80 and 100 percent, and at 100 it is stopped; whoever
ordered what a budget will end is told ten minutes before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Min

from mosu.kernel.money import decimal_of
from mosu.kernel.time import month_in, span_of_month
from mosu.market.hub import hub_currency, hub_zone
from mosu.market.models import Budget, Order, Spending
from mosu.market.queries.budgets import OPEN, percent_of, spent_by_subject, subject_of
from mosu.market.services.budget_ends import NEAR_S, paces_of, tell_ends
from mosu.market.services.orders import stop_order
from mosu.platform.actors import SYSTEM, Role
from mosu.platform.services import members_of, notify, record_audit

TOLD_AT: Final = (50, 80, 100)
_WITH_BUDGETS: Final = """
select b.id, s.id, s.month, s.told_percent
  from market_budget b join market_spending s
    on s.organisation_id = b.organisation_id and s.project_id is not distinct from b.project_id
   and s.user_id is not distinct from b.user_id
 where b.state = 'set' and s.month >= %s order by s.month, b.id
"""


@dataclass(frozen=True, slots=True)
class _Watched:
    """A budget in a month that still has orders under way, or in this one."""

    budget: Budget
    spending_id: int
    month: date
    told_percent: int
    spent_micros: int

    @property
    def reached(self) -> int:
        """The highest of `TOLD_AT` that is spent; 0 if none."""
        percent = percent_of(self.spent_micros, self.budget.cap_micros)
        return max((mark for mark in TOLD_AT if percent >= mark), default=0)


def watch_budgets(*, now: datetime) -> list[UUID]:
    """The orders that were told to stop, since a budget is spent; people are told before. Each on its own."""
    stopped: list[UUID] = []
    ends: dict[UUID, tuple[datetime, UUID]] = {}
    for watched in _watched(now=now):
        if watched.reached > watched.told_percent:
            _tell(watched, now=now)
        if watched.reached == TOLD_AT[-1]:
            for order_id in _open_orders(watched):
                stop_order(order_id=order_id, why="the month's budget is spent", now=now)
                stopped.append(order_id)
        else:
            by, running = _spent_by(watched, now=now)
            for order_id in running:
                ends[order_id] = min(ends.get(order_id, (by, watched.budget.id)), (by, watched.budget.id))
    tell_ends(ends, now=now)
    return stopped


def _spent_by(watched: _Watched, *, now: datetime) -> tuple[datetime, list[UUID]]:
    """When the budget is spent, as fast as what runs under it spends, and the orders that this ends; none if it is
    not near, or if they end before."""
    paces = paces_of(_open_orders(watched))
    per_second = sum(one.micros_per_s for one in paces)
    left = watched.budget.cap_micros - watched.spent_micros
    if not per_second or left > per_second * NEAR_S:
        return now, []
    left_s = left / per_second
    return now + timedelta(seconds=left_s), [one.order_id for one in paces if one.left_s > left_s]


def _watched(*, now: datetime) -> Iterator[_Watched]:
    first = Order.objects.filter(state__in=OPEN).aggregate(first=Min("placed_at"))["first"] or now
    with connection.cursor() as cursor:
        cursor.execute(_WITH_BUDGETS, [month_in(hub_zone(), min(first, now))])
        found = cursor.fetchall()
    budgets = Budget.objects.select_related("project", "user").in_bulk([row[0] for row in found])
    spent: dict[date, Mapping[tuple[UUID, UUID | None, UUID | None], int]] = {}
    for budget_id, spending_id, month, told in found:
        budget = budgets[budget_id]
        if month not in spent:
            organisations = {budgets[row[0]].organisation_id for row in found if row[2] == month}
            spent[month] = spent_by_subject(organisations, month=month)
        yield _Watched(budget, spending_id, month, told, spent[month].get(subject_of(budget), 0))


_SPENT: Final = {
    "zh": "{of_whom}本月预算已用 {mark}%",
    "en": "{mark}% of the {of_whom}'s budget is spent",
}


def _open_orders(watched: _Watched) -> list[UUID]:
    """Those whose end saves money: a block is committed as a whole, and what runs inside one costs nothing."""
    budget, span = watched.budget, span_of_month(watched.month, zone=hub_zone())
    rows = Order.objects.filter(
        organisation_id=budget.organisation_id,
        state__in=OPEN,
        placed_at__gte=span.start,
        placed_at__lt=span.end,
        total_max_micros__gt=0,
    ).exclude(quote__terms__has_key="block")
    if budget.project_id is not None:
        rows = rows.filter(project_id=budget.project_id)
    if budget.user_id is not None:
        rows = rows.filter(placed_by=budget.user_id)
    return list(rows.order_by("id").values_list("id", flat=True))


@transaction.atomic(durable=True)
def _tell(watched: _Watched, *, now: datetime) -> None:
    """Tell owners, administrators and finance, and whose budget it is; once for each mark."""
    mark, budget = watched.reached, watched.budget
    fresh = Spending.objects.filter(id=watched.spending_id, told_percent__lt=mark).update(told_percent=mark)
    if not fresh:
        return
    record_audit(
        actor=SYSTEM,
        action="budget.reached",
        subject_id=budget.id,
        before=str(watched.told_percent),
        after=str(mark),
        now=now,
        organisation_id=budget.organisation_id,
        facts={"month": f"{watched.month:%Y-%m}", "spent_micros": watched.spent_micros},
    )
    people = members_of(budget.organisation_id, roles=(Role.OWNER, Role.ADMIN, Role.FINANCE))
    of_whom = {"zh": "单位", "en": "organisation"}
    if budget.project is not None:
        of_whom = {"zh": f"项目“{budget.project.name}”", "en": f"project {budget.project.name}"}
    if budget.user is not None:
        of_whom = {"zh": f"成员 {budget.user}", "en": f"member {budget.user}"}
        people.append(budget.user.id)
    cap = decimal_of(budget.cap_micros, currency=hub_currency())
    spent = decimal_of(watched.spent_micros, currency=hub_currency())
    is_over = mark == TOLD_AT[-1]
    notify(
        user_ids=set(people),
        kind="budget.reached",
        title={
            language: text.format(mark=mark, of_whom=of_whom[language]) for language, text in _SPENT.items()
        },
        body={
            "zh": f"{watched.month:%Y-%m}：预算 {cap}，已用 {spent} {hub_currency()}。"
            + (
                "运行中的作业已通知停止，结果会保存。"
                if is_over
                else "用完后，运行中的作业会停止，结果会保存。"
            ),
            "en": f"{watched.month:%Y-%m}: {spent} of {cap} {hub_currency()}. "
            + (
                "What runs was told to stop; its outputs are saved."
                if is_over
                else "When all of it is spent, what runs is stopped and its outputs are saved."
            ),
        },
        now=now,
        link="/organisation/budgets/",
        subject_id=budget.id,
        organisation_id=budget.organisation_id,
        mail=True,
    )
