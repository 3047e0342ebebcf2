"""How many replicas an endpoint should have, and which of them go."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mosu.compute.endpoints import (
    BACK_OFF_S_MAX,
    DRAINED_AT_LEAST,
    DRAINED_AT_MOST,
    SILENT_MAX,
    Held,
    back_off,
    is_empty,
    most_live,
    step,
    succeeded_from,
    wanted,
)
from tests.conftest import NOW

HOUR = timedelta(hours=1)


def held(number: int, **changes: Any) -> Held:
    facts: dict[str, Any] = {
        "id": UUID(int=number),
        "is_current": True,
        "is_well": True,
        "ends_at": NOW + HOUR,
        "succeeded_from": NOW + HOUR - timedelta(minutes=5),
        "silent_since": None,
        "drained_at": None,
        "in_flight": 0,
    }
    return Held(**(facts | changes))


def count(**changes: Any) -> int:
    facts: dict[str, Any] = {
        "least": 0,
        "most": 5,
        "requests": 4,
        "in_flight": 0,
        "asked_at": None,
        "idle_s": 600,
        "now": NOW,
    }
    return wanted(**(facts | changes))


def test_there_are_as_many_as_requests_need_between_the_fewest_and_the_most() -> None:
    assert count() == 0
    assert [count(in_flight=so_many) for so_many in (1, 4, 5, 20, 21, 1000)] == [1, 1, 2, 5, 5, 5]
    assert count(least=2) == 2
    assert count(least=2, in_flight=9) == 3


def test_who_asked_lately_keeps_one() -> None:
    ago = lambda seconds: NOW - timedelta(seconds=seconds)  # noqa: E731
    assert [count(asked_at=ago(gone)) for gone in (0, 599, 600)] == [1, 1, 0]


def numbers(found: Any) -> list[int]:
    return [key.int for key in found.drained]


def test_what_is_missing_is_ordered_one_by_one() -> None:
    first = step([], count=2, most=2, now=NOW)
    assert (first.ordered, first.missing, first.drained) == (True, 2, ())
    second = step([held(1, is_well=False)], count=2, most=2, now=NOW)
    assert (second.ordered, second.missing) == (True, 1)
    assert not step([held(1), held(2)], count=2, most=2, now=NOW).ordered


def test_of_too_many_go_those_that_are_not_well_then_those_whose_time_is_over_first() -> None:
    rows = [
        held(1, ends_at=NOW + 2 * HOUR, succeeded_from=NOW + 2 * HOUR),
        held(2),
        held(3, is_well=False, ends_at=NOW + 3 * HOUR, succeeded_from=NOW + 3 * HOUR),
    ]
    assert numbers(step(rows, count=2, most=3, now=NOW)) == [3]
    assert numbers(step(rows, count=1, most=3, now=NOW)) == [2, 3]
    assert numbers(step(rows, count=0, most=3, now=NOW)) == [1, 2, 3]


def test_a_new_version_takes_over_one_by_one_and_what_answers_goes_on_until_it_is_well() -> None:
    old = [held(1, is_current=False), held(2, is_current=False)]
    first = step(old, count=2, most=2, now=NOW)
    assert (first.ordered, numbers(first)) == (True, [])
    starting = [*old, held(3, is_well=False)]
    waits = step(starting, count=2, most=2, now=NOW)
    assert (waits.ordered, numbers(waits)) == (False, [])
    well = step([*old, held(3)], count=2, most=2, now=NOW)
    assert (well.ordered, numbers(well)) == (False, [1])
    drained = [held(1, is_current=False, drained_at=NOW), held(2, is_current=False), held(3)]
    assert not step(drained, count=2, most=2, now=NOW).ordered
    gone = step([held(2, is_current=False), held(3)], count=2, most=2, now=NOW)
    assert (gone.ordered, numbers(gone)) == (True, [])
    done = step([held(2, is_current=False), held(3), held(4)], count=2, most=2, now=NOW)
    assert numbers(done) == [2]


def test_an_old_one_that_never_was_well_does_not_hold_up_the_new_version() -> None:
    found = step([held(1), held(2, is_current=False, is_well=False)], count=1, most=1, now=NOW)
    assert numbers(found) == [2]


def test_a_successor_comes_before_the_time_is_over() -> None:
    soon = held(1, ends_at=NOW + timedelta(minutes=4), succeeded_from=NOW - timedelta(minutes=1))
    first = step([soon], count=1, most=1, now=NOW)
    assert (first.ordered, numbers(first)) == (True, [])
    assert numbers(step([soon, held(2)], count=1, most=1, now=NOW)) == [1]


def test_what_is_silent_is_waited_for_then_given_up() -> None:
    silent = held(1, is_well=False, silent_since=NOW - SILENT_MAX + timedelta(seconds=1))
    waits = step([silent], count=1, most=1, now=NOW)
    assert (waits.ordered, numbers(waits)) == (False, [])
    lost = step([silent], count=1, most=1, now=NOW + timedelta(seconds=1))
    assert (lost.ordered, numbers(lost)) == (True, [1])


def test_who_is_drained_is_stopped_when_it_has_no_request_or_had_time_enough() -> None:
    def empty(since: timedelta, **changes: Any) -> bool:
        return is_empty(held(1, drained_at=NOW - since, **changes), now=NOW)

    assert not is_empty(held(1, is_well=False), now=NOW)
    assert not empty(DRAINED_AT_LEAST - timedelta(seconds=1))
    assert empty(DRAINED_AT_LEAST)
    assert not empty(DRAINED_AT_LEAST, in_flight=1)
    assert empty(DRAINED_AT_MOST, in_flight=1)
    assert empty(timedelta(), is_well=False)


@pytest.mark.parametrize(("wall_limit_s", "before_s"), [(3600, 300), (600, 300), (120, 60), (1, 0.5)])
def test_a_successor_is_ordered_five_minutes_before_or_half_of_a_short_time(
    wall_limit_s: int, before_s: float
) -> None:
    assert succeeded_from(NOW, wall_limit_s=wall_limit_s) == NOW - timedelta(seconds=before_s)


def test_failures_in_a_row_wait_longer_and_longer_up_to_a_minute() -> None:
    waits = [back_off(failures).total_seconds() for failures in (1, 2, 3, 6, 7, 1_000_000)]
    assert waits == [1, 2, 4, 32, BACK_OFF_S_MAX, BACK_OFF_S_MAX]


@given(data=st.data(), most=st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_whatever_happens_there_are_never_more_than_may_be_and_it_comes_to_rest(
    data: st.DataObject, most: int
) -> None:
    """A model of the keeper: orders are placed, replicas become well, end, fall silent; versions change."""
    rows: list[Held] = []
    made = 0

    def tick(now: datetime, wants: int) -> None:
        nonlocal rows, made
        found = step(rows, count=wants, most=most, now=now)
        rows = [
            held(one.id.int, **facts(one) | {"drained_at": now}) if one.id in found.drained else one
            for one in rows
        ]
        rows = [one for one in rows if not is_empty(one, now=now)]
        if found.ordered and step(rows, count=wants, most=most, now=now).ordered:
            made += 1
            ends = now + HOUR
            rows.append(held(made, is_well=False, ends_at=ends, succeeded_from=ends - timedelta(minutes=5)))
        assert len(rows) <= most_live(most)

    def facts(one: Held) -> dict[str, Any]:
        return {name: getattr(one, name) for name in Held.__slots__ if name != "id"}

    now, wants = NOW, data.draw(st.integers(0, most))
    for _ in range(data.draw(st.integers(0, 25))):
        event = data.draw(st.sampled_from(("well", "end", "version", "want", "silent", "time")))
        if event == "version":
            rows = [held(one.id.int, **facts(one) | {"is_current": False}) for one in rows]
        elif event == "want":
            wants = data.draw(st.integers(0, most))
        elif event == "time":
            now += timedelta(minutes=data.draw(st.integers(1, 20)))
        elif rows:
            place = data.draw(st.integers(0, len(rows) - 1))
            one = rows[place]
            changed = {"is_well": True, "silent_since": None} if event == "well" else {}
            if event == "silent":
                changed = {"is_well": False, "silent_since": now}
            rows[place : place + 1] = [] if event == "end" else [held(one.id.int, **facts(one) | changed)]
        tick(now, wants)
    for _ in range(40):
        rows = [held(one.id.int, **facts(one) | {"is_well": True, "silent_since": None}) for one in rows]
        now += timedelta(seconds=6)
        tick(now, wants)
    assert len([one for one in rows if one.is_current and one.drained_at is None]) == wants
    assert not [one for one in rows if not one.is_current]
