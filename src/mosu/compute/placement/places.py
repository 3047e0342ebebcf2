"""Where and when a need fits: nodes with what is taken of them go in, one placement or a refusal comes out. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from mosu.compute.placement.board import Board
from mosu.compute.placement.fleet import Fleet, Machine, Shape
from mosu.compute.placement.policies import DEFAULT, POLICIES, Policy, Size
from mosu.compute.placement.refusals import Unplaced, larger_than_all, taken_now
from mosu.compute.placement.views import Free, Need, NodeView, Placement, Share, cards_for, free_of
from mosu.kernel.time import Period
from mosu.wire.shares import kind_of

HORIZON: Final = timedelta(days=14)
"""How far ahead a start may be promised."""
_EXPECTED: Final = ((1, 8), (2, 4), (4, 2), (8, 1))
"""What a pool expects where nobody has said: so many whole cards, so often."""
_ONE_SHARE: Final = ((1, 1),)
"""Where cards are cut: a share is a card of its own kind, and nobody takes more than one of it on a node."""
_POLICIES_KEPT: Final = 256


def place(
    nodes: Sequence[NodeView],
    need: Need,
    *,
    earliest: datetime,
    latest: datetime,
    duration: timedelta,
    policy: str = DEFAULT,
) -> Placement | Unplaced:
    """The earliest start in `[earliest, latest]`, on the nodes of those that can then which the policy likes best.

    A need is met on as many distinct nodes as it names, on each whole, all at one time. The earliest start is
    `earliest` itself or the end of something taken: at no other moment does anything become free.
    """
    if need.joined:
        nodes = [node for node in nodes if node.reached]
    fitting = [node for node in nodes if node.is_large_enough(need)]
    if len(fitting) < need.nodes:
        return larger_than_all(nodes, fitting, need)
    starts = {earliest} | {
        taken.end for node in fitting for taken in node.taken if taken.end and taken.end > earliest
    }
    for start in sorted(starts):
        if start > earliest + HORIZON:
            break
        period = Period(start, start + duration)
        free = [_Room(node, left) for node in fitting if (left := free_of(node, period)).holds(need)]
        if len(free) < need.nodes:
            continue
        if start > latest:
            return taken_now(fitting, need, Period(earliest, earliest + duration), next_at=start)
        return _chosen(nodes, free, need, period, policy)
    return taken_now(fitting, need, Period(earliest, earliest + duration), next_at=None)


class _Room(NamedTuple):
    """A node, and what is free of it all through a period."""

    node: NodeView
    free: Free


def _chosen(
    nodes: Sequence[NodeView], rooms: Sequence[_Room], need: Need, period: Period, policy: str
) -> Placement:
    """The best of rooms that are all large enough, ranks in the order of the policy's liking."""
    if len(rooms) == need.nodes:
        best = list(rooms)
    else:
        by_name = sorted(rooms, key=lambda room: (room.node.name, room.node.id))
        fleet, shape = _fleet(by_name, need), _shape(need)
        board = Board(fleet, [shape], _policy(policy, _size(nodes, fleet.kinds)))
        places = board.choose_many(0, need.nodes) or []
        best = [by_name[one.node] for one in places]
    return Placement(
        period,
        tuple(Share(node.id, tuple(cards_for(need, free.cards)[: need.cards])) for node, free in best),
    )


def _fleet(rooms: Sequence[_Room], need: Need) -> Fleet:
    """The nodes as the policies see them, with what is free of them."""
    fleet = Fleet([_machine(room.node, need) for room in rooms])
    for number, (node, free) in enumerate(rooms):
        kind = fleet.machines[number].kind
        left = {card.index for card in free.cards}
        cards = [card for card in node.cards if card.accelerator == kind]
        fleet.hold(
            number,
            cpu_milli=(node.cores - free.cores) * 1000,
            memory=node.memory_bytes - free.memory_bytes,
            cards=[place for place, card in enumerate(cards) if card.index not in left],
        )
    return fleet


def _machine(node: NodeView, need: Need) -> Machine:
    kind = need.accelerator or (node.cards[0].accelerator if node.cards else "")
    cards = sum(card.accelerator == kind for card in node.cards)
    return Machine(node.name, node.cores * 1000, node.memory_bytes, cards, kind)


def _shape(need: Need) -> Shape:
    return Shape(need.cores * 1000, need.memory_bytes, need.cards)


def _size(nodes: Sequence[NodeView], kinds: Sequence[str]) -> Size:
    return Size(
        tuple(kinds), max(node.cores for node in nodes) * 1000, max(len(node.cards) for node in nodes)
    )


@lru_cache(_POLICIES_KEPT)
def _policy(name: str, size: Size) -> Policy:
    """For a pool of that size. It keeps nothing, so it is made once."""
    per_card = size.cpu_milli_max // max(1, size.cards_max)
    is_of_shares = any(kind_of(kind).shares > 1 for kind in size.kinds)
    expected = [
        Shape(per_card * cards, 0, cards)
        for cards, often in (_ONE_SHARE if is_of_shares else _EXPECTED)
        for _ in range(often)
        if cards <= size.cards_max
    ]
    return POLICIES[name](size, expected)
