"""The typed SDK: `Client(url, token)` speaks to a hub's `/api/v1`. HTTP only, no Django."""

from mosu.client.errors import (
    BrokenAnswer,
    ClientError,
    CutOff,
    DamagedOutput,
    NotSignedIn,
    ProblemError,
    Unreachable,
)
from mosu.client.logs import LogText, StateSeen
from mosu.client.sdk import Client

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
