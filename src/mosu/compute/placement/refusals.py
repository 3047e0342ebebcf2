"""Why a need is not met, with the numbers that tell what would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mosu.compute.placement.views import GIB, Need, NodeView, cards_for, free_of
from mosu.kernel.languages import counted
from mosu.kernel.time import Period


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Why nothing was found, with numbers. `next_at` is the first start that would fit, if one is known."""

    code: str
    message: str
    hint: str
    next_at: datetime | None = None


def larger_than_all(nodes: Sequence[NodeView], fitting: Sequence[NodeView], need: Need) -> Unplaced:
    """It never fits; `fitting` are the nodes that would do for one rank of it."""
    if not nodes and need.joined:
        return Unplaced(
            "no_nodes",
            "This pool has no node in service on which people come to a session or service.",
            "Choose another offer.",
        )
    if not nodes:
        return Unplaced("no_nodes", "This pool has no node in service.", "Choose another offer.")
    if need.cards and not any(cards_for(need, node.cards) for node in nodes):
        return Unplaced(
            "no_such_card", f"This pool has no {need.accelerator}.", "Choose an offer with that accelerator."
        )
    if fitting:
        return Unplaced(
            "too_large",
            f"Needs {_words(need)}; {len(fitting)} of this pool's {len(nodes)} nodes are so large.",
            "Ask for fewer nodes, or choose a larger pool.",
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


def taken_now(nodes: Sequence[NodeView], need: Need, period: Period, *, next_at: datetime | None) -> Unplaced:
    """It fits when enough comes back: too much of `nodes`, which are large enough, is taken in `period`."""
    free = [free_of(node, period) for node in nodes]
    when = f"; it fits next at {next_at:%Y-%m-%d %H:%M} UTC" if next_at else ""
    if need.nodes > 1:
        message = f"Needs {_words(need)}; {sum(one.holds(need) for one in free)} nodes have that free{when}."
    else:
        cards = max(len(cards_for(need, one.cards)) for one in free)
        most = f"{cards} such cards and " if need.cards else ""
        message = (
            f"Needs {_words(need)}; the largest free is {most}{max(one.cores for one in free)} cores{when}."
        )
    return Unplaced("full", message, "Start later, ask for less, or choose another offer.", next_at)


def _words(need: Need) -> str:
    cards = f"{need.cards} x {need.accelerator}, " if need.cards else ""
    cores, memory = counted(need.cores, "core"), f"{need.memory_bytes / GIB:.3g}"
    if need.nodes > 1:
        return f"{cards}{cores} and {memory} GiB of memory on each of {need.nodes} nodes"
    return f"{cards}{cores} and {memory} GiB of memory on one node"
