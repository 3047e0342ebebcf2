"""What the relay writes down of endpoints, every 2 s: how much is under way, who became well, what was asked."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID

from django.db import DataError, IntegrityError
from django.utils import timezone

from mosu.compute import services
from mosu.compute.relay.request_log import RequestLog
from mosu.compute.relay.served import Served
from mosu.compute.services import InFlight
from mosu.compute.stream_doors import in_thread


class EndpointNotes:
    """Of all endpoints that are served. What cannot be written is for the next time."""

    def __init__(self, served: Mapping[UUID, Served], log: RequestLog, executor: ThreadPoolExecutor) -> None:
        self._served, self._log, self._executor = served, log, executor

    async def write(self) -> None:
        """Once."""
        now = timezone.now()
        for key, served in self._served.items():
            if served.most:
                minute = self._log.minute(key, now)
                minute.in_flight_max = max(minute.in_flight_max, served.most)
            if served.is_awaited:
                served.asked_at = now
        await self._write_in_flight()
        await self._wake_keepers()
        await self._write_well(now)
        await self._write_log()

    async def _write_in_flight(self) -> None:
        """What changed; of what somebody holds it is written the next time."""
        endpoints = {
            key: told
            for key, served in self._served.items()
            if (told := InFlight(served.most, served.asked_at)) != served.told
        }
        ways = {key: way for served in self._served.values() for key, way in served.ways.items()}
        replicas = {key: way.in_flight for key, way in ways.items() if way.in_flight != way.told_in_flight}
        for served in self._served.values():
            served.most = served.in_flight
        if not endpoints and not replicas:
            return
        written = frozenset[UUID]()
        try:
            written = await in_thread(
                services.note_in_flight, executor=self._executor, endpoints=endpoints, replicas=replicas
            )
        finally:
            for key in endpoints.keys() & self._served.keys():
                self._served[key].note(endpoints[key], is_written=key in written)
            for key in replicas.keys() & written:
                ways[key].told_in_flight = replicas[key]

    async def _wake_keepers(self) -> None:
        """Of endpoints at which a request waits since now, once it can be seen there."""
        for key, served in list(self._served.items()):
            if served.wants_keeper and served.told.asked_at == served.asked_at:
                served.wants_keeper = False
                await in_thread(services.wake_keeper, executor=self._executor, endpoint_id=key)

    async def _write_well(self, now: datetime) -> None:
        fresh = {
            key: way
            for served in self._served.values()
            for key, way in served.ways.items()
            if way.is_well and not way.was_well
        }
        if fresh:
            await in_thread(services.note_well, executor=self._executor, replica_ids=list(fresh), now=now)
            for way in fresh.values():
                way.was_well = True

    async def _write_log(self) -> None:
        batch = self._log.take()
        if not batch.requests and not batch.minutes:
            return
        try:
            await in_thread(
                services.note_requests,
                executor=self._executor,
                requests=batch.requests,
                minutes=batch.minutes,
            )
        except (DataError, IntegrityError):  # it never will: what came since must not wait for it
            raise
        except BaseException:
            self._log.put_back(batch)
            raise
