"""More time for a run while it runs: an order of its own for the same place, from the end of what is paid for."""

from datetime import datetime
from uuid import UUID

import pytest

from mosu.compute import services
from mosu.compute.ends import ends_at
from mosu.compute.models import Allocation, Attempt, DeviceAllocation, Extension, Run
from mosu.compute.services import (
    ExtendedMeanwhile,
    ExtensionKept,
    NotExtensible,
    NotRunning,
    QuotaReached,
    SoldOut,
    TooLate,
    extending,
)
from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.market.models import Charge, Offer, Order, OrderLine, Receipt
from mosu.market.services import OfferSpec, PriceSpec, accept_quote, cancel_order, create_offer, stop_order
from mosu.platform.actors import SYSTEM, Role
from tests.compute.test_cards import make_cards_world
from tests.compute.world import (
    OPERATOR,
    World,
    at,
    attempt_of,
    beat,
    buy,
    developer_of,
    held_micros,
    lease,
    make_organisation,
    make_world,
    order_of,
    pool_of,
    register,
    report,
    started,
    use,
)
from tests.conftest import NOW
from tests.platform.factories import make_member

pytestmark = pytest.mark.django_db
SOON = at(10)
GRACE_S = 120
"""What an allocation lasts beyond the wall limit."""


def make_extending(*, cores: int = 4) -> World:
    world = make_world(cores=cores)
    register(world, cores=cores, extends=True)
    return world


def quote_more(world: World, run: Run, seconds: int = 300, *, now: datetime = SOON) -> UUID:
    quote = services.quote_extension(
        actor=world.actor, run_id=run.id, seconds=seconds, choice="none", now=now
    )
    return quote.id


def accept_more(world: World, quote_id: UUID, *, now: datetime = SOON) -> Order:
    return accept_quote(actor=world.actor, quote_id=quote_id, idempotency_key=uuid7().hex, now=now)


def extend(world: World, run: Run, seconds: int = 300, *, now: datetime = SOON) -> Order:
    return accept_more(world, quote_more(world, run, seconds, now=now), now=now)


def used_of(order: Order) -> int:
    line = OrderLine.objects.get(order_id=order.id)
    found = getattr(line, "usage_total", None)
    return 0 if found is None else found.quantity_accepted


def charged(order: Order) -> int:
    return Charge.objects.get(order_line__order_id=order.id).amount_micros


def test_more_time_is_an_order_of_its_own_for_the_same_place() -> None:
    world = make_cards_world()
    register(world, cores=32, cards=4, extends=True)
    text = "name: t\nresources: {cpus: 2, accelerators: 'H100:1'}\nrun: x\nmosu: {wall_limit: 10m}\n"
    run, attempt = started(world, text=text)
    place = Allocation.objects.get(attempt=attempt, live=True)
    order = extend(world, run, 1800)
    run, again = Run.objects.get(id=run.id), attempt_of(run)
    assert ends_at(run, again) == at(600 + 1800)
    after = Allocation.objects.get(attempt=attempt, live=True)
    assert (after.id, after.period.lower) == (place.id, place.period.lower)
    assert after.period.upper == at(600 + GRACE_S + 1800)
    assert DeviceAllocation.objects.get(allocation=after).period == after.period
    quote = Order.objects.get(id=order.id).quote
    assert quote.starts_at == at(600)
    assert OrderLine.objects.get(order=order).quantity_max == 1800
    assert order.offer_id == order_of(run).offer_id
    assert held_micros(world.buyer.id) == order.total_max_micros + order_of(run).total_max_micros
    row = Extension.objects.get(order_id=order.id)
    assert (row.attempt_id, row.from_s, row.seconds) == (attempt.id, 600, 1800)


def test_its_agent_hears_of_the_new_limit_with_every_word() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    assert beat(world, attempt, "running", now=at(9)).commands == ()
    extend(world, run, 300)
    for second in (11, 13):
        [command] = beat(world, attempt, "running", now=at(second)).commands
        assert (command.action, command.wall_limit_s) == ("extend", 900)
    services.cancel_run(actor=world.actor, run_id=run.id, now=at(14))
    [command] = beat(world, attempt, "running", now=at(15)).commands
    assert (command.action, command.wall_limit_s) == ("cancel", None)


