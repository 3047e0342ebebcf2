"""Terms of blocks: what is published is in order, and cancelling gives back no more than was paid, never more later."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.refusals import Invalid
from mosu.kernel.time import Period
from mosu.market import rules
from mosu.market.blocks import (
    BlockTerms,
    CancellationRule,
    check_block_terms,
    ended_early,
    rules_in_words,
)

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PRICE = rules.Price("card_second", "card_hour", 3600, 20_123_457, 600, tax_included=False)
RULES = (CancellationRule(168, 100), CancellationRule(24, 50))


@st.composite
def published(draw: st.DrawFn) -> BlockTerms:
    count = draw(st.integers(0, 5))
    hours = draw(st.lists(st.integers(0, 500), min_size=count, max_size=count, unique=True))
    percents = sorted(draw(st.lists(st.integers(0, 100), min_size=count + 1, max_size=count + 1)))
    *before, after = reversed(percents)
    found = zip(sorted(hours, reverse=True), before, strict=True)
    return BlockTerms(1, 90, tuple(CancellationRule(*rule) for rule in found), after)


@given(
    terms=published(),
    units=st.integers(1, 512),
    lead_s=st.integers(0, 500 * 3600),
    length_s=st.integers(60, 90 * 86_400),
    moments=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_cancelling_later_never_gives_more_back_and_never_more_than_was_paid(
    terms: BlockTerms, units: int, lead_s: int, length_s: int, moments: list[float]
) -> None:
    check_block_terms(terms)
    period = Period(NOW + timedelta(seconds=lead_s), NOW + timedelta(seconds=lead_s + length_s))
    whole = rules.amount_of(units * length_s, PRICE, currency="CNY")
    backs = []
    for part in sorted(moments):
        at = NOW + timedelta(seconds=part * (lead_s + length_s))
        early = ended_early(terms, units=units, period=period, at=at)
        assert early.used + early.kept + early.given_back == units * length_s
        assert min(early.used, early.kept, early.given_back) >= 0
        charged = rules.amount_of(early.used + early.kept, PRICE, currency="CNY")
        assert 0 <= charged <= whole
        assert charged >= rules.amount_of(early.used, PRICE, currency="CNY")
        backs.append(whole - charged)
    assert backs == sorted(backs, reverse=True)


@given(terms=published())
def test_terms_come_back_from_json_and_are_said_whole(terms: BlockTerms) -> None:
    assert BlockTerms.of_json(terms.to_json()) == terms
    assert len(rules_in_words(terms)) == len(terms.cancellation) + 1


def test_the_rules_count_from_the_start() -> None:
    terms = BlockTerms(1, 90, RULES, 10)
    start = NOW + timedelta(days=30)
    found = [
        terms.back_percent_at(start - timedelta(hours=hours), start=start) for hours in (168, 167, 24, 23, 0)
    ]
    assert found == [100, 50, 50, 10, 10]


def test_what_was_not_delivered_is_taken_off_what_was_had() -> None:
    terms = BlockTerms(1, 90)
    period = Period(NOW, NOW + timedelta(hours=10))
    early = ended_early(terms, units=2, period=period, at=NOW + timedelta(hours=4), lost=3600)
    assert (early.used, early.kept, early.given_back) == (7 * 3600, 12 * 3600, 0)
    assert ended_early(terms, units=2, period=period, at=NOW, lost=9**9).used == 0


@pytest.mark.parametrize(
    "terms",
    [
        BlockTerms(0, 90),
        BlockTerms(1, 0),
        BlockTerms(1, 367),
        BlockTerms(1, 90, (CancellationRule(24, 50), CancellationRule(168, 100))),
        BlockTerms(1, 90, (CancellationRule(168, 50), CancellationRule(24, 60))),
        BlockTerms(1, 90, (CancellationRule(24, 50), CancellationRule(24, 40))),
        BlockTerms(1, 90, (CancellationRule(24, 101),)),
        BlockTerms(1, 90, (CancellationRule(24, 50),), 60),
        BlockTerms(1, 90, tuple(CancellationRule(100 - n, 10) for n in range(11))),
    ],
)
def test_terms_out_of_order_are_not_published(terms: BlockTerms) -> None:
    with pytest.raises(Invalid):
        check_block_terms(terms)
