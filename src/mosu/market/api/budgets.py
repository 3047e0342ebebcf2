"""Budgets: what a month may cost."""

from typing import Annotated

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import Field

from mosu.kernel.ids import typeid, uuid_of
from mosu.kernel.money import micros_of
from mosu.market import queries, services
from mosu.market.hub import hub_currency
from mosu.market.models import Budget
from mosu.market.queries import BudgetStanding
from mosu.market.shapes import hub_money
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import Organisation, Project, User
from mosu.platform.requests import actor_of
from mosu.platform.schemas import In, Out

router = Router(auth=token_auth, tags=["market"])


class BudgetIn(In):
    """A cap for the whole organisation, or for one of its projects, or for one of its people."""

    organisation_id: str
    project_id: str | None = None
    user_id: str | None = None
    cap: Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]


class BudgetOut(Out):
    """A month's cap, and how this month stands: `spent <= committed`, and `left` may still be ordered."""

    id: str
    organisation_id: str
    project_id: str | None
    user_id: str | None
    cap: str
    currency: str
    month: str
    spent: str
    committed: str
    left: str
    spent_percent: int

    @classmethod
    def of(cls, standing: BudgetStanding) -> "BudgetOut":
        budget = standing.budget
        return cls(
            id=budget.public_id,
            organisation_id=typeid(Organisation.prefix, budget.organisation_id),
            project_id=typeid(Project.prefix, budget.project_id) if budget.project_id else None,
            user_id=typeid(User.prefix, budget.user_id) if budget.user_id else None,
            cap=hub_money(budget.cap_micros),
            currency=hub_currency(),
            month=f"{standing.month:%Y-%m}",
            spent=hub_money(standing.spent_micros),
            committed=hub_money(standing.committed_micros),
            left=hub_money(standing.left_micros),
            spent_percent=standing.spent_percent,
        )


@router.get("/budgets", response=Listed[BudgetOut], operation_id="listBudgets")
@door("budget.read")
def list_budgets(request: HttpRequest, paging: Query[Paging]) -> Listed[BudgetOut]:
    """Budgets in force of the caller's organisations, with how this month stands."""
    rows, after = page_of(queries.budgets_visible_to(actor_of(request)), paging.cursor, paging.limit)
    standings = queries.standings_of(rows, now=timezone.now())
    return Listed(items=[BudgetOut.of(one) for one in standings], next=after)


@router.post("/budgets", response={201: BudgetOut}, operation_id="setBudget")
@door("budget.set")
def set_budget(request: HttpRequest, body: BudgetIn) -> Status[BudgetOut]:
    """Cap what each month may cost, in place of the cap before."""
    now = timezone.now()
    budget = services.set_budget(
        actor=actor_of(request),
        organisation_id=Organisation.key_of(body.organisation_id),
        project_id=uuid_of(Project.prefix, body.project_id) if body.project_id else None,
        user_id=uuid_of(User.prefix, body.user_id) if body.user_id else None,
        cap_micros=micros_of(body.cap),
        now=now,
    )
    return Status(201, BudgetOut.of(queries.standings_of([budget], now=now)[0]))


@router.delete("/budgets/{budget_id}", response={204: None}, operation_id="liftBudget")
@door("budget.set")
def lift_budget(request: HttpRequest, budget_id: str) -> Status[None]:
    """No cap any more."""
    services.lift_budget(actor=actor_of(request), budget_id=Budget.key_of(budget_id), now=timezone.now())
    return Status(204, None)
