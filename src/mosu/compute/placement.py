"""Where and when a need fits. Pure: nodes with what is taken of them go in, one placement or a refusal comes out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from mosu.kernel.time import Period

GIB: Final = 1 << 30
HORIZON: Final = timedelta(days=14)
"""How far ahead a start may be promised."""


@dataclass(frozen=True, slots=True)
class Card:
    """One accelerator card of a node."""

    index: int
    accelerator: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What a live allocation holds. `end` is None where nobody knows when it comes back."""

    start: datetime
    end: datetime | None
    cores: int
    memory_bytes: int
    cards: frozenset[int] = frozenset()

    def overlaps(self, period: Period) -> bool:
        return self.start < period.end and (self.end is None or period.start < self.end)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node that may be sold from."""

    id: UUID
    name: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    cards: tuple[Card, ...] = ()
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """What one run takes of one node."""

    cores: int
    memory_bytes: int
    disk_bytes: int
    accelerator: str | None = None
    cards: int = 0


@dataclass(frozen=True, slots=True)
class Free:
    """What of a node nobody holds at any moment of a period."""

    cores: int
    memory_bytes: int
    cards: tuple[Card, ...]

    def holds(self, need: Need) -> bool:
        return (
            self.cores >= need.cores
            and self.memory_bytes >= need.memory_bytes
            and len(cards_for(need, self.cards)) >= need.cards
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """A node, a period and the cards on it."""

    node_id: UUID
    period: Period
    card_indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why nothing was found, with numbers. `next_at` is the first start that would fit, if one is known."""

    code: str
    message: str
    hint: str
    next_at: datetime | None = None


def place(
    nodes: Sequence[NodeView], need: Need, *, earliest: datetime, latest: datetime, duration: timedelta
) -> Placement | Unplaced:
    """The earliest start in `[earliest, latest]`; among nodes that can then, the one left with the least.

    A need is met on one node, whole. The earliest start is `earliest` itself or the end of something taken:
    at no other moment does anything become free.
    """
    fitting = [node for node in nodes if _whole(node).holds(need) and node.disk_bytes >= need.disk_bytes]
    if not fitting:
        return _never(nodes, need)
    starts = {earliest} | {
        taken.end for node in fitting for taken in node.taken if taken.end and taken.end > earliest
    }
    for start in sorted(starts):
        if start > earliest + HORIZON:
            break
        period = Period(start, start + duration)
        chosen = _best(fitting, need, period)
        if chosen is not None:
            return chosen if start <= latest else _later(fitting, need, earliest, duration, start)
    return _later(fitting, need, earliest, duration, None)


def free_of(node: NodeView, period: Period) -> Free:
    """What is free of `node` all through `period`."""
    overlapping = [taken for taken in node.taken if taken.overlaps(period)]
    cores, memory_bytes = _peak(overlapping, period)
    held = frozenset[int]().union(*(taken.cards for taken in overlapping))
    return Free(
        cores=node.cores - cores,
        memory_bytes=node.memory_bytes - memory_bytes,
        cards=tuple(card for card in node.cards if card.index not in held),
    )


def cards_for(need: Need, cards: Iterable[Card]) -> list[int]:
    """The indices of the cards that the need could use, lowest first."""
    return sorted(card.index for card in cards if card.accelerator == need.accelerator)


def _peak(overlapping: Sequence[Taken], period: Period) -> tuple[int, int]:
    """The most cores and the most memory held at one moment of the period; each peaks where something starts."""
    cores = memory_bytes = 0
    for moment in {max(taken.start, period.start) for taken in overlapping}:
        held = [taken for taken in overlapping if taken.start <= moment and not _is_over(taken, moment)]
        cores = max(cores, sum(taken.cores for taken in held))
        memory_bytes = max(memory_bytes, sum(taken.memory_bytes for taken in held))
    return cores, memory_bytes


def _is_over(taken: Taken, moment: datetime) -> bool:
    return taken.end is not None and taken.end <= moment


def _whole(node: NodeView) -> Free:
    return Free(cores=node.cores, memory_bytes=node.memory_bytes, cards=node.cards)


def _best(nodes: Sequence[NodeView], need: Need, period: Period) -> Placement | None:
    """On the node that is left with the fewest cards and cores, so that large needs find room elsewhere."""
    best: tuple[int, int, str, UUID] | None = None
    found: Placement | None = None
    for node in nodes:
        free = free_of(node, period)
        if not free.holds(need):
            continue
        rank = (len(free.cards) - need.cards, free.cores - need.cores, node.name, node.id)
        if best is None or rank < best:
            indices = tuple(cards_for(need, free.cards)[: need.cards])
            best, found = rank, Placement(node.id, period, indices)
    return found


def _words(need: Need) -> str:
    cards = f"{need.cards} x {need.accelerator}, " if need.cards else ""
    return f"{cards}{need.cores} cores and {need.memory_bytes / GIB:.3g} GiB of memory on one node"


def _never(nodes: Sequence[NodeView], need: Need) -> Unplaced:
    if not nodes:
        return Unplaced("no_nodes", "This pool has no node in service.", "Choose another offer.")
    if need.cards and not any(cards_for(need, node.cards) for node in nodes):
        return Unplaced(
            "no_such_card", f"This pool has no {need.accelerator}.", "Choose an offer with that accelerator."
        )
    cards = max(len(cards_for(need, node.cards)) for node in nodes)
    most = f"{cards} such cards, " if need.cards else ""
    return Unplaced(
        "too_large",
        f"Needs {_words(need)}; the largest node has {most}{max(node.cores for node in nodes)} cores, "
        f"{max(node.memory_bytes for node in nodes) / GIB:.3g} GiB of memory and "
        f"{max(node.disk_bytes for node in nodes) / GIB:.3g} GiB of disk.",
        "Ask for less, or choose a larger pool.",
    )


def _later(
    nodes: Sequence[NodeView], need: Need, earliest: datetime, duration: timedelta, next_at: datetime | None
) -> Unplaced:
    now = Period(earliest, earliest + duration)
    free = [free_of(node, now) for node in nodes]
    cards = max(len(cards_for(need, one.cards)) for one in free)
    most = f"{cards} such cards and " if need.cards else ""
    when = f"; it fits next at {next_at:%Y-%m-%d %H:%M} UTC" if next_at else ""
    return Unplaced(
        "full",
        f"Needs {_words(need)}; the largest free is {most}{max(one.cores for one in free)} cores{when}.",
        "Start later, ask for less, or choose another offer.",
        next_at,
    )
