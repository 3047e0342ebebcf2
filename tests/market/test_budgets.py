"""A month's cap holds whoever orders at once, people are told in time, and what runs is stopped when it is spent."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from tests.conftest import NOW
from tests.market.conftest import YUAN, DeskShelf, World, make_organisation, make_world, person
from tests.market.test_services import accept, refused, used
from tests.market.test_threads import at_once

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.market import services
from mosu.market.models import Budget, BudgetEnd, BudgetState, Order, OrderState, Outcome, Spending
from mosu.market.queries import BudgetStanding, budgets_visible_to, standings_of
from mosu.market.services import OverBudget, lift_budget, set_budget, watch_budgets
from mosu.platform.actors import Actor, Role
from mosu.platform.models import AuditRecord, Membership, Notice, Project, User

ORDER = 14_400_000  # 4 cores, an hour, 3.6 yuan an hour each


def finance_of(world: World) -> Actor:
    return person((world.buyer, Role.FINANCE))


def capped(world: World, yuan: float, **whose: Any) -> Budget:
    return set_budget(
        actor=finance_of(world),
        organisation_id=world.buyer.id,
        cap_micros=round(yuan * YUAN),
        now=NOW,
        **whose,
    )


def standing(world: World) -> BudgetStanding:
    return standings_of(list(budgets_visible_to(world.actor)), now=NOW)[0]


def committed(world: World, **whose: Any) -> int:
    return Spending.objects.get(organisation_id=world.buyer.id, **whose).committed_micros


def whole(world: World) -> int:
    return committed(world, project_id=None, user_id=None)


def commit() -> None:
    """What a commit checks, within the test's transaction."""
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate; set constraints all deferred")


@pytest.mark.parametrize("whose", ["organisation", "project", "person"])
def test_an_order_that_would_pass_a_budget_is_refused(world: World, whose: str) -> None:
    subject: dict[str, Any] = {"project": {"project_id": world.project.id}}.get(whose, {})
    if whose == "person":
        user = User.objects.create_user(email="p@example.org")
        Membership.objects.create(organisation=world.buyer, user=user, role=Role.DEVELOPER, created_at=NOW)
        world.actor = person((world.buyer, Role.DEVELOPER))
        object.__setattr__(world.actor, "id", user.id)
        subject = {"user_id": user.id}
    capped(world, 20, **subject)
    accept(world, world.quote(), key="first")
    second = world.quote()
    with refused(OverBudget):
        accept(world, second, key="second")
    assert whole(world) == ORDER


def test_the_refusal_says_what_is_left(world: World) -> None:
    capped(world, 20)
    accept(world, world.quote(), key="first")
    with pytest.raises(OverBudget) as refusal:
        accept(world, world.quote(), key="second")
    assert refusal.value.facts["left"] == "5.60"


def test_exactly_the_budget_may_be_ordered(world: World) -> None:
    capped(world, 28.8)
    accept(world, world.quote(), key="first")
    accept(world, world.quote(), key="second")
    assert whole(world) == 2 * ORDER


def test_another_project_another_person_another_month_are_not_capped(world: World) -> None:
    other = Project.objects.create(organisation=world.buyer, name="other", created_at=NOW)
    capped(world, 0, project_id=other.id)
    accept(world, world.quote(), key="first")
    lift_budget(actor=finance_of(world), budget_id=Budget.objects.get().id, now=NOW)
    capped(world, 14.4)
    later = NOW + timedelta(days=40)
    quote = world.quotes(world.plan(world.offer()), now=later)[0]
    accept(world, quote, key="second", now=later)
    assert (
        sorted(row.month for row in Spending.objects.filter(project_id=None, user_id=None))[0] < later.date()
    )


