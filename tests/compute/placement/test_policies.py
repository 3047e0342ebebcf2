"""Policies against the arithmetic of the paper, and a board against scoring everything anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosu.compute.placement.board import Board
from mosu.compute.placement.demand import Foresight, Worth, typical
from mosu.compute.placement.fleet import MILLI, Fleet, Machine, Node, Shape, Shapes
from mosu.compute.placement.policies import POLICIES, UNFIT, Size
from mosu.compute.placement.replay import policy_for

SIZE = Size(("A", "B"), 64_000, 4)


def pod(cpu: int = 1000, cards: int = 0, milli: int = MILLI, kinds: str = "") -> Shape:
    return Shape(cpu, 1, cards, milli, frozenset(kinds.split("|")) - {""})


def fragmentation(node: Node, expected: list[Shape], kinds: tuple[str, ...]) -> float:
    """The paper's formula, demand by demand: of idle cards, what each cannot use."""
    idle, lost = sum(node.cards), 0.0
    for one in expected:
        able = (
            one.cards
            and one.cpu_milli <= node.cpu_milli
            and (not one.kinds or kinds[node.kind] in one.kinds)
            and sum(left >= one.milli for left in node.cards) >= one.cards
        )
        lost += sum(left for left in node.cards if left < one.milli) if able else idle
    return lost / len(expected)


_pods = st.builds(
    pod,
    st.sampled_from([1000, 4000, 8000]),
    st.sampled_from([0, 1, 1, 2, 4]),
    st.just(MILLI),
    st.sampled_from(["", "A", "B", "A|B"]),
) | st.builds(pod, st.sampled_from([1000, 4000]), st.just(1), st.sampled_from([200, 500, 810]), st.just(""))
_nodes = st.builds(
    Node,
    st.sampled_from([0, 2000, 8000, 64_000]),
    st.just(10),
    st.lists(st.sampled_from([0, 190, 500, 1000, 1000]), max_size=4).map(tuple),
    st.integers(0, 1),
)


@given(st.lists(_pods, min_size=1, max_size=8), _nodes)
def test_worth_is_what_is_idle_less_the_fragmentation_of_the_paper(expected: list[Shape], node: Node) -> None:
    worth = Worth.of(typical(expected), SIZE.kinds, SIZE.cards_max, Foresight())
    step = int(worth.step_of(np.array(node.cpu_milli)))
    found = sum(worth.single[node.kind, step, left] for left in node.cards)
    found += worth.whole[node.kind, step, node.cards.count(MILLI)]
    # Of several cards the tables count whole ones alone: as the paper where what is shared holds nothing for them.
    assert found == pytest.approx(sum(node.cards) - fragmentation(node, expected, SIZE.kinds))


@given(st.lists(_pods, min_size=1, max_size=8, unique=True), _nodes, st.sampled_from(sorted(POLICIES)))
def test_a_node_is_judged_fit_as_one_would_by_hand(shapes: list[Shape], node: Node, name: str) -> None:
    judged = POLICIES[name](SIZE, shapes).judge(node, Shapes(shapes, SIZE.kinds))
    for number, one in enumerate(shapes):
        ready = [card for card, left in enumerate(node.cards) if left >= one.milli]
        fits = (
            one.cpu_milli <= node.cpu_milli
            and len(ready) >= one.cards
            and (not one.kinds or SIZE.kinds[node.kind] in one.kinds)
        )
        assert (judged.scores[number] != UNFIT) == fits
        assert not fits or 0 <= judged.scores[number] <= 100
        if fits and one.cards == 1 and one.milli < MILLI:
            assert judged.cards[number] in ready


def test_fgd_breaks_no_whole_card_where_a_broken_one_will_do() -> None:
    expected = [pod(cards=1)] * 9 + [pod(cards=1, milli=500)]
    node = Node(64_000, 10, (1000, 500, 1000), 0)
    judged = POLICIES["fgd"](SIZE, expected).judge(node, Shapes([expected[-1]], SIZE.kinds))
    assert judged.cards.tolist() == [1]


def test_foresight_sees_that_what_is_left_will_be_of_no_use() -> None:
    wishes = typical([pod(cards=1, milli=810)])
    near, far = (one.worth_of_card(wishes) for one in (Foresight(), Foresight(weight=1, steps=8)))
    assert (near[1000], far[1000]) == (1000, 810)
    assert near[190] == far[190] == 0


def test_typical_demand_is_cut_after_the_most_frequent() -> None:
    found = typical([pod(cards=1)] * 19 + [pod(cards=2)], cover=0.95)
    assert [(one.cards, one.share) for one in found] == [(1, 1.0)]


def test_equals_go_to_the_smallest_name_but_ours_to_a_small_machine() -> None:
    machines = [Machine(f"n{number}", 8000, 10, 1 if number == 1 else 4, "A") for number in range(6)]
    shape = pod(cards=1)

    def chosen(name: str) -> int:
        fleet = Fleet(machines)
        place = Board(fleet, [shape], policy_for(name, fleet, [shape])).choose(0)
        assert place is not None
        return place.node

    assert (chosen("fgd"), chosen("mosu")) == (0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30),
    st.lists(_pods, min_size=6, max_size=6, unique=True),
    st.sampled_from(sorted(POLICIES)),
)
def test_a_board_that_took_and_gave_is_like_one_made_anew(
    steps: list[tuple[int, bool]], shapes: list[Shape], name: str
) -> None:
    machines = [Machine(f"n{number}", 16_000, 9, number % 3, "AB"[number % 2]) for number in range(5)]
    fleet = Fleet(machines)
    board = Board(fleet, shapes, policy_for(name, fleet, shapes))
    held = []
    for number, gives in steps:
        if gives and held:
            board.give(*held.pop())
            continue
        place = board.choose(number)
        if place is not None:
            held.append((number, place.node, board.take(number, place)))
    anew = Board(fleet, shapes, policy_for(name, Fleet(machines), shapes))
    assert [board.choose(number) for number in range(6)] == [anew.choose(number) for number in range(6)]
    for one in reversed(held):
        board.give(*one)
    assert [fleet.node(number) for number in range(5)] == [
        Fleet(machines).node(number) for number in range(5)
    ]


def test_a_gang_gets_distinct_nodes_or_none() -> None:
    fleet = Fleet([Machine(f"n{number}", 8000, 10, 4, "A") for number in range(3)])
    shape = pod(cards=4)
    board = Board(fleet, [shape], policy_for("mosu", fleet, [shape]))
    found = board.choose_many(0, 3)
    assert found is not None
    assert {one.node for one in found} == {0, 1, 2}
    assert board.choose_many(0, 4) is None
    assert fleet.node(0).cards == (1000,) * 4
