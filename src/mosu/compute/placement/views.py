"""The hub's own view of nodes in time: what is taken of them, what a run needs, where it is put."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final
from uuid import UUID

from mosu.kernel.time import Period
from mosu.wire.shares import kind_of

GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Card:
    """One accelerator card of a node, or one share of a card: a card of its own kind."""

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
    reached: bool = True
    """Whether people are joined to what runs here."""

    def is_large_enough(self, need: "Need") -> bool:
        """Whether one rank of it fits here when nothing is taken."""
        whole = Free(cores=self.cores, memory_bytes=self.memory_bytes, cards=self.cards)
        return whole.holds(need) and self.disk_bytes >= need.disk_bytes


@dataclass(frozen=True, slots=True)
class Need:
    """What one run takes of each of its nodes, all of them distinct and at the same time."""

    cores: int
    memory_bytes: int
    disk_bytes: int
    accelerator: str | None = None
    cards: int = 0
    nodes: int = 1
    joined: bool = False
    """Whether people come to what runs, as to a session or service."""

    @property
    def units(self) -> int:
        """What it is sold by: all its cards if it has any (their cores come with them), else all its cores."""
        return (self.cards or self.cores) * self.nodes

    @property
    def held(self) -> Fraction:
        """The same as quotas count it: a share of a card is that part of one."""
        return Fraction(self.units, kind_of(self.accelerator or "").shares if self.cards else 1)


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
class Share:
    """What a run has of one of its nodes."""

    node_id: UUID
    card_indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Nodes in the order of their ranks, for one period."""

    period: Period
    shares: tuple[Share, ...]


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