def test_the_hub_ends_it_only_after_the_second_deadline() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    extend(world, run, 600)
    beat(world, attempt, "running", now=at(600 + GRACE_S + 1))
    [command] = beat(world, attempt, "running", now=at(600 + GRACE_S + 3)).commands
    assert command.action == "extend"
    [command] = beat(world, attempt, "running", now=at(1200 + GRACE_S + 1)).commands
    assert command.action == "cancel"


def test_what_is_used_beyond_the_first_order_is_the_seconds() -> None:
    world = make_extending()
    run, attempt = started(world, cores=2, wall="10m")
    second = extend(world, run, 600)
    first = order_of(run)
    for number, (start, end) in enumerate([(0, 590), (590, 620), (620, 700)]):
        beat(world, attempt, "running", now=at(end))
        ack = use(world, attempt, 2 * (end - start), since=at(start), now=at(end), sequence=number)
        assert (ack.accepted, ack.quarantined) == (1, 0)
        if number == 0:
            assert (used_of(first), used_of(second)) == (1180, 0)
            assert Order.objects.get(id=second.id).state == "placed"
    assert (used_of(first), used_of(second)) == (1200, 200)
    assert Order.objects.get(id=second.id).state == "active"
    again = use(world, attempt, 60, since=at(590), now=at(620), sequence=1)
    assert (again.accepted, again.repeated) == (0, 1)
    assert (used_of(first), used_of(second)) == (1200, 200)
    report(world, attempt, now=at(701))
    assert [receipt.order_id for receipt in Receipt.objects.order_by("number")] == [first.id, second.id]
    [line] = Receipt.objects.get(order_id=second.id).content["lines"]
    assert f" · more time for {run.name} ({run.public_id}) · core-hours" in line["text"]["en"]
    assert f" · 延长作业 {run.name}（{run.public_id}） · 核时" in line["text"]["zh"]
    assert held_micros(world.buyer.id) == 0
    lines = [OrderLine.objects.get(order=one) for one in (first, second)]
    for line, quantity in zip(lines, (1200, 200), strict=True):
        assert line.charge.quantity == quantity
        assert abs(line.charge.amount_micros - quantity * line.unit_price_micros / line.per) <= 5_000


def test_one_that_was_not_needed_costs_nothing() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    second = extend(world, run, 600)
    beat(world, attempt, "running", now=at(100))
    use(world, attempt, 100, since=at(0), now=at(100))
    report(world, attempt, now=at(100))
    receipt = Receipt.objects.get(order_id=second.id)
    assert (receipt.content["total"], charged(second)) == ("0.00", 0)
    assert receipt.content["released"] != "0.00"
    assert held_micros(world.buyer.id) == 0
    assert not Allocation.objects.filter(live=True).exists()


def test_a_claim_is_taken_back_from_the_last_order_first() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    second = extend(world, run, 600)
    beat(world, attempt, "running", now=at(610))
    use(world, attempt, 610, since=at(0), now=at(610))
    use(world, attempt, -15, since=at(595), now=at(610), sequence=1)
    assert (used_of(order_of(run)), used_of(second)) == (595, 0)


def test_no_more_counts_than_the_hub_saw_whichever_order_it_is_of() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    second = extend(world, run, 600)
    beat(world, attempt, "running", now=at(610))
    ack = use(world, attempt, 5000, since=at(0), now=at(610))
    assert ack.quarantined == 1
    assert used_of(order_of(run)) == 600
    assert 10 <= used_of(second) <= 14  # a start is seen up to a heartbeat late


def test_when_the_supplier_fails_neither_order_is_charged() -> None:
    world = make_extending()
    run, attempt = started(world, cores=4, wall="10m")
    second = extend(world, run, 7200)
    beat(world, attempt, "running", now=at(6600))
    use(world, attempt, 4 * 6600, since=at(0), now=at(6600))
    report(world, attempt, "lost", now=at(6610))
    assert (charged(order_of(run)), charged(second)) == (0, 0)
    assert Receipt.objects.get(order_id=second.id).content["credited"] != "0.00"
    assert held_micros(world.buyer.id) == 0


