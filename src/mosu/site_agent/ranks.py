"""What a task learns of its place among the nodes that it runs on, in the words that SkyPilot tasks expect."""

from collections.abc import Sequence

from mosu.wire.agent import AttemptSpec


def rank_variables(spec: AttemptSpec, *, rank: int, addresses: Sequence[str]) -> dict[str, str]:
    """The variables of the node at `rank`; `addresses` are those of all nodes, by rank."""
    return {
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_NUM_NODES": str(len(spec.nodes)),
        "SKYPILOT_NODE_IPS": "\n".join(addresses),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(spec.cards),
    }
