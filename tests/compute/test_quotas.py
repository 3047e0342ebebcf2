"""Quotas: how much an organisation or a project holds at one time, at the quote, at the order and at an early start."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.compute import services
from mosu.compute.models import Allocation, PoolShare, Quota, Run
from mosu.compute.quotas import Held, Limit, earliest_within
from mosu.compute.services import QuotaReached
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, ActorKind, Role
from mosu.platform.models import AuditRecord, Project
from tests.compute.test_turns import running
from tests.compute.world import (
    OPERATOR,
    World,
    accept,
    at,
    attempt_of,
    buy,
    lease,
    make_world,
    quote,
    report,
    task_of,
)
from tests.conftest import NOW

MINUTE = timedelta(minutes=1)


def after(minutes: int) -> datetime:
    return NOW + minutes * MINUTE


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(1, 4)), max_size=8),
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(1, 6),
)
def test_as_a_model_that_counts_minute_by_minute(
    spans: list[tuple[int, int, int]], units: int, units_max: int, length: int
) -> None:
    held = tuple(Held(after(start), after(start + span), taken) for start, span, taken in spans)
    found = earliest_within(
        [Limit(units_max, held)], units=units, earliest=after(0), duration=length * MINUTE
    )

    def fits(start: int) -> bool:
        return all(
            sum(share.units for share in held if share.is_at(after(minute))) + units <= units_max
            for minute in range(start, start + length)
        )

    expected = next((after(start) for start in range(41) if fits(start)), None)
    assert found == expected


@pytest.fixture
def world(db: None) -> World:
    return make_world(cores=4)


def granted(world: World, units_max: int | None, **fields: Any) -> None:
    services.set_quota(
        actor=OPERATOR, organisation_id=world.buyer.id, accelerator="", units_max=units_max, now=NOW, **fields
    )


def test_a_quote_starts_when_the_quota_allows_it(world: World) -> None:
    granted(world, 2)
    first = buy(world, cores=2, wall="10m")
    [second] = quote(world, task_of(cores=2, wall="10m")).quotes
    assert second.starts_at == Allocation.objects.get(attempt__run=first).period.upper
    refused = quote(world, task_of(cores=3)).refused
    assert [reason.code for reason in refused[0].reasons] == ["over_quota"]


def test_an_order_that_would_pass_the_quota_is_refused(world: World) -> None:
    one, two = (quote(world, task_of(cores=2)).quotes[0] for _ in range(2))
    granted(world, 3)
    accept(world, one.id)
    with pytest.raises(QuotaReached, match="may hold 3 such units"):
        accept(world, two.id)
    assert Run.objects.count() == 1


def test_nothing_starts_early_beyond_the_quota(world: World) -> None:
    granted(world, 2)
    first, second = buy(world, cores=2, wall="10m"), buy(world, cores=1, wall="10m")
    running(world, first, now=1)
    assert lease(world, now=at(2)) is None  # there is room, but not for this organisation
    report(world, attempt_of(first), now=at(60))
    running(world, second, now=61)


def test_a_projects_quota_is_its_own(world: World) -> None:
    granted(world, 1, project_id=world.project.id)
    other = Project.objects.create(organisation=world.buyer, name="other", created_at=NOW)
    assert quote(world, task_of(cores=2)).refused
    world.project = other
    assert quote(world, task_of(cores=2)).quotes


def person(world: World, role: Role) -> Actor:
    scopes = world.actor.scopes
    return Actor(kind=ActorKind.USER, id=uuid7(), label="x", roles={world.buyer.id: role}, scopes=scopes)


def test_who_may_set_quotas_and_weights(world: World) -> None:
    with pytest.raises(Forbidden):
        services.set_quota(
            actor=person(world, Role.OWNER),
            organisation_id=world.buyer.id,
            accelerator="",
            units_max=1,
            now=NOW,
        )
    with pytest.raises(Forbidden):
        services.set_share(
            actor=person(world, Role.OWNER),
            pool_id=world.pool_id,
            organisation_id=world.buyer.id,
            weight=2,
            now=NOW,
        )
    with pytest.raises(NotFound):
        granted(world, 1, project_id=uuid7())
    with pytest.raises(Invalid):
        granted(world, -1)
    with pytest.raises(Invalid):
        services.set_share(
            actor=OPERATOR, pool_id=world.pool_id, organisation_id=world.buyer.id, weight=0, now=NOW
        )
    assert not Quota.objects.exists()
    assert not PoolShare.objects.exists()
    services.set_quota(
        actor=person(world, Role.ADMIN),
        organisation_id=world.buyer.id,
        project_id=world.project.id,
        accelerator="H100",
        units_max=8,
        now=NOW,
    )
    assert Quota.objects.get().accelerator == "nvidia-h100-sxm"
    granted(world, 5)
    granted(world, None)
    for weight in (2, 3):
        services.set_share(
            actor=OPERATOR, pool_id=world.pool_id, organisation_id=world.buyer.id, weight=weight, now=NOW
        )
    assert PoolShare.objects.get().weight == 3
    records = AuditRecord.objects.filter(action__in=["quota.set", "share.set"]).order_by("id")
    assert [(one.before, one.after) for one in records] == [
        (None, "8"),
        (None, "5"),
        ("5", "none"),
        (None, "2"),
        ("2", "3"),
    ]
