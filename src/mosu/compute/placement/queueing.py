"""Jobs that wait for whole cards of a cluster: who starts next, and how long each waited. Nothing is preempted.

A discipline knows of a job what a hub knows when it is asked: when it came and how many cards it wants. How long it
will last it must learn from jobs that have ended.
"""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from mosu.compute.placement.board import Board, Place
from mosu.compute.placement.fleet import Fleet, Machine, Shape
from mosu.compute.placement.replay import policy_for
from mosu.compute.placement.traces import Cluster, Job


class Learnt:
    """How long jobs lasted that have ended, by how many cards they had."""

    KEPT: Final = 50
    """Of the latest with as many cards."""
    UNKNOWN_S: Final = 3600.0
    _SHORT_S: Final = 60.0
    """Added to each, so that jobs that failed at once do not outweigh all others."""

    def __init__(self) -> None:
        self._by_cards: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=self.KEPT))
        self._all: deque[float] = deque(maxlen=self.KEPT)

    def ended(self, job: Job) -> None:
        logarithm = math.log(job.lasts_s + self._SHORT_S)
        self._by_cards[job.cards].append(logarithm)
        self._all.append(logarithm)

    def expected_s(self, cards: int) -> float:
        """The geometric mean of the latest with as many cards; of any where they are under three."""
        known = self._by_cards.get(cards, ())
        known = known if len(known) >= 3 else self._all
        return math.exp(sum(known) / len(known)) if known else self.UNKNOWN_S


class Discipline(NamedTuple):
    """Who starts next: of the first of each number of cards that wait, the one with the smallest key."""

    key: Callable[[Job, Learnt, float], tuple[float, ...]]
    """Of a job, what is learnt, and now."""
    passes: bool
    """Whether one that fits may start before one that does not."""


def _came(job: Job, learnt: Learnt, now: float) -> tuple[float, ...]:
    return (job.submitted_s,)


def _waited_most(job: Job, learnt: Learnt, now: float) -> tuple[float, ...]:
    """Highest response ratio next (Brinch Hansen, 1971): the wait against what it is expected to last.

    Short jobs go before long ones, and nobody waits for ever: the ratio of who waits grows without bound.
    """
    return (-(now - job.submitted_s) / learnt.expected_s(job.cards), job.submitted_s)


DISCIPLINES: Final[Mapping[str, Discipline]] = MappingProxyType(
    {
        "fifo": Discipline(_came, passes=False),
        "backfill": Discipline(_came, passes=True),
        "mosu": Discipline(_waited_most, passes=True),
    }
)


@dataclass(frozen=True, slots=True)
class Waited:
    """A job that has started."""

    cards: int
    wait_s: float


@dataclass(frozen=True, slots=True)
class Queued:
    """What became of all jobs of a cluster."""

    waits: Sequence[Waited]
    too_large: int
    """How many want more cards than there are."""


def wait_in(
    cluster: Cluster, jobs: Sequence[Job], *, discipline: str, policy: str, tell: Callable[[int], None]
) -> Queued:
    """Let the jobs, by time of submission, go through the cluster; `policy` chooses their nodes."""
    rule, learnt, room = DISCIPLINES[discipline], Learnt(), _Room(cluster, jobs, policy=policy)
    fitting = [job for job in jobs if job.cards <= cluster.nodes * cluster.cards]
    waiting: dict[int, deque[Job]] = defaultdict(deque)
    running: list[tuple[float, int, Job, _Held]] = []
    waits: list[Waited] = []
    coming = deque(fitting)
    while coming or running:
        now = min([coming[0].submitted_s] if coming else [], default=math.inf)
        now = min(now, running[0][0]) if running else now
        while running and running[0][0] <= now:
            _, _, job, held = heapq.heappop(running)
            room.give(held)
            learnt.ended(job)
        while coming and coming[0].submitted_s <= now:
            job = coming.popleft()
            waiting[job.cards].append(job)
        for job, held in _start(waiting, rule, learnt, room, now):
            waits.append(Waited(job.cards, now - job.submitted_s))
            heapq.heappush(running, (now + job.lasts_s, len(waits), job, held))
            tell(1)
    tell(len(jobs) - len(fitting))
    return Queued(waits, too_large=len(jobs) - len(fitting))


def _start(
    waiting: Mapping[int, deque[Job]], rule: Discipline, learnt: Learnt, room: "_Room", now: float
) -> "list[tuple[Job, _Held]]":
    """All that start now, taken from those that wait."""
    started = []
    open_sizes = {cards for cards, jobs in waiting.items() if jobs}
    while open_sizes:
        cards = min(open_sizes, key=lambda size: rule.key(waiting[size][0], learnt, now))
        held = room.take(cards)
        if held is not None:
            started.append((waiting[cards].popleft(), held))
        elif not rule.passes:
            break
        if held is None or not waiting[cards]:
            open_sizes.remove(cards)
    return started


class _Held(NamedTuple):
    """What a job has: by node the shape's number and its cards."""

    shares: tuple[tuple[int, int, tuple[int, ...]], ...]


class _Room:
    """The nodes of a cluster. Up to a node's cards go on one node; more take whole nodes and the rest on another."""

    def __init__(self, cluster: Cluster, jobs: Sequence[Job], *, policy: str) -> None:
        self._each = cluster.cards
        shapes = [Shape(0, 0, cards) for cards in range(1, cluster.cards + 1)]
        fleet = Fleet([Machine(f"{number:06d}", 0, 0, cluster.cards, "") for number in range(cluster.nodes)])
        asked = Counter(min(job.cards, cluster.cards) for job in jobs if job.cards)
        self._board = Board(
            fleet, shapes, policy_for(policy, fleet, [Shape(0, 0, cards) for cards in asked.elements()])
        )

    def take(self, cards: int) -> _Held | None:
        """Cards for a job, all or none."""
        whole, rest = divmod(cards, self._each)
        places = self._board.choose_many(self._each - 1, whole) if whole else []
        if places is None:
            return None
        shares = [self._take(self._each, place) for place in places]
        if rest:
            place = self._board.choose(rest - 1)
            if place is None:
                self.give(_Held(tuple(shares)))
                return None
            shares.append(self._take(rest, place))
        return _Held(tuple(shares))

    def give(self, held: _Held) -> None:
        for shape, node, taken in held.shares:
            self._board.give(shape, node, taken)

    def _take(self, cards: int, place: Place) -> tuple[int, int, tuple[int, ...]]:
        return cards - 1, place.node, self._board.take(cards - 1, place)
