"""Whether a node is as it was published, and whether its health test lets it be delivered: decided on plain values."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mosu.kernel.languages import counted

CHECK_EVERY: Final = timedelta(days=1)
CHECK_UNFIT_EVERY: Final = timedelta(minutes=5)
"""A node that failed comes back as soon as it passes, without anybody's asking."""
WRITE_BYTES_PER_S_MIN: Final = 10_000_000
"""Slower disks cannot take a job's outputs: a fiftieth of an ordinary one, so only what is broken fails."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a node sells, as its health test must find it."""

    cores: int
    memory_bytes: int
    cards: int


def fault_of(node: Published, measures: Mapping[str, float]) -> str:
    """Why the node may not be delivered, the first reason alone; empty if it may.

    A measure that is not there says nothing, but a card that nothing lists is not there.
    """
    return next(_faults(node, measures), "")


def _faults(node: Published, measures: Mapping[str, float]) -> Iterator[str]:
    cards = int(measures.get("cards", 0))
    if cards < node.cards:
        yield f"{cards} of its {counted(node.cards, 'card')} answer."
    if measures.get("cores", node.cores) < node.cores:
        yield f"{int(measures['cores'])} of its {counted(node.cores, 'core')} are there."
    if measures.get("memory_bytes", node.memory_bytes) < node.memory_bytes:
        yield f"It has {_gib(measures['memory_bytes'])} GiB of its {_gib(node.memory_bytes)} GiB memory."
    if measures.get("write_bytes_per_s", WRITE_BYTES_PER_S_MIN) < WRITE_BYTES_PER_S_MIN:
        yield f"Its disk writes {measures['write_bytes_per_s'] / 1e6:.1f} MB/s; 10 are needed."
    for name, what in (("matrix_wrong", "Its cores"), ("card_matrix_wrong", "A card")):
        if measures.get(name):
            yield f"{what} multiplied matrices wrongly."


def _gib(count: float) -> str:
    return f"{count / (1 << 30):.1f}"


def drift_of(
    *,
    cores: tuple[int, int],
    memory_bytes: tuple[int, int],
    missing: Iterable[tuple[int, tuple[int, int] | None]],
    others: Mapping[int, tuple[str, str]],
) -> list[str]:
    """How a node differs from what was published of it, each difference a sentence.

    `cores` and `memory_bytes`: published, then found; `missing`: cards, each with which share of how many
    if that alone is; `others`: by card the accelerator that was published and the one that stands there.
    """
    said = []
    if cores[1] < cores[0]:
        said.append(f"Of {cores[0]} cores, {cores[1]} are there.")
    if memory_bytes[1] < memory_bytes[0]:
        said.append(f"Of {_gib(memory_bytes[0])} GiB memory, {_gib(memory_bytes[1])} are there.")
    gone = [
        f"{card} ({share[0]}/{share[1]})" if share else str(card)
        for card, share in sorted(set(missing), key=lambda one: (one[0], one[1] or (0, 0)))
    ]
    if gone:
        said.append(f"Cards are missing: {', '.join(gone)}.")
    said += [
        f"Card {index} was published as {was}, and is {now}." for index, (was, now) in sorted(others.items())
    ]
    return said


def check_is_due(
    *, checked_at: datetime | None, asked_at: datetime | None, unfit: bool, now: datetime
) -> bool:
    """Whether a node's health is to be tested: asked for, never tested, tested a day ago, or failed lately."""
    every = CHECK_UNFIT_EVERY if unfit else CHECK_EVERY
    return asked_at is not None or checked_at is None or now - checked_at >= every
