"""What the hub must know of an app to start it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppStart:
    """`command` is one line of bash, run in the working folder; `port` is where it then listens."""

    port: int
    command: str
    secrets: Callable[[str], Mapping[str, str]]
    """Of an attempt, by its public id: files below `$MOSU_SECRETS`, named beginning with `MOSU_`."""
