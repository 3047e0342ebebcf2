"""An agent that claims too much, twice, or for another's pool: what is too much is quarantined, and no bill grows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db.models import Sum
from pydantic import ValidationError

from mosu.compute import services
from mosu.compute.models import Attempt
from mosu.compute.services import endings
from mosu.compute.services.usage import TOLERANCE
from mosu.kernel.refusals import NotFound
from mosu.market.models import UsageRecord
from mosu.market.services import OfferSpec, PriceSpec, create_offer
from mosu.platform.actors import SYSTEM
from mosu.wire.agent import Usage, UsageBatch
from tests.compute.world import (
    OPERATOR,
    World,
    at,
    make_organisation,
    make_world,
    order_of,
    register,
    report,
    started,
    use,
)
from tests.conftest import NOW

pytestmark = pytest.mark.django_db
CORES, RAN_S = 2, 600


def counted() -> int:
    return int(UsageRecord.objects.aggregate(sum=Sum("quantity_accepted"))["sum"] or 0)


def charged(world: World, *claims: tuple[int, int], since: float = 0) -> int:
    """What a run of ten minutes comes to whose agent claims these sequences and quantities, and then its end."""
    run, attempt = started(world, cores=CORES, wall="1h", now=at(since))
    for sequence, quantity in claims:
        use(world, attempt, quantity, since=at(since), now=at(since + RAN_S), sequence=sequence)
    report(world, attempt, now=at(since + RAN_S))
    total = order_of(run).total_micros
    assert total is not None
    return total


@pytest.fixture
def world() -> World:
    return make_world(cores=CORES)


def test_a_replayed_claim_is_charged_once(world: World) -> None:
    claim = (0, CORES * RAN_S)
    honest = charged(world, claim)
    register(world, cores=CORES, now=at(1000))
    assert charged(world, claim, claim, claim, since=1000) == honest > 0


def test_a_claim_sent_again_under_another_number_counts_no_more_than_the_hub_saw(world: World) -> None:
    charged(world, *[(number, CORES * RAN_S) for number in range(5)])
    assert counted() <= CORES * (RAN_S + 2 * TOLERANCE.total_seconds())
    assert UsageRecord.objects.filter(state="quarantined").count() == 4


def test_a_claim_of_ten_times_is_quarantined_and_capped(world: World) -> None:
    charged(world, (0, 10 * CORES * RAN_S))
    assert counted() <= CORES * (RAN_S + 2 * TOLERANCE.total_seconds())
    row = UsageRecord.objects.get()
    assert (row.state, row.quantity) == ("quarantined", 10 * CORES * RAN_S)


def test_after_the_end_nothing_more_counts(world: World) -> None:
    run, attempt = started(world, cores=CORES, wall="1h")
    use(world, attempt, CORES * 60, since=NOW, now=at(60))
    report(world, attempt, now=at(60))
    total = order_of(run).total_micros
    assert use(world, attempt, CORES * 60, since=NOW, now=at(900), sequence=1).quarantined == 1
    assert (order_of(run).total_micros, counted()) == (total, CORES * 60)


def rival_of(world: World) -> World:
    """The same buyer before another supplier's pool, which is the cheaper one."""
    supplier = make_organisation("rival", capabilities=["supplier"])
    pool, token = services.create_pool(
        actor=OPERATOR, organisation_id=supplier.id, name="x", region="y", now=NOW
    )
    rival = replace(
        world, pool_id=pool.id, token=token, agent=services.actor_of_agent(f"Bearer {token}", now=NOW)
    )
    register(rival, cores=CORES)
    spec = OfferSpec(
        supplier_id=supplier.id,
        shelf="compute",
        subject_id=pool.id,
        title_zh="x",
        title_en="x",
        max_units=CORES,
        wall_s_max=86_400,
        prices=[PriceSpec("core_second", "core_hour", 10_000)],
        attributes={"region": "y"},
    )
    create_offer(actor=SYSTEM, spec=spec, now=NOW)
    return rival


def test_a_batch_with_a_claim_of_anothers_pool_is_refused_whole(world: World) -> None:
    def claim(attempt: Attempt) -> Usage:
        return Usage(
            attempt_id=attempt.public_id, meter="core_second", sequence=0, quantity=60, start=NOW, end=at(60)
        )

    _, theirs = started(world, cores=CORES, wall="1h")
    rival = rival_of(world)
    _, own = started(rival, cores=CORES, wall="1h")
    assert (own.pool_id, theirs.pool_id) == (rival.pool_id, world.pool_id)
    for batch in ((claim(own), claim(theirs)), (claim(theirs),)):
        with pytest.raises(NotFound):
            services.take_usage(actor=rival.agent, batch=UsageBatch(records=batch), now=at(60))
    assert not UsageRecord.objects.exists()
    mine = services.take_usage(actor=world.agent, batch=UsageBatch(records=(claim(theirs),)), now=at(60))
    assert mine.accepted == 1


@pytest.mark.parametrize(
    "moment",
    [
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
    ],
)
def test_a_time_that_the_hub_cannot_read_again_is_refused(moment: str) -> None:
    """PostgreSQL keeps years that Python cannot hold: one such record kept its order from ever being settled."""
    record = {"attempt_id": "attempt_" + "0" * 26, "meter": "core_second", "sequence": 0, "quantity": 1}
    times = {"start": "2026-03-02T02:00:00Z", "end": "2026-03-02T02:00:01Z"}
    Usage.model_validate(record | times)
    for name in times:
        with pytest.raises(ValidationError, match="must lie in the years 1970 to 2199"):
            Usage.model_validate(record | times | {name: moment})


def test_a_settlement_reads_no_time_that_an_agent_said(
    world: World, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    """What was kept before times were bounded is settled all the same."""
    _, attempt = started(world, cores=CORES, wall="1h", now=at(0))
    use(world, attempt, CORES * RAN_S, since=at(0), now=at(RAN_S))
    with django_assert_max_num_queries(200) as asked:
        report(world, attempt, now=at(RAN_S))
    said = [one["sql"] or "" for one in asked.captured_queries]
    read = [sql for sql in said if 'FROM "market_usagerecord"' in sql]
    assert read and not [sql for sql in read if '"market_usagerecord"."end"' in sql]


def test_one_attempt_that_cannot_end_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = [started(world, cores=1, wall="1m", now=at(0))[1] for _ in range(2)]
    services.expire_leases(now=at(60))
    end, stuck = endings.fail_attempt, min(one.id for one in attempts)

    def failing(*, attempt_id: UUID, **rest: Any) -> None:
        if attempt_id == stuck:
            raise ValueError("it cannot end")
        end(attempt_id=attempt_id, **rest)

    monkeypatch.setattr(endings, "fail_attempt", failing)
    with pytest.raises(ExceptionGroup, match="1 could not be worked on"):
        services.expire_leases(now=at(10_000))
    assert {one.id: one.state for one in Attempt.objects.filter(id__in=[one.id for one in attempts])} == {
        one.id: "unreachable" if one.id == stuck else "lost" for one in attempts
    }
