"""Which node of those that fit: policies behind one interface, for the hub's promises and the simulators alike.

| name | chooses |
|---|---|
| `best-fit` | the node that is left with the least |
| `fgd` | the node on which the least becomes useless to the demand expected (ATC 2023) |
| `mosu` | the same, of all demand instead of the most frequent, and looking further than the next demand; the default |
| `spread` | the node that is left with the most: runs share links, disks and failures with the fewest others |

Of equals `mosu` takes rather a small machine, the others the node with the smallest name.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mosu.compute.placement.demand import Foresight, Worth, typical
from mosu.compute.placement.fleet import MILLI, Floats, Ints, Node, Shape, Shapes

UNFIT: Final = -1
"""The score of a node that cannot take the shape."""
BEST: Final = 100


class Judged(NamedTuple):
    """Of one node, by shape."""

    scores: Ints
    """0 to 100; `UNFIT` where it does not fit."""
    cards: Ints
    """Which card a share goes to; 0 for other shapes."""


class Policy(Protocol):
    """Judges a node for shapes. It keeps nothing: the same node and shapes have the same scores."""

    set_back: float
    """Of equals the first by name is taken; but each machine stands back behind the others by this part of the fleet
    times its cards over those of the largest machine."""

    def judge(self, node: Node, shapes: Shapes) -> Judged: ...


class BestFit:
    """Half the score for processor and half for cards that are left, against the largest node: the fullest first."""

    set_back = 0.0

    def __init__(self, size: "Size") -> None:
        self._cpu_max, self._milli_max = max(1, size.cpu_milli_max), max(1, size.cards_max * MILLI)

    def judge(self, node: Node, shapes: Shapes) -> Judged:
        judged = _unfit(shapes)
        rows = shapes.fitting(node)
        cpu = (node.cpu_milli - shapes.cpu[rows]) / self._cpu_max
        milli = (sum(node.cards) - shapes.card_milli[rows]) / self._milli_max
        judged.scores[rows] = self._score((cpu + milli) / 2)
        shares = rows[shapes.is_share[rows]]
        if shares.size:
            left = np.array(node.cards, np.int64)
            judged.cards[shares] = self._card(left, left >= shapes.milli[shares][:, None])
        return judged

    def _score(self, left: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(0, BEST * (1 - left))

    def _card(self, left: NDArray[np.int64], holds: NDArray[np.bool_]) -> NDArray[np.int64]:
        """By share, the card it goes to: the fullest that holds it."""
        found: NDArray[np.int64] = np.where(holds, left, MILLI + 1).argmin(axis=1)
        return found


class Spread(BestFit):
    """The same the other way round: the emptiest node first, and on it the emptiest card."""

    def _score(self, left: NDArray[np.float64]) -> NDArray[np.float64]:
        return BEST * left

    def _card(self, left: NDArray[np.int64], holds: NDArray[np.bool_]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.where(holds, left, UNFIT).argmax(axis=1)
        return found


class ByWorth:
    """The less of the node's worth is lost beyond what is taken, the better: 100 times the sigmoid of what becomes
    useful (negative: useless), in whole cards. Nodes without cards come before, the fullest first.
    """

    def __init__(self, worth: Worth, *, cpu_milli_max: int, set_back: float) -> None:
        self._worth, self._cpu_max, self.set_back = worth, max(1, cpu_milli_max), set_back

    def judge(self, node: Node, shapes: Shapes) -> Judged:
        judged = _unfit(shapes)
        rows = shapes.fitting(node)
        if not rows.size:
            return judged
        if not node.cards:
            left = (node.cpu_milli - shapes.cpu[rows]) / self._cpu_max
            judged.scores[rows] = BEST * (1 - left / 2)
            return judged
        worth = self._worth
        step = worth.step_of(node.cpu_milli - shapes.cpu[rows])
        single, whole = worth.single[node.kind], worth.whole[node.kind]
        free, taken = node.cards.count(MILLI), shapes.whole[rows]
        each_step = single[:, node.cards].sum(axis=1)
        after = each_step[step] - taken * single[step, MILLI] + whole[step, free - taken]
        is_share = shapes.is_share[rows]
        shares = rows[is_share]
        if shares.size:
            at = step[is_share]
            breaks = whole[at, max(0, free - 1)] - whole[at, free]
            judged.cards[shares], gain = _best_card(node, single, at, shapes.milli[shares], breaks)
            after[is_share] += gain
        now = int(worth.step_of(np.array(node.cpu_milli, np.int64)))
        before = each_step[now] + whole[now, free]
        useful = shapes.card_milli[rows] + after - before
        judged.scores[rows] = BEST / (1 + np.exp(-useful / MILLI))
        return judged


def _best_card(node: Node, single: Floats, step: Ints, milli: Ints, breaks: Floats) -> tuple[Ints, Floats]:
    """For each share the card on which it costs the least worth, and what the worth gains there.

    `breaks`: what it gains besides where a whole card is broken.
    """
    levels = sorted(set(node.cards))  # cards that are equally full are equal: the first of them
    left = np.array(levels, np.int64)
    rest = left - milli[:, None]
    gain = single[step[:, None], np.maximum(rest, 0)] - single[step[:, None], left]
    if levels[-1] == MILLI:
        gain[:, -1] += breaks
    gain[rest < 0] = -np.inf
    best = gain.argmax(axis=1)
    first = np.array([node.cards.index(level) for level in levels], np.int64)
    return first[best], gain[np.arange(len(best)), best]


def _unfit(shapes: Shapes) -> Judged:
    count = len(shapes.of)
    return Judged(np.full(count, UNFIT, np.int64), np.zeros(count, np.int64))


class Size(NamedTuple):
    """What a policy must know of a cluster before it judges any node of it."""

    kinds: Sequence[str]
    """Its accelerators; `Node.kind` counts in them."""
    cpu_milli_max: int
    """Of the largest node."""
    cards_max: int


def _best_fit(size: Size, expected: Sequence[Shape]) -> Policy:
    return BestFit(size)


def _spread(size: Size, expected: Sequence[Shape]) -> Policy:
    return Spread(size)


def _fgd(size: Size, expected: Sequence[Shape]) -> Policy:
    worth = Worth.of(typical(expected, cover=0.95), size.kinds, size.cards_max, Foresight())
    return ByWorth(worth, cpu_milli_max=size.cpu_milli_max, set_back=0)


def _mosu(size: Size, expected: Sequence[Shape]) -> Policy:
    worth = Worth.of(typical(expected), size.kinds, size.cards_max, Foresight(weight=0.75, steps=8))
    return ByWorth(worth, cpu_milli_max=size.cpu_milli_max, set_back=1 / 3)


POLICIES: Final[Mapping[str, Callable[[Size, Sequence[Shape]], Policy]]] = MappingProxyType(
    {"best-fit": _best_fit, "fgd": _fgd, "mosu": _mosu, "spread": _spread}
)
"""By name: makes the policy for a cluster of that size, where such shapes are expected."""
DEFAULT: Final = "mosu"