def test_it_is_extended_again_from_its_new_end() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    extend(world, run, 300)
    beat(world, attempt, "running", now=at(699))
    order = extend(world, run, 240, now=at(700))
    assert order.quote.starts_at == at(900)
    assert ends_at(Run.objects.get(id=run.id), attempt_of(run)) == at(1140)
    assert list(Extension.objects.order_by("id").values_list("from_s", "seconds")) == [(600, 300), (900, 240)]


def refused(world: World, run: Run, kind: type[DomainError], seconds: int = 300, *, now: datetime) -> str:
    before = (held_micros(world.buyer.id), Order.objects.count(), Extension.objects.count())
    with pytest.raises(kind) as refusal:
        extend(world, run, seconds, now=now)
    assert (held_micros(world.buyer.id), Order.objects.count(), Extension.objects.count()) == before
    return f"{refusal.value.message} {refusal.value.hint}"


def test_not_where_the_place_is_promised_to_somebody_else() -> None:
    world = make_extending(cores=1)
    run, _ = started(world, wall="10m")
    buy(world, wall="10m")  # it waits for the only core
    assert "from its end on" in refused(world, run, SoldOut, now=at(10))


def test_who_is_refused_hears_for_how_long_it_would_do() -> None:
    world = make_extending(cores=1)
    run, _ = started(world, wall="10m")
    later = f"not_before: {at(600 + GRACE_S + 600).isoformat()}"
    buy(world, f"name: t\nresources: {{cpus: 1}}\nrun: x\nmosu: {{wall_limit: 10m, {later}}}\n")
    assert "Ask for 10 minutes at most." in refused(world, run, SoldOut, 900, now=at(10))
    extend(world, run, 600)


def test_what_is_interruptible_gives_way_to_it() -> None:
    world = make_extending(cores=1)
    pool = pool_of(world)
    create_offer(
        actor=SYSTEM,
        now=NOW,
        spec=OfferSpec(
            supplier_id=pool.organisation_id,
            shelf="compute",
            subject_id=pool.id,
            title_zh="可中断核",
            title_en="Interruptible cores",
            max_units=8,
            wall_s_max=86_400,
            prices=[PriceSpec(meter="core_second", unit="core_hour", unit_price_micros=20_000)],
            attributes={"mode": "spot"},
        ),
    )
    run, _ = started(world, wall="20m")
    cheap = buy(world, "run: x\nresources: {cpus: 1, use_spot: true}\nmosu: {wall_limit: 10m}\n")
    assert Allocation.objects.filter(attempt__run=cheap, live=True).exists()
    extend(world, run, 600)
    assert not Allocation.objects.filter(attempt__run=cheap, live=True).exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"block": str(uuid7())}, "inside a block"),
        ({"endpoint": str(uuid7())}, "endpoint's replica"),
        ({"interruptible": True}, "interruptible"),
    ],
)
def test_not_of_these_kinds(change: dict[str, object], says: str) -> None:
    world = make_extending()
    run, _ = started(world, wall="10m")
    Run.objects.filter(id=run.id).update(request={**run.request, **change})
    assert says in refused(world, run, NotExtensible, now=at(10))


def test_not_on_an_engine_that_keeps_to_its_limits() -> None:
    world = make_world()
    run, _ = started(world, wall="10m")
    assert "keeps to the limit" in refused(world, run, NotExtensible, now=at(10))


def test_not_what_has_not_started_or_was_told_to_stop_or_has_ended() -> None:
    world = make_extending()
    run = buy(world, wall="10m")
    refused(world, run, NotRunning, now=at(1))
    lease(world, now=at(1))
    refused(world, run, NotRunning, now=at(2))
    beat(world, attempt_of(run), "running", now=at(3))
    services.cancel_run(actor=world.actor, run_id=run.id, now=at(4))
    refused(world, run, NotRunning, now=at(5))
    report(world, attempt_of(run), "cancelled", now=at(6))
    refused(world, run, NotRunning, now=at(7))


