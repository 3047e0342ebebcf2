"""Placement against a plain model that tries every minute on every node."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mosu.compute.placement import (
    GIB,
    Card,
    Need,
    NodeView,
    Placement,
    Share,
    Taken,
    Unplaced,
    free_of,
    place,
)
from mosu.kernel.time import Period

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
FAR = NOW + timedelta(days=10)
HOUR = timedelta(hours=1)


def make_node(*, number: int = 1, cores: int = 8, memory_gib: int = 16, cards: int = 0, taken=()) -> NodeView:
    return NodeView(
        id=UUID(int=number),
        name=f"n{number}",
        cores=cores,
        memory_bytes=memory_gib * GIB,
        disk_bytes=100 * GIB,
        cards=tuple(Card(index, "nvidia-h100") for index in range(cards)),
        taken=tuple(taken),
    )


def make_need(*, cores: int = 2, memory_gib: int = 1, cards: int = 0) -> Need:
    return Need(
        cores=cores,
        memory_bytes=memory_gib * GIB,
        disk_bytes=GIB,
        accelerator="nvidia-h100" if cards else None,
        cards=cards,
    )


def taking(start_m: int, end_m: int | None, cores: int, cards=(), memory_gib: int = 1) -> Taken:
    end = None if end_m is None else NOW + timedelta(minutes=end_m)
    return Taken(NOW + timedelta(minutes=start_m), end, cores, memory_gib * GIB, frozenset(cards))


def test_an_empty_node_takes_it_at_once() -> None:
    found = place([make_node()], make_need(cores=8), earliest=NOW, latest=FAR, duration=HOUR)
    assert found == Placement(Period(NOW, NOW + HOUR), (Share(UUID(int=1)),))


def test_the_tightest_node_is_chosen() -> None:
    nodes = [make_node(number=1, cores=8), make_node(number=2, cores=4)]
    found = place(nodes, make_need(cores=4), earliest=NOW, latest=FAR, duration=HOUR)
    assert isinstance(found, Placement)
    assert [one.node_id for one in found.shares] == [UUID(int=2)]


def test_a_node_with_cards_is_kept_for_those_who_need_cards() -> None:
    nodes = [make_node(number=1, cores=4, cards=2), make_node(number=2, cores=64)]
    found = place(nodes, make_need(cores=4), earliest=NOW, latest=FAR, duration=HOUR)
    assert isinstance(found, Placement)
    assert [one.node_id for one in found.shares] == [UUID(int=2)]


def test_two_that_do_not_overlap_do_not_add_up() -> None:
    node = make_node(taken=[taking(0, 10, 6), taking(10, 20, 6)])
    assert free_of(node, Period(NOW, NOW + HOUR)).cores == 2


def test_full_now_starts_when_enough_is_released() -> None:
    node = make_node(taken=[taking(-5, 20, 4), taking(-5, 40, 4)])
    found = place([node], make_need(cores=6), earliest=NOW, latest=FAR, duration=HOUR)
    assert isinstance(found, Placement)
    assert found.period.start == NOW + timedelta(minutes=40)


def test_what_nobody_knows_the_end_of_never_comes_back() -> None:
    node = make_node(taken=[taking(-5, None, 8)])
    found = place([node], make_need(), earliest=NOW, latest=FAR, duration=HOUR)
    assert isinstance(found, Unplaced)
    assert (found.code, found.next_at) == ("full", None)


def test_past_the_deadline_the_refusal_names_numbers_and_the_next_start() -> None:
    node = make_node(taken=[taking(0, 20, 6)])
    found = place([node], make_need(cores=8), earliest=NOW, latest=NOW, duration=HOUR)
    assert isinstance(found, Unplaced)
    assert found.next_at == NOW + timedelta(minutes=20)
    assert "8 cores" in found.message
    assert "largest free is 2 cores" in found.message
    assert "2026-03-02 02:20" in found.message


def test_too_large_and_missing_cards_are_told_apart() -> None:
    large = place([make_node()], make_need(cores=9), earliest=NOW, latest=FAR, duration=HOUR)
    no_card = place([make_node()], make_need(cards=1), earliest=NOW, latest=FAR, duration=HOUR)
    none = place([], make_need(), earliest=NOW, latest=FAR, duration=HOUR)
    assert [one.code for one in (large, no_card, none) if isinstance(one, Unplaced)] == [
        "too_large",
        "no_such_card",
        "no_nodes",
    ]


_taken = st.builds(
    lambda start, length, cores, cards, memory: taking(
        start, None if length == 0 else start + length, cores, cards, memory
    ),
    st.integers(-10, 20),
    st.integers(0, 15),
    st.integers(1, 4),
    st.sets(st.integers(0, 2), max_size=2),
    st.integers(0, 3),
)
_nodes = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.lists(_taken, max_size=5)), max_size=3)


def _fits_at(node: NodeView, need: Need, start: int, minutes: int) -> bool:
    """The plain model: look at each minute, and for cards at all of them together."""
    busy: set[int] = set()
    for minute in range(start, start + minutes):
        at = NOW + timedelta(minutes=minute)
        held = [one for one in node.taken if one.start <= at and (one.end is None or at < one.end)]
        if sum(one.cores for one in held) + need.cores > node.cores:
            return False
        if sum(one.memory_bytes for one in held) + need.memory_bytes > node.memory_bytes:
            return False
        busy.update(*(one.cards for one in held))
    return len({card.index for card in node.cards} - busy) >= need.cards


@given(_nodes, st.integers(1, 6), st.integers(0, 2), st.integers(1, 12))
def test_placement_equals_trying_every_minute(shapes, cores, cards, minutes) -> None:
    nodes = [
        make_node(number=number, cores=size, memory_gib=6, cards=count, taken=taken)
        for number, (size, count, taken) in enumerate(shapes, 1)
    ]
    need = make_need(cores=cores, cards=cards, memory_gib=2)
    found = place(nodes, need, earliest=NOW, latest=FAR, duration=timedelta(minutes=minutes))
    first = next((at for at in range(60) if any(_fits_at(node, need, at, minutes) for node in nodes)), None)
    if isinstance(found, Unplaced):
        assert first is None
        return
    start = (found.period.start - NOW) // timedelta(minutes=1)
    assert start == first
    chosen = next(node for node in nodes if node.id == found.shares[0].node_id)
    assert _fits_at(chosen, need, start, minutes)
    assert len(set(found.shares[0].card_indices)) == cards
    held = [one for one in chosen.taken if one.overlaps(found.period)]
    assert not set(found.shares[0].card_indices) & set().union(*(one.cards for one in held))
