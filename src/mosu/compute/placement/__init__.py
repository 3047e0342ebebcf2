"""Where and when a need fits, by policies that the hub's promises and the simulators share. Pure.

| file | what |
|---|---|
| `fleet`, `demand`, `policies`, `board` | nodes and shapes in numbers; what is expected; who gets what; decisions |
| `views`, `places`, `refusals` | the hub's nodes in time; a placement; why there is none |
"""

from mosu.compute.placement.places import HORIZON, place
from mosu.compute.placement.refusals import Unplaced
from mosu.compute.placement.views import (
    GIB,
    Card,
    Need,
    NodeView,
    Placement,
    Share,
    Taken,
    free_of,
)

__all__ = [
    "GIB",
    "HORIZON",
    "Card",
    "Need",
    "NodeView",
    "Placement",
    "Share",
    "Taken",
    "Unplaced",
    "free_of",
    "place",
]
