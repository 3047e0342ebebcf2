"""What if there were more cards: `64xA100` as nodes like those there are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mosu.compute.placement.fleet import Machine
from mosu.kernel.refusals import Invalid

_ADDED: Final = re.compile(r"([1-9][0-9]{0,5})x([A-Za-z0-9][A-Za-z0-9._-]{0,62})")
CARDS_PER_NODE: Final = 8
"""Where the cluster has no node with such cards."""


@dataclass(frozen=True, slots=True)
class Added:
    """So many cards of a kind."""

    cards: int
    kind: str


def added(texts: Sequence[str]) -> list[Added]:
    """What `--add` says.

    Raises:
        Invalid: not a number of cards, an x and their kind.
    """
    found = []
    for text in texts:
        match = _ADDED.fullmatch(text)
        if match is None:
            raise Invalid(
                f"--add {text[:60]!r} cannot be used.", hint="Allowed: such as 64xA100.", field="add"
            )
        found.append(Added(int(match[1]), match[2]))
    return found


def with_added(machines: Sequence[Machine], more: Sequence[Added]) -> list[Machine]:
    """The cluster with them: nodes like its largest of the kind, or else like its largest of all but with 8 cards."""
    grown = list(machines)
    for one in more:
        alike = [machine for machine in machines if machine.kind == one.kind and machine.cards]
        model = max(alike or machines, key=lambda machine: (machine.cards, machine.cpu_milli, machine.memory))
        each = model.cards if alike else CARDS_PER_NODE
        left = one.cards
        while left > 0:
            name = f"{one.kind}-added-{len(grown):05d}"
            grown.append(replace(model, name=name, cards=min(each, left), kind=one.kind))
            left -= each
    return grown
