"""Ids: sortable inside, typed at the edge."""

import time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.kernel.ids import typeid, uuid7, uuid_of
from mosu.kernel.refusals import NotFound


def test_uuid7_has_its_version_variant_and_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after
    assert len({uuid7() for _ in range(1000)}) == 1000


def test_uuid7_sorts_as_it_was_made_within_a_millisecond_too() -> None:
    made = [uuid7() for _ in range(1000)]
    assert made == sorted(made)


def test_the_specifications_example() -> None:
    value = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert typeid("prefix", value) == "prefix_01h455vb4pex5vsknk084sn02q"


@given(st.uuids(), st.sampled_from(["run", "order", "a_b"]))
def test_there_and_back(value: UUID, prefix: str) -> None:
    text = typeid(prefix, value)
    assert uuid_of(prefix, text) == value
    with pytest.raises(NotFound):
        uuid_of("other", text)


@given(st.uuids(), st.uuids())
def test_text_sorts_as_the_value(one: UUID, other: UUID) -> None:
    assert (one < other) == (typeid("run", one) < typeid("run", other))


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(NotFound):
        uuid_of("run", text)


@pytest.mark.parametrize(
    "body", ["", "8" + "0" * 25, "0" * 25, "0" * 27, "u" + "0" * 25, "0" * 25 + "i", "0" * 25 + "A"]
)
def test_near_misses_are_refused(body: str) -> None:
    with pytest.raises(NotFound):
        uuid_of("run", f"run_{body}")
