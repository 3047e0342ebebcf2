"""Pods that wait where they fit nowhere, instead of being dropped: who waits, and for how long.

Each comes when it came and stays as long as it stayed. They stand in line as they came; one that fits passes those
that do not. Nothing is preempted, and how long a pod will stay is used to end it and for nothing else.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from mosu.compute.placement.board import Board
from mosu.compute.placement.fleet import MILLI, Fleet, Machine, Shape
from mosu.compute.placement.replay import policy_for, shapes_of
from mosu.compute.placement.traces import Pod
from mosu.compute.placement.waits import Waits
from mosu.kernel.refusals import Invalid

SIZES: Final = ("0", "<1", "1", "2-4", "5+")
"""Of pods that are told apart, in cards."""
_TOLD_EVERY = 500


@dataclass(frozen=True, slots=True)
class PodWaits:
    """Of all pods that started, by how many cards they want."""

    all: Waits
    by_size: Mapping[str, Waits]
    waited: Mapping[str, int]
    """How many of a size did not start at once."""
    too_large: int
    """Pods that would not fit if the cluster were empty."""

    def as_json(self) -> dict[str, Any]:
        by_size = {size: one.as_json() | {"waited": self.waited[size]} for size, one in self.by_size.items()}
        waited = {"waited": sum(self.waited.values())}
        return {"wait": self.all.as_json() | waited, "by_cards": by_size, "too_large": self.too_large}


class _Coming(NamedTuple):
    """A pod in line; `number` is its place in it."""

    at: float
    number: int
    pod: Pod


def queue_pods(
    machines: Sequence[Machine],
    pods: Sequence[Pod],
    *,
    policy: str,
    tell: Callable[[int], None] = lambda _: None,
) -> PodWaits:
    """Let the pods go through the cluster, their nodes chosen by the policy.

    Raises:
        Invalid: of a pod it is not known when it left.
    """
    _check_times(pods)
    shapes = shapes_of(pods)
    row = {shape: number for number, shape in enumerate(shapes)}
    fleet = Fleet(machines)
    board = Board(fleet, shapes, policy_for(policy, fleet, [one.shape for one in pods]))
    fits = [board.choose(number) is not None for number in range(len(shapes))]
    line = [pod for pod in sorted(pods, key=lambda one: one.created_s) if fits[row[pod.shape]]]
    coming = deque(_Coming(pod.created_s, number, pod) for number, pod in enumerate(line))
    waiting: dict[int, deque[_Coming]] = defaultdict(deque)
    running: list[tuple[float, int, int, int, tuple[int, ...]]] = []
    waits: dict[str, list[float]] = {size: [] for size in SIZES}
    while coming or running:
        now = min(coming[0].at if coming else math.inf, running[0][0] if running else math.inf)
        while running and running[0][0] <= now:
            _, _, shape, node, taken = heapq.heappop(running)
            board.give(shape, node, taken)
        while coming and coming[0].at <= now:
            waiting[row[coming[0].pod.shape]].append(coming.popleft())
        for shape, one in _starting(waiting, board):
            place = board.choose(shape)
            assert place is not None  # noqa: S101 - asked just now
            taken = board.take(shape, place)
            waits[_size(one.pod.shape)].append(now - one.at)
            heapq.heappush(running, (now + (one.pod.lasts_s or 0), one.number, shape, place.node, taken))
            if one.number % _TOLD_EVERY == 0:
                tell(_TOLD_EVERY)
    return PodWaits(
        all=Waits.of([wait for some in waits.values() for wait in some]),
        by_size={size: Waits.of(some) for size, some in waits.items()},
        waited={size: sum(wait > 0 for wait in some) for size, some in waits.items()},
        too_large=len(pods) - len(line),
    )


def paced(pods: Sequence[Pod], pace: float) -> list[Pod]:
    """Coming so many times as fast as they came, staying as long."""
    return [replace(pod, created_s=pod.created_s / pace) for pod in pods]


def scaled(machines: Sequence[Machine], scale: float) -> list[Machine]:
    """So many times the machines of each kind, rounded up: the first of them by name."""
    left = Counter(
        {kind: math.ceil(round(count * scale, 9)) for kind, count in Counter(map(_kind, machines)).items()}
    )
    kept = []
    for machine in sorted(machines, key=lambda one: one.name):
        if left[_kind(machine)]:
            left[_kind(machine)] -= 1
            kept.append(machine)
    return kept


def _starting(waiting: Mapping[int, deque[_Coming]], board: Board) -> Iterator[tuple[int, _Coming]]:
    """Who starts now, one after the other as they came; each takes its place before the next is asked for."""
    heads = [(jobs[0].number, shape) for shape, jobs in waiting.items() if jobs]
    heapq.heapify(heads)
    while heads:
        _, shape = heapq.heappop(heads)
        if board.choose(shape) is None:
            continue
        yield shape, waiting[shape].popleft()
        if waiting[shape]:
            heapq.heappush(heads, (waiting[shape][0].number, shape))


def _check_times(pods: Sequence[Pod]) -> None:
    unknown = next((pod for pod in pods if pod.lasts_s is None), None)
    if unknown is not None:
        raise Invalid(
            f"It is not known how long pod {unknown.name[:60]!r} stayed.",
            hint="--queue needs creation_time and deletion_time of every pod.",
            field="deletion_time",
        )


def _kind(machine: Machine) -> tuple[int, int, int, str]:
    return machine.cpu_milli, machine.memory, machine.cards, machine.kind


def _size(shape: Shape) -> str:
    if shape.cards <= 1:
        return "0" if not shape.cards else "1" if shape.milli == MILLI else "<1"
    return "2-4" if shape.cards <= 4 else "5+"
