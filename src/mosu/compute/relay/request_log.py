"""What was asked at endpoints, until it is written down: bounded, and nobody waits for it."""

from bisect import bisect_left
from collections import deque
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from mosu.compute.models import LATENCY_MS, EndpointRequest
from mosu.compute.services import Minute

REQUESTS_MAX: Final = 20_000
MINUTES_MAX: Final = 20_000


class RequestLog:
    """All of this relay, since it was last written down."""

    def __init__(self) -> None:
        self._requests: deque[EndpointRequest] = deque()
        self._minutes: dict[tuple[UUID, datetime], Minute] = {}
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._requests)

    def minute(self, endpoint_id: UUID, at: datetime) -> Minute:
        """To which what happens at that time is added."""
        key = endpoint_id, at.replace(second=0, microsecond=0)
        found = self._minutes.get(key)
        if found is None:
            if len(self._minutes) >= MINUTES_MAX:
                del self._minutes[next(iter(self._minutes))]
                self._dropped += 1
            found = self._minutes[key] = Minute()
        return found

    def add(self, request: EndpointRequest) -> None:
        """Of too many the oldest goes."""
        if len(self._requests) >= REQUESTS_MAX:
            self._requests.popleft()
            self._dropped += 1
        self._requests.append(request)

    def take(self) -> "Batch":
        """All of it, to be written down; `put_back` what could not be."""
        taken = Batch(self._requests, self._minutes)
        self._requests, self._minutes = deque(), {}
        if self._dropped:
            structlog.get_logger("relay").warning("requests were not written down", dropped=self._dropped)
            self._dropped = 0
        return taken

    def put_back(self, batch: "Batch") -> None:
        """Before what came since."""
        newer = self.take()
        self._requests, self._minutes = batch
        for request in newer.requests:
            self.add(request)
        for (endpoint_id, at), minute in newer.minutes.items():
            self.minute(endpoint_id, at).add(minute)


class Batch(NamedTuple):
    """What is written down at once."""

    requests: deque[EndpointRequest]
    minutes: dict[tuple[UUID, datetime], Minute]


def latency_class(seconds: float) -> int:
    """Which of the classes of `LATENCY_MS` it is; the last has no bound."""
    return bisect_left(LATENCY_MS, seconds * 1000)
