"""What a task learns of its place among the nodes that it runs on, in the words that SkyPilot tasks expect."""

from collections.abc import Sequence


def rank_variables(*, rank: int, addresses: Sequence[str], cards: int) -> dict[str, str]:
    """The variables of the node at `rank`; `addresses` are those of all nodes, by rank; `cards` of each."""
    return {
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_NUM_NODES": str(len(addresses)),
        "SKYPILOT_NODE_IPS": "\n".join(addresses),
        "SKYPILOT_NUM_GPUS_PER_NODE": str(cards),
    }
