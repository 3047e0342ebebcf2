"""Digests, states, periods, refusals."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.digests import canonical, sha256_of
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove, check_move
from mosu.kernel.time import Period, day_in, year_in

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc算", max_size=3), inner, max_size=4)
    ),
    max_leaves=15,
)


def test_the_canonical_form() -> None:
    assert canonical({"b": [1, None, True], "a": "算"}) == '{"a":"算","b":[1,null,true]}'.encode()
    assert sha256_of({}) == hashlib.sha256(b"{}").hexdigest()


@given(VALUES)
def test_the_canonical_form_says_all_and_ignores_order(value: object) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(_turned(value)) == text


def _turned(value: object) -> object:
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("value", [1.0, {"a": [1.5]}, {1: 2}, b"x", {"a"}, datetime(2026, 1, 1, tzinfo=UTC)])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


MOVES = {Light.RED: frozenset({Light.GREEN, Light.OFF}), Light.GREEN: frozenset({Light.RED})}


@pytest.mark.parametrize("now", Light)
@pytest.mark.parametrize("to", Light)
def test_moves_are_those_of_the_table(now: Light, to: Light) -> None:
    if to in MOVES.get(now, frozenset()):
        check_move(MOVES, what="The light", now=now, to=to)
    else:
        with pytest.raises(IllegalMove) as refused:
            check_move(MOVES, what="The light", now=now, to=to)
        assert refused.value.facts == {"now": now.value, "to": to.value}
        assert "nothing: this state is final" in refused.value.hint or now is not Light.OFF


INSTANTS = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, tz=UTC))


@given(INSTANTS, INSTANTS, INSTANTS, INSTANTS)
def test_periods_overlap_if_an_instant_is_in_both(a: datetime, b: datetime, c: datetime, d: datetime) -> None:
    one, other = Period(*sorted((a, b))), Period(*sorted((c, d)))
    assert one.overlaps(other) == other.overlaps(one)
    if one.duration and other.duration:
        assert one.overlaps(other) == (max(one.start, other.start) < min(one.end, other.end))


def test_a_period_needs_order_and_zones() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="ends before"):
        Period(at, at - timedelta(seconds=1))
    with pytest.raises(ValueError, match="aware"):
        Period(at.replace(tzinfo=None), at)
    assert not Period(at, at + timedelta(1)).overlaps(Period(at + timedelta(1), at + timedelta(2)))


def test_days_and_years_are_the_hubs() -> None:
    shanghai, at = ZoneInfo("Asia/Shanghai"), datetime(2026, 12, 31, 16, tzinfo=UTC)
    assert day_in(shanghai, at) == date(2027, 1, 1)
    assert (year_in(shanghai, at), year_in(ZoneInfo("UTC"), at)) == (2027, 2026)


@pytest.mark.parametrize(
    ("kind", "status"), [(Invalid, 422), (NotFound, 404), (Forbidden, 403), (IllegalMove, 409)]
)
def test_refusals_carry_what_a_person_and_a_program_need(kind: type[DomainError], status: int) -> None:
    refusal = kind("What.", hint="Do this.", field="a", found=3)
    assert (str(refusal), refusal.hint, refusal.facts, refusal.status) == (
        "What.",
        "Do this.",
        {"field": "a", "found": 3},
        status,
    )
