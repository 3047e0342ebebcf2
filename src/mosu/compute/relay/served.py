"""An endpoint as the relay serves it: its replicas, and how much is under way there."""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

from mosu.compute.app_hosts import EndpointHost
from mosu.compute.relay.cutting import Hold
from mosu.compute.relay.kept import Kept
from mosu.compute.relay.replicas import ReplicaWay
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import EndpointRoute, InFlight

UNUSED_S_MAX: Final = 60.0
_CHANGED: Final = "who may ask there was changed"
_REPLICA_ENDED: Final = "the replica has ended"


class Served:
    """An endpoint at which somebody asked a while ago, or of whose replicas one is not known to be well."""

    def __init__(self, route: EndpointRoute, tunnels: Tunnels, kept: Kept) -> None:
        self.route, self.host, self.hold = route, EndpointHost(route.label), Hold()
        self.ways: dict[UUID, ReplicaWay] = {}
        self.in_flight = self.most = self.waiting = 0
        self.asked_at: datetime | None = None
        self.told = InFlight(-1, None)
        """What was written down last: nothing yet."""
        self.wants_keeper = False
        self.checked_at = asyncio.get_running_loop().time()
        self.used_at = self.checked_at - UNUSED_S_MAX
        self._tunnels, self._kept = tunnels, kept
        self._changed, self._turn = asyncio.Event(), 0
        self.update(route)

    @property
    def is_unused(self) -> bool:
        is_told = self.told.most == self.most == self.in_flight == 0
        return is_told and asyncio.get_running_loop().time() - self.used_at > UNUSED_S_MAX

    @property
    def is_awaited(self) -> bool:
        """Whether requests wait for a replica."""
        return self.waiting > 0

    def best(self) -> ReplicaWay | None:
        """The replica with the fewest requests; of several the one that was chosen longest ago."""
        ready = [way for way in self.ways.values() if way.takes_requests]
        if not ready:
            return None
        found = min(ready, key=lambda way: (way.in_flight, way.turn))
        self._turn += 1
        found.turn = self._turn
        return found

    def change(self) -> None:
        """Who waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Until something is otherwise than now."""
        await self._changed.wait()

    def update(self, route: EndpointRoute) -> None:
        """What the database says of it now."""
        was, self.route = self.route, route
        self.checked_at = asyncio.get_running_loop().time()
        if was.auth != route.auth:
            self.hold.end(_CHANGED)
            self.hold = Hold()
        told = {replica.id: replica for replica in route.replicas}
        for key in self.ways.keys() - told.keys():
            self.ways.pop(key).end(_REPLICA_ENDED)
        for key, replica in told.items():
            if (way := self.ways.get(key)) is not None:
                way.update(replica)
            else:
                self.ways[key] = ReplicaWay(replica, self.host, self._tunnels, self._kept, self)
        self.change()

    def note(self, told: InFlight, *, is_written: bool) -> None:
        """What was to be written down of it was, or was not."""
        if is_written:
            self.told = told
        else:
            self.most = max(self.most, told.most)

    def end(self, why: str) -> None:
        """All that is under way is cut."""
        self.hold.end(why)
        for way in self.ways.values():
            way.end(why)
        self.change()
