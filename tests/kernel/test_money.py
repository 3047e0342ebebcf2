"""Money: exact, rounded half-even once, never a float."""

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.money import MICROS_MAX, MINOR_DIGITS, decimal_of, floored, micros_of, rounded
from mosu.kernel.refusals import Invalid

CURRENCIES = st.sampled_from(sorted(MINOR_DIGITS))
AMOUNTS = st.integers(-MICROS_MAX, MICROS_MAX)


@pytest.mark.parametrize(
    ("text", "micros"),
    [("0", 0), ("12.80", 12_800_000), ("-0.000001", -1), ("9999999999999.999999", 9_999_999_999_999_999_999)],
)
def test_reading(text: str, micros: int) -> None:
    assert micros_of(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1.",
        ".5",
        "1e3",
        "+1",
        "1,000",
        "NaN",
        "inf",
        "1.0000001",
        "12345678901234",
        "0x1",
        "1_0",
        "1\n",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        micros_of(text, field="budget")
    assert refused.value.facts["field"] == "budget"


@pytest.mark.parametrize(
    ("micros", "currency", "text"),
    [
        (12_800_000, "CNY", "12.80"),
        (0, "CNY", "0.00"),
        (-1, "CNY", "-0.000001"),
        (5_000_000, "JPY", "5"),
        (5_500_000, "JPY", "5.5"),
    ],
)
def test_writing(micros: int, currency: str, text: str) -> None:
    assert decimal_of(micros, currency=currency) == text


@given(st.integers(-(10**19) + 1, 10**19 - 1), CURRENCIES)
def test_what_is_written_is_read_back(micros: int, currency: str) -> None:
    assert micros_of(decimal_of(micros, currency=currency)) == micros


@pytest.mark.parametrize(
    ("micros", "expected"),
    [
        (5_000, 0),
        (15_000, 20_000),
        (25_000, 20_000),
        (25_001, 30_000),
        (-15_000, -20_000),
        (-25_000, -20_000),
    ],
)
def test_halves_go_to_the_even_cent(micros: int, expected: int) -> None:
    assert rounded(micros) == expected


@given(AMOUNTS, CURRENCIES)
def test_rounding_is_the_decimal_modules(micros: int, currency: str) -> None:
    unit = Decimal(1).scaleb(-MINOR_DIGITS[currency])
    expected = (Decimal(micros) / 1_000_000).quantize(unit, rounding=ROUND_HALF_EVEN)
    assert Decimal(rounded(micros, currency=currency)) == expected * 1_000_000
    assert rounded(rounded(micros, currency=currency), currency=currency) == rounded(
        micros, currency=currency
    )


@given(st.integers(0, MICROS_MAX), CURRENCIES)
def test_flooring_never_exceeds(micros: int, currency: str) -> None:
    unit = Decimal(1).scaleb(-MINOR_DIGITS[currency])
    expected = (Decimal(micros) / 1_000_000).quantize(unit, rounding=ROUND_FLOOR)
    assert Decimal(floored(micros, currency=currency)) == expected * 1_000_000
    assert floored(micros, currency=currency) <= micros


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_fractions_of_a_micro_are_rounded_once(micros: Decimal) -> None:
    assert rounded(micros) % 10_000 == 0
    assert abs(rounded(micros) - micros) <= 5_000
    assert 0 <= micros - floored(micros) < 10_000
