"""What a line costs and what of a claim counts, without a database."""

from datetime import timedelta

import pytest
from tests.conftest import NOW

from mosu.market import rules
from mosu.market.models import Outcome
from mosu.market.receipts import percent_of


def price(yuan: str = "3.6", *, included: bool = True, per: int = 3600) -> rules.Price:
    micros = round(float(yuan) * 1_000_000)
    return rules.Price("core_second", "core_hour", per, micros, tax_rate_bp=600, tax_included=included)


@pytest.mark.parametrize(
    ("quantity", "yuan", "micros"),
    [
        (3600, "3.6", 3_600_000),
        (5, "3.6", 0),  # 0.005: half to even, down
        (15, "3.6", 20_000),  # 0.015: half to even, up
        (0, "3.6", 0),
        (1, "0.000001", 0),
    ],
)
def test_a_line_is_rounded_once_half_even_to_the_minor_unit(quantity: int, yuan: str, micros: int) -> None:
    assert rules.amount_of(quantity, price(yuan), currency="CNY") == micros


@pytest.mark.parametrize(
    ("quantity", "yuan", "micros"),
    [(5, "3.6", 10_000), (1, "0.000001", 10_000), (15, "3.6", 20_000), (0, "3.6", 0), (3600, "0", 0)],
)
def test_what_is_not_free_holds_at_least_a_minor_unit(quantity: int, yuan: str, micros: int) -> None:
    assert rules.most_of(quantity, price(yuan), currency="CNY") == micros


def test_yen_have_no_minor_unit() -> None:
    assert rules.amount_of(1500, price("3.6"), currency="JPY") == 2_000_000


def test_tax_is_added_when_the_price_has_none_and_found_when_it_has() -> None:
    assert rules.amount_of(3600, price("100", included=False), currency="CNY") == 106_000_000
    assert rules.tax_in(106_000_000, rate_bp=600, currency="CNY") == 6_000_000


@pytest.mark.parametrize(
    ("quantity", "used", "allowed", "counts"),
    [
        (40, 0, None, 40),
        (41, 0, None, 40),
        (40, 70, None, 30),
        (40, 0, 15, 15),
        (40, 20, 15, 0),
        (0, 100, 0, 0),
    ],
)
def test_a_claim_counts_up_to_its_tightest_bound(
    quantity: int, used: int, allowed: int | None, counts: int
) -> None:
    result = rules.counted(
        quantity,
        claimed=used,
        used=used,
        units=4,
        quantity_max=100,
        quantity_allowed=allowed,
        timed=True,
        start=NOW,
        end=NOW + timedelta(seconds=9.1),
    )
    assert result.quantity == counts
    assert bool(result.reason) is (counts < quantity)


def test_only_a_failure_of_the_platform_is_free() -> None:
    assert [outcome for outcome in Outcome if not rules.is_charged(outcome)] == [Outcome.PLATFORM_FAILURE]


def test_texts_are_exact_and_short() -> None:
    assert rules.quantity_text(5000, per=3600) == "1.388889"
    assert rules.quantity_text(36_000, per=3600) == "10"
    assert [percent_of(bp) for bp in (0, 600, 10_000, 1_305)] == ["0", "0.06", "1", "0.1305"]
