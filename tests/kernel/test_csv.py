"""Tables as CSV: text that looks like a formula is text, numbers are numbers, and what went out comes back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.csv import csv_lines, inert, meant


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@sum(a1)", "\t=1", "\r=1", "\n=1", " =1", "\u3000=1", "＝1", " ＠a", "-12.50"],
)
def test_what_starts_like_a_formula_is_written_as_text(text: str) -> None:
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "昇腾 910B", "a=b", "2026-01-01", "12.50", " a"])
def test_other_text_is_written_as_it_is(text: str) -> None:
    assert inert(text) == text


@pytest.mark.parametrize(
    ("number", "written"), [(Decimal("-12.50"), "-12.50"), (-1, "-1"), (-0.5, "-0.5"), (None, "")]
)
def test_numbers_stay_numbers(number: object, written: str) -> None:
    assert inert(number) == written


def test_a_row_is_one_record_with_every_cell_inert() -> None:
    assert list(csv_lines([["a,b", "=x"], [Decimal("-1"), 'c"']])) == ['"a,b",\'=x\r\n', '-1,"c"""\r\n']


@given(st.text(max_size=50))
def test_inert_cells_come_back(text: str) -> None:
    if not text.startswith("'"):
        assert meant(inert(text)) == text
