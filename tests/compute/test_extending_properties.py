"""Whatever happens to a run that is given more time, in whatever order: each order is charged what was used in its own
time at its own price, all together what the run used, and every hold comes back. Compared with a plain model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import count

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosu.compute.ends import ends_at
from mosu.compute.models import Allocation, Attempt, Run
from mosu.compute.services import TooLate
from mosu.compute.services.extending import HEARD_WITHIN
from mosu.market.models import Charge, Order, OrderLine, Receipt
from mosu.market.rules import Room, spread
from mosu.market.services import PriceSpec, TooLittle, set_price
from mosu.platform.actors import SYSTEM
from tests.compute.test_extending import extend, make_extending
from tests.compute.world import (
    World,
    at,
    attempt_of,
    beat,
    held_micros,
    order_of,
    register,
    report,
    started,
    use,
)

CORES, LIMIT_S = 2, 600
CENT = Decimal("0.01")

deeds = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(1, 400)),
        st.tuples(st.just("extend"), st.integers(60, 600)),
        st.tuples(st.just("price"), st.integers(1, 900).map(lambda cents: cents * 10_000)),
        st.tuples(st.just("repeat"), st.just(0)),
        st.tuples(st.just("take back"), st.integers(1, 30)),
    ),
    max_size=10,
)


@dataclass
class Model:
    """The orders of one run: what each may be charged for at most, its price, what counts of it."""

    most: list[int]
    prices: list[int]
    used: list[int] = field(default_factory=lambda: [0])
    claimed: list[int] = field(default_factory=lambda: [0])

    def take(self, quantity: int) -> None:
        for number in range(len(self.most)):
            last = number == len(self.most) - 1
            part = quantity if last else min(quantity, self.most[number] - self.used[number])
            self.claimed[number] += part
            self.used[number] = min(self.most[number], self.used[number] + part)
            quantity -= part

    def take_back(self, quantity: int) -> None:
        for number in reversed(range(len(self.most))):
            part = min(quantity, self.claimed[number])
            self.claimed[number] -= part
            self.used[number] = min(self.used[number], self.claimed[number])
            quantity -= part

    def charge(self, number: int) -> int:
        yuan = Decimal(self.used[number]) * self.prices[number] / 3600 / 1_000_000
        return int(yuan.quantize(CENT, rounding=ROUND_HALF_EVEN) * 1_000_000)


def balance(world: World) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "select balance_micros from ledger_account where kind = 'balance' and owner_id = %s",
            [world.buyer.id],
        )
        return int(cursor.fetchone()[0])


@pytest.fixture
def world() -> Iterator[tuple[World, "count[int]"]]:
    yield make_extending(cores=CORES), count(0, 100_000)


@pytest.mark.django_db
@settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(deeds=deeds, ending=st.sampled_from(["succeeded", "failed", "cancelled", "timed_out", "lost"]))
def test_every_order_of_an_extended_run_ends_as_in_the_model(
    world: tuple[World, "count[int]"], deeds: list[tuple[str, int]], ending: str
) -> None:
    one, bases = world
    base = next(bases)
    now, sequence = base, 0
    register(one, cores=CORES, extends=True, now=at(base))
    before = balance(one)
    run, attempt = started(one, cores=CORES, wall=f"{LIMIT_S}s", now=at(base))
    line = OrderLine.objects.get(order_id=run.order_id)
    model, price = Model([CORES * LIMIT_S], [line.unit_price_micros]), line.unit_price_micros
    orders = [run.order_id]
    for deed, figure in deeds:
        if deed == "use":
            quantity = CORES * figure
            beat(one, attempt, "running", now=at(now + figure))
            use(one, attempt, quantity, since=at(now), now=at(now + figure), sequence=sequence)
            model.take(quantity)
            now, sequence = now + figure, sequence + 1
        elif deed == "repeat" and sequence:
            ack = use(one, attempt, 999, since=at(base), now=at(now), sequence=sequence - 1)
            assert (ack.accepted, ack.quarantined, ack.repeated) == (0, 0, 1)
        elif deed == "take back" and sequence:
            back = min(figure, sum(model.claimed))
            use(one, attempt, -back, since=at(now), now=at(now), sequence=sequence)
            model.take_back(back)
            sequence += 1
        elif deed == "price":
            price, now = figure, now + 1
            set_price(
                actor=SYSTEM,
                offer_id=order_of(run).offer_id,
                price=PriceSpec("core_second", "core_hour", price),
                now=at(now),
                confirmed=True,
            )
        elif deed == "extend":
            beat(one, attempt, "running", now=at(now))
            by = ends_at(Run.objects.get(id=run.id), attempt_of(run))
            assert by == at(base + sum(model.most) // CORES)
            if by - at(now) < HEARD_WITHIN:
                with pytest.raises(TooLate):
                    extend(one, run, figure, now=at(now))
                continue
            if CORES * figure * price <= 3600 * 5_000:  # half a cent, to the even one: nothing
                with pytest.raises(TooLittle):
                    extend(one, run, figure, now=at(now))
                continue
            orders.append(extend(one, run, figure, now=at(now)).id)
            model.most.append(CORES * figure)
            model.prices.append(price)
            model.used.append(0)
            model.claimed.append(0)
        assert held_micros(one.buyer.id) == sum(
            Order.objects.filter(id__in=orders).values_list("total_max_micros", flat=True)
        )
    report(one, attempt, ending, now=at(now + 1))
    charges = {
        charge.order_line.order_id: charge
        for charge in Charge.objects.filter(order_line__order_id__in=orders).select_related("order_line")
    }
    assert [charges[order].quantity for order in orders] == model.used
    expected = [0 if ending == "lost" else model.charge(number) for number in range(len(orders))]
    assert [charges[order].amount_micros for order in orders] == expected
    assert Receipt.objects.filter(order_id__in=orders).count() == len(orders)
    assert held_micros(one.buyer.id) == 0
    assert balance(one) == before - sum(expected)
    assert not Allocation.objects.filter(attempt=Attempt.objects.get(id=attempt.id), live=True).exists()


rooms = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)).map(
        lambda three: Room(claimed=max(three[:2]), used=min(*three), quantity_max=three[2])
    ),
    min_size=1,
    max_size=4,
)


@given(quantity=st.integers(-200, 200), lines=rooms)
def test_a_claim_over_lines_is_neither_more_nor_less_than_it_was(quantity: int, lines: list[Room]) -> None:
    parts = spread(quantity, lines)
    assert sum(parts) == quantity and all(part * quantity >= 0 for part in parts)
    assert all(
        part <= line.quantity_max - line.used for part, line in zip(parts[:-1], lines[:-1], strict=True)
    )
    assert all(-part <= line.claimed for part, line in zip(parts[1:], lines[1:], strict=True))
