"""Nodes and what they may be asked for, as numbers. Memory is in any one unit, the same throughout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MILLI: Final = 1000
"""Of a whole card: the unit in which cards are shared."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shape:
    """What one node must have free for a pod. Less than a whole card is a share of one card."""

    cpu_milli: int
    memory: int
    cards: int = 0
    milli: int = MILLI
    """Of each card."""
    kinds: frozenset[str] = frozenset()
    """The accelerators that will do; empty where any does."""

    @property
    def card_milli(self) -> int:
        return self.cards * self.milli


class Node(NamedTuple):
    """What is free of a node now."""

    cpu_milli: int
    memory: int
    cards: Sequence[int]
    """Milli-cards left of each card."""
    kind: int
    """Its accelerator, by number."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node as it is when empty."""

    name: str
    cpu_milli: int
    memory: int
    cards: int
    kind: str


class Shapes:
    """Shapes in columns: row s of each array is shape s."""

    def __init__(self, shapes: Sequence[Shape], kinds: Sequence[str]) -> None:
        self.of = tuple(shapes)
        self.cpu: Ints = np.array([one.cpu_milli for one in shapes], np.int64)
        self.memory: Ints = np.array([one.memory for one in shapes], np.int64)
        self.cards: Ints = np.array([one.cards for one in shapes], np.int64)
        self.milli: Ints = np.array([one.milli if one.cards else 0 for one in shapes], np.int64)
        self.card_milli: Ints = self.cards * self.milli
        self.is_share: Bools = (self.cards == 1) & (self.milli < MILLI)
        self.whole: Ints = np.where(self.is_share, 0, self.cards)
        self._suits: Bools = np.array(
            [[not one.kinds or kind in one.kinds for one in shapes] for kind in kinds], np.bool_
        )

    def fitting(self, node: Node) -> Ints:
        """The rows of the shapes for which the node has room."""
        # A shape of k cards fits if the k-th fullest card has enough; the first stands for shapes without cards.
        most = np.array([MILLI, *sorted(node.cards, reverse=True)], np.int64)
        return np.flatnonzero(
            (self.cpu <= node.cpu_milli)
            & (self.memory <= node.memory)
            & self._suits[node.kind]
            & (self.cards < len(most))
            & (most.take(self.cards, mode="clip") >= self.milli)
        )


class Fleet:
    """All nodes of a cluster in the order of their names, and what is free of them. Mutable: it takes and gives."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.machines = tuple(sorted(machines, key=lambda one: one.name))
        self.kinds = tuple(sorted({one.kind for one in self.machines}))
        self._kind = [self.kinds.index(one.kind) for one in self.machines]
        self._cpu = [one.cpu_milli for one in self.machines]
        self._memory = [one.memory for one in self.machines]
        self._cards = [[MILLI] * one.cards for one in self.machines]
        self.milli_total = sum(one.cards for one in self.machines) * MILLI

    def node(self, number: int) -> Node:
        return Node(self._cpu[number], self._memory[number], tuple(self._cards[number]), self._kind[number])

    def hold(self, number: int, *, cpu_milli: int, memory: int, cards: Sequence[int]) -> None:
        """Something else has so much of the node, and these cards whole."""
        self._cpu[number] -= cpu_milli
        self._memory[number] -= memory
        for index in cards:
            self._cards[number][index] = 0

    def take(self, number: int, shape: Shape, card: int) -> tuple[int, ...]:
        """Take the shape from the node, a share from `card`; the cards that it now has."""
        self._cpu[number] -= shape.cpu_milli
        self._memory[number] -= shape.memory
        cards = self._cards[number]
        if shape.milli < MILLI:
            taken = (card,) * shape.cards
        else:
            taken = tuple(index for index, left in enumerate(cards) if left == MILLI)[: shape.cards]
        for index in taken:
            cards[index] -= shape.milli
        return taken

    def give(self, number: int, shape: Shape, taken: Sequence[int]) -> None:
        """Back what `take` took."""
        self._cpu[number] += shape.cpu_milli
        self._memory[number] += shape.memory
        for index in taken:
            self._cards[number][index] += shape.milli
