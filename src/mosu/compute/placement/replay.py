"""Pods that arrive one after the other and stay: what a policy has allocated when all cards have been asked for.

The semantics are those of the ATC 2023 artifact: arrivals in an order shuffled by a seed, filled up by draws with
replacement until they ask for all cards; a pod that fits nowhere is dropped; nothing leaves.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mosu.compute.placement.board import Board
from mosu.compute.placement.fleet import Fleet, Machine, Shape
from mosu.compute.placement.policies import POLICIES, Policy, Size
from mosu.compute.placement.traces import Pod

Progress = Callable[[int], None]
"""Told how many more decisions are made."""
_TOLD_EVERY = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one seed came to."""

    allocated_percent: float
    """Of all cards, when as many have been asked for, dropped pods included."""
    refused: int
    refused_cards: float
    """Pods of the list that found no place when each had asked once, and what cards they asked for."""
    decisions: int
    seconds: float


def replay(
    machines: Sequence[Machine],
    pods: Sequence[Pod],
    *,
    policy: str,
    seed: int,
    tell: Progress = lambda _: None,
) -> Replayed:
    """Play the pods once in the seed's order, and on until all cards have been asked for."""
    began = time.perf_counter()
    shapes = shapes_of(pods)
    number = {shape: place for place, shape in enumerate(shapes)}
    fleet = Fleet(machines)
    board = Board(fleet, shapes, policy_for(policy, fleet, [one.shape for one in pods]))
    asked = allocated = 0
    at_100: float | None = None
    decisions = 0
    refused: Counter[Shape] = Counter()
    for pod in _arrivals(pods, fleet.milli_total, seed=seed):
        shape = pod.shape
        place = board.choose(number[shape])
        if place is not None:
            board.take(number[shape], place)
            allocated += shape.card_milli
        elif decisions < len(pods):
            refused[shape] += 1
        asked += shape.card_milli
        decisions += 1
        if at_100 is None and asked >= fleet.milli_total:
            at_100 = 100 * allocated / max(1, fleet.milli_total)
        if decisions % _TOLD_EVERY == 0:
            tell(_TOLD_EVERY)
    tell(decisions % _TOLD_EVERY)
    return Replayed(
        allocated_percent=100 * allocated / max(1, fleet.milli_total) if at_100 is None else at_100,
        refused=refused.total(),
        refused_cards=sum(shape.card_milli * count for shape, count in refused.items()) / 1000,
        decisions=decisions,
        seconds=time.perf_counter() - began,
    )


def shapes_of(pods: Sequence[Pod]) -> list[Shape]:
    """All that they ask for, each once."""
    return sorted({one.shape for one in pods}, key=_columns)


def policy_for(name: str, fleet: Fleet, expected: Sequence[Shape]) -> Policy:
    """The policy for the fleet as it is when empty."""
    size = Size(
        fleet.kinds,
        max((one.cpu_milli for one in fleet.machines), default=0),
        max((one.cards for one in fleet.machines), default=0),
    )
    return POLICIES[name](size, expected)


def _arrivals(pods: Sequence[Pod], milli_total: int, *, seed: int) -> Iterator[Pod]:
    random = np.random.default_rng(seed)
    asked = 0
    for number in random.permutation(len(pods)).tolist():
        asked += pods[number].shape.card_milli
        yield pods[number]
    if not asked:  # nobody asks for cards, so they never will have been asked for
        return
    while asked < milli_total:
        pod = pods[int(random.integers(len(pods)))]
        asked += pod.shape.card_milli
        yield pod


def _columns(shape: Shape) -> tuple[int, int, int, int, list[str]]:
    return shape.cpu_milli, shape.memory, shape.cards, shape.milli, sorted(shape.kinds)
