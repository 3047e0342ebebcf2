"""The best split against brute force: every subset of vouchers, every way to divide the price."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import combinations, product
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.subsidies.rules import Candidate, Source, Spend, Split, best_split, split_at

NOW = datetime(2026, 12, 31, 15, 30, tzinfo=UTC)  # 23:30 in Shanghai: half an hour before the new year
FEN = 10_000


def uid(number: int) -> UUID:
    return UUID(int=number)


def make_spend(fen: int, accepted_at: datetime = NOW) -> Spend:
    return Spend(
        organisation_id=uid(1),
        supplier_id=uid(2),
        shelf="compute",
        kind="card_hours",
        charge_max_micros=fen * FEN,
        region="",
        domestic=None,
        accepted_at=accepted_at,
    )


RATES = ["0.10", "0.25", "0.30", "0.333333", "0.50", "0.75", "1.00"]


@st.composite
def candidates(draw: st.DrawFn, vouchers_max: int = 6, fen_max: int = 60) -> list[Candidate]:
    """Up to `vouchers_max` vouchers of up to four programmes, one of them in two versions."""
    terms = []
    for number, version in ((1, 1), (1, 2), (2, 1), (3, 1), (4, 1)):
        group = draw(st.sampled_from(["", "", "a", "b"])) if version == 1 else terms[0]["group"]
        source = draw(st.sampled_from([Source.VOUCHER, Source.VOUCHER, Source.REFUND]))
        caps = draw(
            st.dictionaries(
                st.sampled_from([2026, 2027]), st.integers(0, fen_max).map(lambda n: n * FEN), max_size=2
            )
        )
        terms.append(
            {
                "programme_id": uid(100 + number),
                "programme_code": f"p{number}",
                "programme_version": version,
                "source": source if version == 1 else terms[0]["source"],
                "rate": draw(st.sampled_from(RATES)),
                "cap_per_order_micros": draw(st.none() | st.integers(1, fen_max).map(lambda n: n * FEN)),
                "cap_left_micros": caps if version == 1 else terms[0]["cap_left_micros"],
                "group": group,
                "stacking": draw(st.sampled_from([True, True, True, False])),
            }
        )
    count = draw(st.integers(0, vouchers_max))
    ids = draw(st.permutations(range(1000, 1000 + count)))
    return [
        Candidate(
            voucher_id=uid(ids[number]),
            left_micros=draw(st.integers(0, fen_max)) * FEN,
            expires_at=NOW + timedelta(days=draw(st.integers(0, 2))),
            title_zh="",
            title_en="",
            **draw(st.sampled_from(terms)),
        )
        for number in range(count)
    ]


def legal_subsets(all_of_them: Sequence[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    for size in range(len(all_of_them) + 1):
        for subset in combinations(all_of_them, size):
            units = {(one.programme_id, one.programme_version): one for one in subset}
            keys = [one.group or one.programme_id for one in units.values()]
            if len(set(keys)) < len(keys):
                continue
            if len(units) > 1 and not all(one.stacking for one in units.values()):
                continue
            yield subset


def plain_amounts(subset: Sequence[Candidate], charge_fen: int, year: int) -> dict[UUID, int]:
    """In fen: each voucher in turn, checkout first, then by expiry and id, gives all that it may."""
    order = sorted(subset, key=lambda one: (one.source is Source.REFUND, one.expires_at, one.voucher_id))
    given: dict[Any, int] = defaultdict(int)
    amounts = {}
    left = charge_fen
    for one in order:
        unit = (one.programme_id, one.programme_version)
        bounds = [one.left_micros // FEN, left, int(Fraction(one.rate) * charge_fen) - given[unit]]
        if one.cap_per_order_micros is not None:
            bounds.append(one.cap_per_order_micros // FEN - given[unit])
        if year in one.cap_left_micros:
            bounds.append(one.cap_left_micros[year] // FEN - given[unit])
        amount = max(0, min(bounds))
        given[unit] += amount
        left -= amount
        if amount:
            amounts[one.voucher_id] = amount
    return amounts


def brute_force(all_of_them: Sequence[Candidate], charge_fen: int, year: int, at: datetime) -> Any:
    usable = [one for one in all_of_them if one.expires_at > at]
    by_id = {one.voucher_id: one for one in usable}

    def rank(amounts: dict[UUID, int]) -> Any:
        now = sum(n for key, n in amounts.items() if by_id[key].source is Source.VOUCHER)
        later = sum(n for key, n in amounts.items() if by_id[key].source is Source.REFUND)
        profile: dict[Any, int] = defaultdict(int)
        for key, amount in amounts.items():
            profile[by_id[key].source is Source.REFUND, by_id[key].expires_at] -= amount
        return (
            charge_fen - now,
            charge_fen - now - later,
            sorted(profile.items()),
            len(amounts),
            sorted(amounts),
        )

    return min((plain_amounts(subset, charge_fen, year) for subset in legal_subsets(usable)), key=rank)


def amounts_of(split: Split) -> dict[UUID, int]:
    return {share.voucher_id: share.amount_micros // FEN for share in split.shares if share.voucher_id}


@settings(deadline=None, max_examples=150)
@given(candidates(), st.integers(0, 100), st.sampled_from([2026, 2027]), st.integers(0, 2))
def test_equals_brute_force_in_both_years_and_past_expiry(
    all_of_them: list[Candidate], charge_fen: int, year: int, days: int
) -> None:
    at = NOW + timedelta(days=days)
    split = best_split(make_spend(charge_fen, at), all_of_them, year=year)
    assert amounts_of(split) == brute_force(all_of_them, charge_fen, year, at)
    assert split.voucher_now_micros + split.pay_now_micros == charge_fen * FEN
    assert split.refund_later_micros <= split.pay_now_micros


@settings(deadline=None, max_examples=100)
@given(candidates(vouchers_max=9, fen_max=12), st.integers(0, 40))
def test_equals_brute_force_with_more_vouchers_and_many_ties(
    all_of_them: list[Candidate], charge_fen: int
) -> None:
    split = best_split(make_spend(charge_fen), all_of_them, year=2026)
    assert amounts_of(split) == brute_force(all_of_them, charge_fen, 2026, NOW)


def best_division(frozen: Split, charge_fen: int) -> tuple[int, int]:
    """The least (paid now, net) over *every* division in whole fen that breaks no limit."""
    drawn = [share for share in frozen.shares if share.voucher_id]
    reach = [range(min(share.limit_micros // FEN, charge_fen) + 1) for share in drawn]
    best = (charge_fen, charge_fen)
    for amounts in product(*reach):
        if sum(amounts) > charge_fen:
            continue
        by_unit: dict[Any, int] = defaultdict(int)
        for share, amount in zip(drawn, amounts, strict=True):
            by_unit[share.programme_id, share.programme_version, share.rate] += amount
        if any(total > int(Fraction(unit[2]) * charge_fen) for unit, total in by_unit.items()):
            continue
        now = sum(n for share, n in zip(drawn, amounts, strict=True) if share.source is Source.VOUCHER)
        best = min(best, (charge_fen - now, charge_fen - sum(amounts)))
    return best


@settings(deadline=None, max_examples=100)
@given(candidates(vouchers_max=3, fen_max=12), st.integers(0, 20), st.integers(0, 30))
def test_actual_charge_is_divided_as_well_as_any_division_of_the_frozen_limits(
    all_of_them: list[Candidate], charge_fen: int, actual_fen: int
) -> None:
    frozen = best_split(make_spend(charge_fen), all_of_them, year=2026)
    for fen in (actual_fen, charge_fen * 6 // 10):
        counted = min(fen, charge_fen)
        actual = split_at(frozen, fen * FEN)
        net = actual.pay_now_micros - actual.refund_later_micros
        assert (actual.pay_now_micros // FEN, net // FEN) == best_division(frozen, counted)


@settings(deadline=None, max_examples=150)
@given(candidates(vouchers_max=10), st.integers(0, 200), st.integers(0, 250))
def test_no_actual_share_exceeds_its_hold_or_its_rate(
    all_of_them: list[Candidate], charge_fen: int, actual_fen: int
) -> None:
    frozen = best_split(make_spend(charge_fen), all_of_them, year=2026)
    actual = split_at(frozen, actual_fen * FEN)
    counted = min(actual_fen, charge_fen) * FEN
    assert actual.charge_micros == counted
    assert actual.voucher_now_micros + actual.pay_now_micros == counted
    assert actual.refund_later_micros <= actual.pay_now_micros <= frozen.pay_hold_micros
    by_unit: dict[Any, int] = defaultdict(int)
    for before, after in zip(frozen.shares, actual.shares, strict=True):
        assert (before.voucher_id, before.limit_micros) == (after.voucher_id, after.limit_micros)
        assert 0 <= after.amount_micros <= before.limit_micros
        assert after.amount_micros % FEN == 0
        if after.rate:
            by_unit[after.programme_id, after.programme_version, after.rate] += after.amount_micros
    assert all(total <= Fraction(unit[2]) * counted for unit, total in by_unit.items())


@settings(deadline=None, max_examples=50)
@given(candidates(vouchers_max=10), st.integers(0, 200))
def test_frozen_split_comes_back_from_json_and_is_its_own_value_at_the_frozen_charge(
    all_of_them: list[Candidate], charge_fen: int
) -> None:
    split = best_split(make_spend(charge_fen), all_of_them, year=2026)
    assert Split.from_json(split.to_json()) == split
    assert split_at(split, charge_fen * FEN) == split


def test_thirty_vouchers_of_many_programmes_are_split_in_bounded_time() -> None:
    many = [
        Candidate(
            voucher_id=uid(1000 + number),
            source=Source.REFUND if number % 3 == 0 else Source.VOUCHER,
            left_micros=(number + 1) * 1000 * FEN,
            expires_at=NOW + timedelta(days=1 + number % 4),
            programme_id=uid(100 + number),
            programme_code=f"p{number}",
            programme_version=1,
            rate="0.30",
            title_zh="",
            title_en="",
            group=f"g{number % 10}",
        )
        for number in range(30)
    ]
    split = best_split(make_spend(10_000_000), many, year=2026)
    groups = [share.group for share in split.shares if share.voucher_id]
    assert len(groups) == len(set(groups)) == 10
    assert all(share.source is not Source.REFUND for share in split.shares if share.group)
    assert split.voucher_now_micros == sum(
        share.amount_micros for share in split.shares if share.source is Source.VOUCHER
    )
    # Here every group has room to give less, so that 3^10 selections would be legal: beyond the limit.
    assert best_split(make_spend(90_000), many, year=2026).pay_now_micros == 0
