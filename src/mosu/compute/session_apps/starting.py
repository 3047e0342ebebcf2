"""What the hub must know of an app to start it, and to say how one comes in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppStart:
    """`command` is one line of bash, run in the working folder; `port` is where it then listens."""

    port: int
    command: str
    secrets: Callable[[str], Mapping[str, str]]
    """Of an attempt, by its public id: files below `$MOSU_SECRETS`, named beginning with `MOSU_`."""
    needs: str = ""
    """The package that an environment must have for it; empty: none."""
    opens: Callable[[str], str] = lambda attempt_id: ""
    """Of an attempt: the path at its port that lets a browser in. A secret; empty where no browser comes in."""
