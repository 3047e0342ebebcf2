"""Shares of cards: what a kind says, what an index says, and which fraction asks for which share."""

from decimal import Decimal

import pytest

from mosu.wire.shares import SHARES_MAX, Kind, card_at, kind_of, listed_twice, share_at, shares_in


@pytest.mark.parametrize(
    "kind", [Kind("nvidia-h20"), Kind("nvidia-h20", 7), Kind("ascend-910b2", 4, shared=True)]
)
def test_a_kind_is_read_back_as_it_was_written(kind: Kind) -> None:
    assert kind_of(str(kind)) == kind


@pytest.mark.parametrize(
    "text", ["nvidia-h20/1", "nvidia-h20/65", "nvidia-h20/x", "nvidia-h20/4-other", "/4"]
)
def test_what_is_no_share_is_a_whole_card_of_that_name(text: str) -> None:
    assert kind_of(text) == Kind(text)


@pytest.mark.parametrize("shares", range(2, SHARES_MAX + 1))
def test_every_share_can_be_asked_for_as_it_is_written(shares: int) -> None:
    assert shares_in(Decimal(Kind("a", shares).asked)) == shares


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        *(("0.5", 2), ("0.25", 4), ("0.33", 3), ("0.14", 7), ("0.1429", 7), ("0.1", 10)),
        *(("0.3", None), ("0.4", None), ("0.75", None), ("0.34", None), ("0.001", None), ("0.99", None)),
    ],
)
def test_which_share_a_fraction_means(asked: str, shares: int | None) -> None:
    assert shares_in(Decimal(asked)) == shares


def test_the_index_of_a_share_names_its_card() -> None:
    assert (card_at(3), share_at(3)) == (3, 0)
    assert (card_at(2 * 1024 + 3), share_at(2 * 1024 + 3)) == (3, 2)


def test_a_card_is_listed_whole_or_cut_in_one_way() -> None:
    assert listed_twice([(0, "a"), (1, "a/2"), (1025, "a/2")]) is None
    assert listed_twice([(0, "a"), (1024, "a/2")]) == 0
    assert listed_twice([(1, "a/2"), (1025, "a/4")]) == 1
    assert listed_twice([(1, "a/2"), (1025, "a/2-shared")]) == 1
    assert listed_twice([(5, "a"), (5, "a")]) == 5