def test_what_an_order_did_not_cost_is_free_again(world: World) -> None:
    capped(world, 20)
    order = accept(world, world.quote(), key="first")
    services.activate_order(order_id=order.id, now=NOW)
    services.record_usage(records=[used(order, 900)], now=NOW)
    now = standing(world)
    assert (now.spent_micros, now.committed_micros) == (ORDER // 4, ORDER)
    services.settle_order(order_id=order.id, ended_at=NOW, outcome=Outcome.SUCCEEDED, now=NOW)
    now = standing(world)
    assert (now.spent_micros, now.committed_micros) == (ORDER // 4, ORDER // 4)
    assert now.spent_percent == 18
    accept(world, world.quote(), key="second")


def test_a_cancelled_order_counts_no_more(world: World) -> None:
    capped(world, 20)
    order = accept(world, world.quote(), key="first")
    services.cancel_order(actor=world.actor, order_id=order.id, now=NOW)
    assert whole(world) == 0
    accept(world, world.quote(), key="second")


def test_the_database_refuses_what_the_code_forgot(world: World) -> None:
    capped(world, 20)
    accept(world, world.quote(), key="first")
    with pytest.raises(IntegrityError, match="pass the budget"), transaction.atomic():
        Spending.objects.filter(project_id=None, user_id=None).update(committed_micros=21 * YUAN)
        commit()
    assert whole(world) == ORDER


def test_a_new_cap_takes_the_place_of_the_old_one(world: World) -> None:
    first = capped(world, 5)
    second = capped(world, 50)
    first.refresh_from_db()
    assert (first.state, second.state) == (BudgetState.LIFTED, BudgetState.SET)
    assert [one.id for one in budgets_visible_to(world.actor)] == [second.id]
    actions = AuditRecord.objects.filter(subject_id__in=[first.id, second.id]).order_by("id")
    assert [one.action for one in actions] == ["budget.set", "budget.lift", "budget.set"]
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.create(organisation=world.buyer, cap_micros=1, created_at=NOW)


def test_who_may_set_a_budget(world: World) -> None:
    stranger = make_organisation("Stranger")
    for actor in (world.actor, person((stranger, Role.OWNER))):
        with refused(Forbidden):
            set_budget(actor=actor, organisation_id=world.buyer.id, cap_micros=1, now=NOW)
    elsewhere = Project.objects.create(organisation=stranger, name="x", created_at=NOW)
    with refused(NotFound):
        capped(world, 1, project_id=elsewhere.id)
    with refused(NotFound):
        capped(world, 1, user_id=uuid7())
    with refused(Invalid):
        capped(world, -1)
    budget = capped(world, 1)
    with refused(NotFound):
        lift_budget(actor=person((stranger, Role.OWNER)), budget_id=budget.id, now=NOW)
    assert not budgets_visible_to(person((stranger, Role.OWNER))).exists()


def test_people_are_told_once_at_each_mark_and_the_work_is_stopped(world: World) -> None:
    owner = User.objects.create_user(email="owner@example.org")
    Membership.objects.create(organisation=world.buyer, user=owner, role=Role.OWNER, created_at=NOW)
    world.shelf.started = True
    order = accept(world, world.quote(), key="first")
    commit()
    capped(world, 10)  # below what is promised already: nothing is stopped for that

    for sequence, (seconds, notices) in enumerate([(900, 0), (450, 1), (700, 2), (300, 2), (150, 3)]):
        services.record_usage(records=[used(order, seconds, sequence=sequence)], now=NOW)
        told = watch_budgets(now=NOW)
        watch_budgets(now=NOW)
        assert Notice.objects.filter(user=owner).count() == notices, seconds
        assert told == ([order.id] if notices == 3 else [])
    assert set(world.shelf.cancelled) == {order.id}
    titles = [one.title["en"] for one in Notice.objects.filter(user=owner).order_by("created_at", "id")]
    assert sorted(title.split("%")[0] for title in titles) == ["100", "50", "80"]
    assert AuditRecord.objects.filter(action="budget.reached").count() == 3


def ends_told(world: World) -> int:
    return Notice.objects.filter(kind="budget.ends_soon", user=world.actor.id).count()


def running_order(world: World) -> Order:
    """Of somebody who can be told, and whose work has started: four yuan in a thousand seconds."""
    assert world.actor.id is not None
    User.objects.create(id=world.actor.id, email="dev@example.org")
    world.shelf.started = True
    order = accept(world, world.quote(), key="first")
    commit()
    return order


def test_who_ordered_what_a_budget_will_end_is_told_once_ten_minutes_before(world: World) -> None:
    order = running_order(world)
    capped(world, 10)
    for sequence, (seconds, times) in enumerate([(1500, 0), (380, 0), (20, 1), (10, 1)]):
        services.record_usage(records=[used(order, seconds, sequence=sequence)], now=NOW)
        watch_budgets(now=NOW)
        watch_budgets(now=NOW)
        assert ends_told(world) == times, seconds
    end = BudgetEnd.objects.get(order=order)
    assert end.by == NOW + timedelta(seconds=590)
    capped(world, 20)
    watch_budgets(now=NOW)
    assert BudgetEnd.objects.get(order=order).by is None
    capped(world, 10)
    watch_budgets(now=NOW)
    assert BudgetEnd.objects.get(order=order).by == NOW + timedelta(seconds=590)
    assert ends_told(world) == 1
    assert Notice.objects.get(kind="budget.ends_soon").link == f"/orders/{order.public_id}/"


def test_what_ends_by_itself_before_its_budget_is_spent_needs_no_word(world: World) -> None:
    order = running_order(world)
    capped(world, 14.4)
    services.record_usage(records=[used(order, 3550)], now=NOW)
    watch_budgets(now=NOW)
    assert not ends_told(world) and not BudgetEnd.objects.exists()


def test_what_has_used_nothing_yet_spends_nothing(world: World) -> None:
    running_order(world)
    capped(world, 0.01)
    watch_budgets(now=NOW)
    assert not ends_told(world)


def test_two_runs_under_one_budget_spend_it_twice_as_fast(world: World) -> None:
    order = running_order(world)
    other = accept(world, world.quote(), key="second")
    commit()
    capped(world, 10)
    for one in (order, other):
        services.record_usage(records=[used(one, 700)], now=NOW)  # 4.4 yuan are left: 550 s for both
    watch_budgets(now=NOW)
    assert set(BudgetEnd.objects.values_list("order_id", "by")) == {
        (one.id, NOW + timedelta(seconds=550)) for one in (order, other)
    }


def test_what_waits_is_given_back_when_the_budget_is_spent(world: World) -> None:
    order = accept(world, world.quote(), key="first")
    commit()
    capped(world, 0)
    watch_budgets(now=NOW)
    order.refresh_from_db()
    assert (order.state, whole(world)) == (OrderState.CANCELLED, 0)


def test_orders_at_once_do_not_pass_a_budget(fresh_db: Any, shelf: DeskShelf) -> None:
    world = make_world(shelf)
    capped(world, 43.2)
    quotes = [world.quote().id for _ in range(6)]

    def one(index: int) -> Any:
        return services.accept_quote(
            actor=world.actor, quote_id=quotes[index], idempotency_key=f"k{index}", now=NOW
        ).id

    answers = at_once(6, one)
    assert answers.count("over_budget") == 3
    assert Order.objects.count() == 3
    assert whole(world) == 3 * ORDER
