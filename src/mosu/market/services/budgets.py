"""Budgets: what a month may cost. An order counts with all that it may cost, until it is settled for what it did.

What counts is the month of acceptance in the hub's zone, and the whole charge: a voucher pays, but is spent too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from mosu.kernel.money import MICROS_MAX, decimal_of
from mosu.kernel.refusals import DomainError, Invalid, NotFound
from mosu.kernel.time import month_in
from mosu.market.hub import hub_currency, hub_zone
from mosu.market.models import Budget, BudgetState, Order
from mosu.platform.actors import Actor
from mosu.platform.models import Membership, Project
from mosu.platform.policy import require
from mosu.platform.services import record_audit


class OverBudget(DomainError):
    """The order might pass a month's budget; the hint says what is left."""

    code = "over_budget"


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whose budgets an order counts against."""

    organisation_id: UUID
    project_id: UUID
    user_id: UUID | None

    @property
    def subjects(self) -> Sequence[tuple[UUID, UUID | None, UUID | None]]:
        """The organisation first: who buys for the same one waits there, so none waits for another in a circle."""
        own = [(self.organisation_id, None, None), (self.organisation_id, self.project_id, None)]
        return own if self.user_id is None else [*own, (self.organisation_id, None, self.user_id)]


_COMMIT: Final = """
insert into market_spending (organisation_id, project_id, user_id, month, committed_micros, told_percent)
select organisation_id, project_id, user_id, %(month)s, %(amount)s, 0
  from unnest(%(organisations)s::uuid[], %(projects)s::uuid[], %(users)s::uuid[])
       with ordinality as asked (organisation_id, project_id, user_id, place) order by place
    on conflict (organisation_id, project_id, user_id, month)
    do update set committed_micros = market_spending.committed_micros + excluded.committed_micros
"""
_PASSED: Final = """
select b.project_id, b.user_id, b.cap_micros, s.committed_micros
  from market_budget b join market_spending s
    on s.organisation_id = b.organisation_id and s.project_id is not distinct from b.project_id
   and s.user_id is not distinct from b.user_id
 where b.state = 'set' and b.organisation_id = %(organisation)s and s.month = %(month)s
   and (b.project_id is null or b.project_id = %(project)s) and (b.user_id is null or b.user_id = %(user)s)
   and s.committed_micros > b.cap_micros
 order by s.committed_micros - b.cap_micros desc limit 1
"""
_LOCK: Final = """
  select id from market_spending
   where month = %(month)s and organisation_id = %(organisation)s
     and ((project_id is null and user_id is null) or project_id = %(project)s or user_id = %(user)s)
   order by project_id is not null, user_id is not null for update
"""
_GIVE_BACK: Final = f"""
with found as ({_LOCK})
update market_spending set committed_micros = greatest(0, committed_micros - %(amount)s)
  from found where found.id = market_spending.id
