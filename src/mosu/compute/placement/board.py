"""A fleet with the scores of each node for each shape: a decision is a look-up, and what it touches is scored anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mosu.compute.placement.fleet import Fleet, Node, Shape, Shapes
from mosu.compute.placement.policies import UNFIT, Judged, Policy


class Place(NamedTuple):
    """A node by its row in the fleet, and the card for a share."""

    node: int
    card: int


class Board:
    """Chooses, takes and gives. `shapes` are all that will ever be asked for."""

    def __init__(self, fleet: Fleet, shapes: Sequence[Shape], policy: Policy) -> None:
        self.fleet, self._policy = fleet, policy
        self._shapes = Shapes(shapes, fleet.kinds)
        self._order = _in_order(fleet, policy)
        self._column = np.argsort(self._order, kind="stable").tolist()
        count = len(fleet.machines)
        # A column per node, in the order in which equals are chosen.
        self._scores = np.full((len(shapes), count), UNFIT, np.int64)
        self._cards = np.zeros((len(shapes), count), np.int64)
        alike: dict[Node, Judged] = {}
        for number, column in enumerate(self._column):
            node = fleet.node(number)
            if node not in alike:
                alike[node] = policy.judge(node, self._shapes)
            self._scores[:, column], self._cards[:, column] = alike[node]

    def choose(self, shape: int) -> Place | None:
        """Where the policy puts the shape (by its number); None where it fits nowhere."""
        row = self._scores[shape]
        column = int(row.argmax())
        return self._place(shape, column) if row[column] != UNFIT else None

    def choose_many(self, shape: int, count: int) -> list[Place] | None:
        """Distinct nodes for a gang, best first; None where it finds too few."""
        row = self._scores[shape]
        columns = np.argsort(-row, kind="stable")[:count]
        if len(columns) < count or row[columns[-1]] == UNFIT:
            return None
        return [self._place(shape, column) for column in columns.tolist()]

    def take(self, shape: int, place: Place) -> tuple[int, ...]:
        """Take it; the cards that it has now."""
        taken = self.fleet.take(place.node, self._shapes.of[shape], place.card)
        self._score(place.node)
        return taken

    def give(self, shape: int, node: int, taken: Sequence[int]) -> None:
        """Back what `take` took."""
        self.fleet.give(node, self._shapes.of[shape], taken)
        self._score(node)

    def _place(self, shape: int, column: int) -> Place:
        return Place(self._order[column], int(self._cards[shape, column]))

    def _score(self, number: int) -> None:
        column = self._column[number]
        judged = self._policy.judge(self.fleet.node(number), self._shapes)
        self._scores[:, column], self._cards[:, column] = judged


def _in_order(fleet: Fleet, policy: Policy) -> list[int]:
    """The nodes as they are chosen among equals (`Policy.set_back`)."""
    most = max((one.cards for one in fleet.machines), default=0) or 1
    back = policy.set_back * len(fleet.machines) / most
    return sorted(range(len(fleet.machines)), key=lambda number: number + back * fleet.machines[number].cards)
