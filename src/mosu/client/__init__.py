"""The typed SDK: `Client(url, token)` speaks to a hub's `/api/v1`. HTTP only, no Django."""

from importlib import import_module
from typing import TYPE_CHECKING

from mosu.client.errors import (
    BrokenAnswer,
    ClientError,
    CutOff,
    DamagedOutput,
    NotSignedIn,
    ProblemError,
    Unreachable,
)

if TYPE_CHECKING:
    from mosu.client.logs import LogText, StateSeen
    from mosu.client.sdk import Client
else:
    # Loaded when asked for: whoever joins a connection, or only says what went wrong, needs no HTTP and no models.
    _LATER = {"Client": "mosu.client.sdk", "LogText": "mosu.client.logs", "StateSeen": "mosu.client.logs"}

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LATER[name]), name)


__all__ = [
    "BrokenAnswer",
    "Client",
    "ClientError",
    "CutOff",
    "DamagedOutput",
    "LogText",
    "NotSignedIn",
    "ProblemError",
    "StateSeen",
    "Unreachable",
]
