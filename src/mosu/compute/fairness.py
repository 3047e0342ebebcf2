"""Whose turn it is in a pool: organisations share it by weight, and borrow what the others do not need. Pure.

Kueue's fair sharing (KEP-1714): the value of a party is the largest part, over all resources, of the pool that it
uses above what it is guaranteed, divided by its weight; the party with the least value is next. From the root down:
organisations first, then the projects of the chosen one. Inside a project: by priority, then who waits longest.
Between organisations priority counts for nothing: everybody would use the highest.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeAlias
from uuid import UUID

CORES: Final = "cores"
Units: TypeAlias = Mapping[str, int]
"""How many of each resource: `cores`, and cards by their accelerator's id."""
Path: TypeAlias = tuple[UUID, ...]
"""From the root to who waits: an organisation, then its project. A part of it from the front names a party."""


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation or a project beside its siblings."""

    weight: int = 1
    guaranteed: Units = field(default_factory=dict)
    """What it may use before it counts as borrowing."""


_PLAIN: Final = Party()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that wants to start."""

    key: UUID
    """Also its age: the lesser waits longer (UUIDv7)."""
    path: Path
    need: Units
    priority: int = 0


def value_of(used: Units, party: Party, *, total: Units) -> Fraction:
    """How much of the pool a party has beyond its guarantee, for its weight."""
    above = (
        Fraction(max(0, units - party.guaranteed.get(name, 0)), total[name])
        for name, units in used.items()
        if total.get(name)
    )
    return max(above, default=Fraction(0)) / party.weight


def turns(
    waiting: Iterable[Waiting],
    *,
    used: Mapping[Path, Units],
    total: Units,
    parties: Mapping[Path, Party],
) -> Iterator[Waiting]:
    """Who is next, and next after that as if each had started. `used` is what runs now, by whole path."""
    queues: dict[Path, deque[Waiting]] = {}
    for one in sorted(waiting, key=lambda one: (-one.priority, one.key)):
        queues.setdefault(one.path, deque()).append(one)
    has: defaultdict[Path, Counter[str]] = defaultdict(Counter)
    for path, units in used.items():
        _take(has, path, units)
    while queues:
        path = _next_path(queues, has, total=total, parties=parties)
        one = queues[path].popleft()
        if not queues[path]:
            del queues[path]
        _take(has, path, one.need)
        yield one


def _take(has: defaultdict[Path, Counter[str]], path: Path, units: Units) -> None:
    for depth in range(1, len(path) + 1):
        has[path[:depth]].update(units)


def _next_path(
    queues: Mapping[Path, deque[Waiting]],
    has: Mapping[Path, Units],
    *,
    total: Units,
    parties: Mapping[Path, Party],
) -> Path:
    """Down from the root, always to the party with the least value; of equal ones to who waits longest."""
    chosen: Path = ()
    while chosen not in queues:
        oldest: dict[Path, UUID] = {}
        for path, queue in queues.items():
            if path[: len(chosen)] == chosen:
                party = path[: len(chosen) + 1]
                oldest[party] = min(oldest.get(party, queue[0].key), queue[0].key)
        chosen = min(
            oldest,
            key=lambda party: (
                value_of(has.get(party, {}), parties.get(party, _PLAIN), total=total),
                oldest[party],
            ),
        )
    return chosen
