"""The counter against a plain model: whatever comes in, quantities, money and shares are the model's."""

from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import NOW
from tests.market.conftest import YUAN, DeskShelf, figures, ledger_sum, make_world
from tests.market.vouchers import give_voucher

from mosu.kernel.ids import uuid7
from mosu.market import rules, services
from mosu.market.models import Outcome, SoldBy, UsageRecord
from mosu.market.shelves import UsageIn

CENT = 10_000
UNITS, WALL_S = 4, 900

records = st.lists(
    st.tuples(
        st.integers(0, 6),  # sequence
        st.integers(0, UNITS * WALL_S),  # quantity
        st.integers(0, WALL_S),  # span in seconds
        st.none() | st.integers(0, UNITS * WALL_S),  # what the hub observed
    ),
    max_size=8,
)


class Model:
    """One line, kept in a dictionary."""

    def __init__(self) -> None:
        self.counted: dict[int, int] = {}

    def take(self, sequence: int, quantity: int, span_s: int, allowed: int | None) -> None:
        if sequence in self.counted:
            return
        left = UNITS * WALL_S - sum(self.counted.values())
        room = left if allowed is None else min(left, max(0, allowed - sum(self.counted.values())))
        self.counted[sequence] = min(quantity, room, UNITS * span_s)

    def charge(self, price_micros: int, tax_bp: int) -> int:
        yuan = Decimal(sum(self.counted.values())) * price_micros / 3600 / YUAN * (10_000 + tax_bp) / 10_000
        return int(yuan.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN) * YUAN)


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    batches=st.lists(records, max_size=3),
    price_micros=st.integers(1, 50).map(lambda tenths: tenths * 100_000),
    rate=st.sampled_from(["0.01", "0.3", "0.333", "0.5", "1"]),
    sold_by=st.sampled_from(SoldBy),
    tax=st.sampled_from([(600, True), (600, False), (1300, False), (0, True)]),
    fee_bp=st.sampled_from([0, 1, 250, 10_000]),
    outcome=st.sampled_from(Outcome),
)
def test_every_order_ends_as_in_the_model(
    fresh_db: Any,
    shelf: DeskShelf,
    batches: list[list[tuple[int, int, int, int | None]]],
    price_micros: int,
    rate: str,
    sold_by: SoldBy,
    tax: tuple[int, bool],
    fee_bp: int,
    outcome: Outcome,
) -> None:
    world, model = make_world(shelf), Model()
    voucher = give_voucher(world, rate=rate, amount_micros=3 * YUAN)
    offer = world.offer(
        prices=[services.PriceSpec("core_second", "core_hour", price_micros)],
        sold_by=sold_by,
        tax_rate_bp=tax[0],
        tax_included=tax[1],
        fee_bp=fee_bp,
    )
    quote = world.quote(offer=offer, units=UNITS, wall_s=WALL_S)
    order = services.accept_quote(actor=world.actor, quote_id=quote.id, idempotency_key=uuid7().hex, now=NOW)
    for batch in batches:
        _send(order.id, batch, model)
    receipt = services.settle_order(order_id=order.id, ended_at=NOW, outcome=outcome, now=NOW)

    used = sum(
        UsageRecord.objects.filter(order_line__order=order).values_list("quantity_accepted", flat=True)
    )
    assert used == sum(model.counted.values())
    worth = model.charge(price_micros, 0 if tax[1] else tax[0])
    total = 0 if outcome is Outcome.PLATFORM_FAILURE else worth
    limit = min(3 * YUAN, int(Decimal(rate) * quote.total_max_micros) // CENT * CENT)
    by_voucher = min(limit, int(Decimal(rate) * total) // CENT * CENT)
    paid = total - by_voucher
    through = total if sold_by is SoldBy.HUB else by_voucher
    fee = rules.fee_of(through, rate_bp=fee_bp, currency="CNY")

    content: dict[str, Any] = receipt.content
    assert [content[key] for key in ("total", "voucher_share", "paid")] == [
        f"{Decimal(micros) / YUAN:.2f}" for micros in (total, by_voucher, paid)
    ]
    assert Decimal(content["total"]) == Decimal(content["voucher_share"]) + Decimal(content["paid"])
    assert figures("voucher", voucher) == (3 * YUAN - by_voucher, 0)
    assert figures("balance", world.buyer.id) == (100 * YUAN - (paid if sold_by is SoldBy.HUB else 0), 0)
    assert figures("payable", world.supplier.id) == (through - fee, 0)
    assert ledger_sum() == 0
    assert services.recompute_charge(order.id).agrees


def _send(order_id: Any, batch: list[tuple[int, int, int, int | None]], model: Model) -> None:
    result = services.record_usage(
        records=[
            UsageIn(
                order_id,
                "core_second",
                sequence,
                quantity,
                start=NOW,
                end=NOW + timedelta(seconds=span_s),
                quantity_allowed=allowed,
            )
            for sequence, quantity, span_s, allowed in batch
        ],
        now=NOW,
    )
    fresh = {sequence for sequence, *_ in batch} - set(model.counted)
    assert result.repeated == len(batch) - len(fresh)
    assert result.accepted + result.quarantined == len(fresh)
    for record in batch:
        model.take(*record)


@given(
    quantities=st.lists(st.integers(0, 10**9), min_size=2, max_size=2).map(sorted),
    price_micros=st.integers(1, 10**9),
    included=st.booleans(),
)
def test_more_use_never_costs_less(quantities: list[int], price_micros: int, included: bool) -> None:
    """So that no charge exceeds what was quoted for `quantity_max`."""
    price = rules.Price("m", "u", 3600, price_micros, tax_rate_bp=600, tax_included=included)
    less, more = (rules.amount_of(quantity, price, currency="CNY") for quantity in quantities)
    assert less <= more