"""  # noqa: S608 - of constants


def commit_spend(buyer: Buyer, *, amount_micros: int, now: datetime) -> None:
    """Count what an order may cost, in the transaction that places it; the rows stay locked until it ends.

    Raises:
        OverBudget: it might pass a budget of the organisation, the project or the person.
    """
    month = month_in(hub_zone(), now)
    organisations, projects, users = (list(ids) for ids in zip(*buyer.subjects, strict=True))
    asked: dict[str, Any] = {
        "organisations": organisations,
        "projects": projects,
        "users": users,
        "amount": amount_micros,
    }
    with connection.cursor() as cursor:
        # Both in one message; the second has a snapshot of its own, so it sees a budget that was set while the first
        # waited for its rows.
        cursor.execute(f"{_COMMIT};{_PASSED}", {**_asked(buyer, month), **asked})
        cursor.nextset()
        passed = cursor.fetchone()
    if passed is not None:
        raise _over(*passed, amount_micros=amount_micros, month=month)


def give_back_spend(order: Order, *, amount_micros: int) -> None:
    """An order that ended did not cost this part of what it might have."""
    if not amount_micros:
        return
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, {**_asked_of(order), "amount": amount_micros})


def lock_spend(orders: Iterable[Order]) -> None:
    """Take the locks of `give_back_spend` for all of them, of one organisation: month by month, as each has them."""
    every = sorted((_asked_of(order) for order in orders), key=lambda asked: asked["month"])
    with connection.cursor() as cursor:
        for asked in every:
            cursor.execute(_LOCK, asked)


def _asked_of(order: Order) -> dict[str, Any]:
    buyer = Buyer(order.organisation_id, order.project_id, order.placed_by)
    return _asked(buyer, month_in(hub_zone(), order.placed_at))


def _asked(buyer: Buyer, month: date) -> dict[str, Any]:
    return {
        "month": month,
        "organisation": buyer.organisation_id,
        "project": buyer.project_id,
        "user": buyer.user_id,
    }


def _over(
    project_id: UUID | None,
    user_id: UUID | None,
    cap: int,
    committed: int,
    *,
    amount_micros: int,
    month: date,
) -> OverBudget:
    left = decimal_of(max(0, cap - committed + amount_micros), currency=hub_currency())
    most, whole = decimal_of(amount_micros, currency=hub_currency()), decimal_of(cap, currency=hub_currency())
    hint = "Ask for less, or let the organisation's finance set another budget."
    facts = {"month": f"{month:%Y-%m}", "left": left, "amount": most}
    if project_id is not None:
        message = (
            f"This may cost {most}; of the project's budget of {whole} for {month:%Y-%m}, {left} is left."
        )
    elif user_id is not None:
        message = f"This may cost {most}; of your own budget of {whole} for {month:%Y-%m}, {left} is left."
    else:
        message = f"This may cost {most}; of the organisation's budget of {whole} for {month:%Y-%m}, {left} is left."
    return OverBudget(message, hint=hint, **facts)


@transaction.atomic(durable=True)
def set_budget(
    *,
    actor: Actor,
    organisation_id: UUID,
    cap_micros: int,
    now: datetime,
    project_id: UUID | None = None,
    user_id: UUID | None = None,
) -> Budget:
    """Cap what each month may cost, from this one on, in place of the cap before.

    A cap below what is promised already stops nothing at once: nothing more is ordered, and what runs is stopped
    when it has used so much.

    Raises:
        Forbidden: the actor may not for this organisation.
        Invalid: a negative cap, or both a project and a person.
        NotFound: the project is not the organisation's, or the person does not belong to it.
    """
    require(actor, "budget.set", organisation_id)
    if not 0 <= cap_micros <= MICROS_MAX or (project_id and user_id):
        raise Invalid(
            "This is not a budget.", hint="Give an amount, for one project or for one person.", field="cap"
        )
    if project_id and not Project.objects.filter(id=project_id, organisation_id=organisation_id).exists():
        raise NotFound("There is no such project.", hint="See GET /me.")
    if user_id and not Membership.objects.filter(user=user_id, organisation=organisation_id).exists():
        raise NotFound("There is no such member.", hint="See the list of members.")
    _lock_spending(organisation_id, project_id, user_id, now=now)
    in_force = Budget.objects.filter(organisation_id=organisation_id, state=BudgetState.SET)
    for before in in_force.select_for_update(no_key=True).order_by("id"):
        if (before.project_id, before.user_id) == (project_id, user_id):
            _lift(before, actor=actor, now=now)
    budget = Budget.objects.create(
        organisation_id=organisation_id,
        project_id=project_id,
        user_id=user_id,
        cap_micros=cap_micros,
        created_at=now,
    )
    _audit(budget, "budget.set", before=None, actor=actor, now=now)
    return budget


@transaction.atomic(durable=True)
def lift_budget(*, actor: Actor, budget_id: UUID, now: datetime) -> Budget:
    """No cap any more. Repeating it changes nothing.

    Raises:
        NotFound: there is no such budget, or the actor may not know.
    """
    budget = Budget.objects.select_for_update(no_key=True).filter(id=budget_id).first()
    if budget is None or not actor.sees(budget.organisation_id):
        raise NotFound("There is no such budget.", hint="See the budgets of your organisation.")
    require(actor, "budget.set", budget.organisation_id)
    if budget.state == BudgetState.SET:
        _lift(budget, actor=actor, now=now)
    return budget


def _lift(budget: Budget, *, actor: Actor, now: datetime) -> None:
    budget.state = BudgetState.LIFTED
    budget.save(update_fields=["state"])
    _audit(budget, "budget.lift", before=BudgetState.SET, actor=actor, now=now)


def _audit(budget: Budget, action: str, *, before: str | None, actor: Actor, now: datetime) -> None:
    record_audit(
        actor=actor,
        action=action,
        subject_id=budget.id,
        before=before,
        after=budget.state,
        now=now,
        organisation_id=budget.organisation_id,
        facts={
            "cap": decimal_of(budget.cap_micros, currency=hub_currency()),
            "project_id": str(budget.project_id or ""),
            "user_id": str(budget.user_id or ""),
        },
    )


def _lock_spending(
    organisation_id: UUID, project_id: UUID | None, user_id: UUID | None, *, now: datetime
) -> None:
    """The subject's row of this month, so that an order placed meanwhile is either counted or sees the budget.

    What people were told of the budget before no longer holds.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into market_spending"
            " (organisation_id, project_id, user_id, month, committed_micros, told_percent)"
            " values (%s, %s, %s, %s, 0, 0) on conflict (organisation_id, project_id, user_id, month)"
            " do update set told_percent = 0",
            [organisation_id, project_id, user_id, month_in(hub_zone(), now)],
        )
