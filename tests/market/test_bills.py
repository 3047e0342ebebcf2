"""The month's sum equals its receipts; samples are repeatable; a supplier sees its sales."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.conftest import NOW
from tests.market.conftest import World, make_organisation, person
from tests.market.test_services import accept, record, settle, used
from tests.market.vouchers import give_voucher

from mosu.kernel.money import micros_of
from mosu.kernel.refusals import Forbidden, Invalid
from mosu.kernel.time import Period
from mosu.market.bills import bill_of, month_of, months_summed, span_of
from mosu.market.models import Order, Receipt
from mosu.market.queries import orders_sampled, sales_visible_to, samples_drawn
from mosu.market.services import draw_sample
from mosu.platform.actors import HubRole, Role

SHANGHAI = ZoneInfo("Asia/Shanghai")
MARCH = date(2026, 3, 1)


def bought(world: World, *, key: str) -> Receipt:
    order = accept(world, world.quote(units=4, wall_s=3600), key=key)
    record(used(order, 1800))
    return settle(order)


@pytest.mark.parametrize(
    ("month", "start", "end"),
    [
        (date(2026, 1, 1), "2025-12-31T16:00Z", "2026-01-31T16:00Z"),
        (date(2026, 12, 1), "2026-11-30T16:00Z", "2026-12-31T16:00Z"),
    ],
)
def test_a_month_is_the_hubs(month: date, start: str, end: str) -> None:
    assert span_of(month, zone=SHANGHAI) == Period(
        datetime.fromisoformat(start).astimezone(UTC), datetime.fromisoformat(end).astimezone(UTC)
    )


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "03-2026", "2026-03-01", "0000-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        month_of(text)


def test_a_bill_adds_up_to_its_receipts(world: World) -> None:
    give_voucher(world)
    receipts = [bought(world, key="k1"), bought(world, key="k2")]
    bill = bill_of(world.actor, world.buyer.id, month=MARCH, zone=SHANGHAI)
    assert bill.receipts == 2
    assert bill.total_micros == sum(micros_of(one.content["total"]) for one in receipts) > 0
    assert bill.total_micros == bill.vouchers_micros + bill.paid_micros
    assert bill.vouchers_micros == sum(one.amount_micros for one in bill.programmes.values()) > 0
    assert sum(bill.suppliers.values()) == bill.total_micros
    (summed,) = months_summed(world.actor, world.buyer.id, zone=SHANGHAI)
    assert (summed.month, summed.receipts, summed.total_micros) == (MARCH, 2, bill.total_micros)


def test_a_bill_of_another_organisation_or_month_is_empty(world: World) -> None:
    bought(world, key="k1")
    stranger = person((make_organisation("Stranger"), Role.OWNER))
    assert bill_of(stranger, world.buyer.id, month=MARCH, zone=SHANGHAI).receipts == 0
    assert bill_of(world.actor, world.buyer.id, month=date(2026, 4, 1), zone=SHANGHAI).receipts == 0
    assert months_summed(stranger, world.buyer.id, zone=SHANGHAI) == []


def test_the_same_seed_draws_the_same_orders(world: World) -> None:
    for number in range(6):
        bought(world, key=f"k{number}")
    auditor = person(hub_roles=[HubRole.AUDITOR])
    span = Period(NOW, NOW + timedelta(days=1))

    def drawn(seed: str, count: int = 3) -> list[Order]:
        return orders_sampled(auditor, seed=seed, span=span, count=count)

    assert drawn("a") == drawn("a")
    assert len(drawn("a")) == 3
    assert drawn("a") == drawn("a", count=6)[:3]
    assert len({tuple(order.id for order in drawn(seed, 6)) for seed in "abcdefgh"}) > 1
    assert orders_sampled(auditor, seed="a", span=Period(NOW - timedelta(days=1), NOW), count=3) == []
    with pytest.raises(Forbidden):
        orders_sampled(world.actor, seed="a", span=span, count=3)


def test_a_drawing_is_on_record_once_and_answers_the_same(world: World) -> None:
    orders = {bought(world, key=f"k{number}").order_id for number in range(3)}
    auditor = person(hub_roles=[HubRole.AUDITOR])
    span = Period(NOW, NOW + timedelta(days=1))
    later = NOW + timedelta(days=2)
    first = draw_sample(actor=auditor, seed="a", span=span, count=2, now=later)
    again = draw_sample(actor=person(hub_roles=[HubRole.OPERATOR]), seed="a", span=span, count=2, now=later)
    assert (first.id, first.orders) == (again.id, again.orders)
    assert {order.id for order in first.orders} < orders
    assert samples_drawn(auditor).count() == 1
    assert draw_sample(actor=auditor, seed="b", span=span, count=2, now=later).id != first.id
    for wrong in ({"seed": ""}, {"count": 0}, {"count": 1000}, {"span": Period(later, later)}):
        with pytest.raises(Invalid):
            draw_sample(**{"actor": auditor, "seed": "c", "span": span, "count": 2, "now": later, **wrong})  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        draw_sample(actor=world.actor, seed="c", span=span, count=2, now=later)
    assert samples_drawn(auditor).count() == 2


def test_a_supplier_sees_what_was_bought_of_it_and_nobody_else_does(world: World) -> None:
    order = bought(world, key="k1").order
    assert list(sales_visible_to(world.seller)) == [order]
    assert list(sales_visible_to(world.actor)) == []