def test_not_what_ends_within_seconds_nor_for_too_little_nor_too_much() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    assert "cannot be given 59s more" in refused(world, run, Invalid, 59, now=at(10))
    refused(world, run, Invalid, 30 * 86_400 + 1, now=at(10))
    most = Offer.objects.get(id=order_of(run).offer_id).wall_s_max
    too_much = refused(world, run, Invalid, most - 599, now=at(10))
    assert f"up to {most // 3600}h; with {most // 3600 - 1}h50m1s more" in too_much
    beat(world, attempt, "running", now=at(589))
    refused(world, run, TooLate, now=at(591))
    extend(world, run, 240, now=at(589))


def test_not_more_often_than_can_be_settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extending, "TIMES_MAX", 2)
    world = make_extending()
    run, _ = started(world, wall="10m")
    extend(world, run)
    early = quote_more(world, run)
    extend(world, run)
    assert "more time 2 times" in refused(world, run, NotExtensible, now=SOON)
    with pytest.raises(NotExtensible):
        accept_more(world, early)


def test_not_while_nobody_serves_the_pool() -> None:
    world = make_extending()
    run, _ = started(world, wall="10m")
    assert "no live agent" in refused(world, run, SoldOut, now=at(40))


def test_not_over_a_quota_that_others_fill_then() -> None:
    world = make_extending(cores=4)
    run, _ = started(world, cores=2, wall="10m")
    later = f"not_before: {at(600 + GRACE_S).isoformat()}"
    buy(world, f"name: t\nresources: {{cpus: 2}}\nrun: x\nmosu: {{wall_limit: 10m, {later}}}\n")
    services.set_quota(actor=OPERATOR, organisation_id=world.buyer.id, accelerator="", units_max=3, now=at(5))
    refused(world, run, QuotaReached, now=at(10))


def test_only_its_organisation_sees_it_and_only_who_buys_extends_it() -> None:
    world = make_extending()
    run, _ = started(world, wall="10m")
    for actor, kind in [
        (developer_of(make_organisation("other")), NotFound),
        (make_member(world.buyer, Role.VIEWER), Forbidden),
    ]:
        with pytest.raises(kind):
            services.quote_extension(actor=actor, run_id=run.id, seconds=300, choice="none", now=at(10))


def test_of_two_quotes_for_the_same_time_one_is_taken() -> None:
    world = make_extending()
    run, _ = started(world, wall="10m")
    first, second = quote_more(world, run), quote_more(world, run)
    accept_more(world, first)
    with pytest.raises(ExtendedMeanwhile):
        accept_more(world, second)
    assert ends_at(Run.objects.get(id=run.id), attempt_of(run)) == at(900)


def test_a_quote_taken_after_the_end_is_refused() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    quote_id = quote_more(world, run)
    report(world, attempt, now=at(20))
    held = held_micros(world.buyer.id)
    with pytest.raises(NotRunning):
        accept_more(world, quote_id, now=at(21))
    assert held_micros(world.buyer.id) == held == 0


def test_nobody_cancels_it_by_itself_and_a_spent_budget_ends_the_run() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    order = extend(world, run)
    with pytest.raises(ExtensionKept):
        cancel_order(actor=world.actor, order_id=order.id, now=at(20))
    assert Run.objects.get(id=run.id).cancel_asked_at is None
    stop_order(order_id=order.id, why="the month's budget is spent", now=at(30))
    assert Run.objects.get(id=run.id).cancel_asked_at == at(30)
    report(world, attempt, "cancelled", now=at(31))
    assert Run.objects.get(id=run.id).reason == "the month's budget is spent"
    assert {one.state for one in Order.objects.filter(id__in=[order.id, run.order_id])} == {"settled"}


def test_who_was_told_of_the_first_end_is_told_of_the_second() -> None:
    world = make_extending()
    run, attempt = started(world, wall="10m")
    Attempt.objects.filter(id=attempt.id).update(end_told_at=NOW)
    extend(world, run)
    assert attempt_of(run).end_told_at is None
