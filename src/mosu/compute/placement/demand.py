"""What is expected to be asked for, and what it could use of a node: the worth of what is left.

Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent"
(USENIX ATC 2023): of a node's idle cards, demand t can use none if the node cannot run it, else those with enough
left; weighted by how often t is asked for, that is the worth of the node, and idle less worth is its fragmentation.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from mosu.compute.placement.fleet import MILLI, Floats, Ints, Shape


@dataclass(frozen=True, slots=True)
class Wish:
    """One kind of demand with its share of all."""

    cpu_milli: int
    cards: int
    milli: int
    kinds: frozenset[str]
    share: float


def typical(shapes: Iterable[Shape], *, cover: float = 1.0) -> tuple[Wish, ...]:
    """The most frequent demands that make up `cover` of the shapes (memory aside), their shares summing to 1."""
    counted = Counter((one.cpu_milli, one.cards, one.milli if one.cards else 0, one.kinds) for one in shapes)
    enough = cover * counted.total()
    kept: list[tuple[tuple[int, int, int, frozenset[str]], int]] = []
    so_far = 0
    for key, count in counted.most_common():
        kept.append((key, count))
        so_far += count
        if so_far >= enough:
            break
    return tuple(Wish(*key, share=count / so_far) for key, count in kept)


class Worth:
    """How many milli-cards of a node the expected demand could use, as tables: the sum over its cards of `single`
    (what demand of at most one card makes of it), and `whole` (what demand of several cards makes of the whole ones).
    """

    def __init__(self, cpu_steps: Ints, single: Floats, whole: Floats) -> None:
        self.cpu_steps = cpu_steps
        """Below each of these some demand lacks processor."""
        self.single = single
        """(kind, step, milli left of a card)"""
        self.whole = whole
        """(kind, step, whole cards)"""

    @classmethod
    def of(cls, wishes: Sequence[Wish], kinds: Sequence[str], cards_max: int, foresight: "Foresight") -> Self:
        steps = np.array(sorted({one.cpu_milli for one in wishes}), np.int64)
        single = np.zeros((len(kinds), len(steps) + 1, MILLI + 1))
        whole = np.zeros((len(kinds), len(steps) + 1, cards_max + 1))
        counts = np.arange(cards_max + 1)
        for step in range(len(steps)):
            for number, kind in enumerate(kinds):
                able = [
                    one
                    for one in wishes
                    if one.cards and one.cpu_milli <= steps[step] and (not one.kinds or kind in one.kinds)
                ]
                single[number, step + 1] = foresight.worth_of_card([one for one in able if one.cards == 1])
                for one in able:
                    if one.cards > 1:
                        whole[number, step + 1] += (
                            one.share * MILLI * np.where(counts >= one.cards, counts, 0)
                        )
        return cls(steps, single, whole)

    def step_of(self, cpu_milli: Ints) -> Ints:
        """The row of the tables for so much processor left."""
        return np.searchsorted(self.cpu_steps, cpu_milli, side="right")


@dataclass(frozen=True, slots=True)
class Foresight:
    """How far the worth of a card looks ahead.

    FGD looks at the next demand alone: a card that can take it counts whole, though what that demand leaves may be of
    no use. With `steps` demands drawn one after the other, each taken if it fits, what is filled in the end counts;
    `weight` mixes the two.
    """

    weight: float = 0.0
    steps: int = 0

    def worth_of_card(self, wishes: Sequence[Wish]) -> Floats:
        """By milli left, 0 to 1000."""
        left = np.arange(MILLI + 1)
        sizes: Counter[int] = Counter()
        for one in wishes:
            sizes[one.milli] += one.share  # type: ignore[assignment]
        first = np.zeros(MILLI + 1)
        for milli, share in sizes.items():
            first += share * np.where(left >= milli, left, 0)
        total = sum(sizes.values())
        if not self.weight or not total:
            return first
        filled = np.zeros(MILLI + 1)
        for _ in range(self.steps):
            now = np.zeros(MILLI + 1)
            for milli, share in sizes.items():
                now[milli:] += share / total * (milli + filled[: MILLI + 1 - milli])
                now[:milli] += share / total * filled[:milli]
            filled = now
        return (1 - self.weight) * first + self.weight * total * filled
