"""What is said of a port that nobody is joined to. Standard library only: nodes of a cluster read it, too."""

from typing import Final

CROWDED: Final = "It has as many connections as are carried at once."
"""The reason for which a stream is refused that may be opened in a moment: nothing is ill."""


class NotReached(Exception):
    """Nobody can be joined to that port of that attempt now; its message says why."""
