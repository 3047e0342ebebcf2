"""Endpoints at which somebody asks: their replicas, how much is under way, and what is written down of it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from django.utils import timezone

from mosu.compute import services
from mosu.compute.app_hosts import EndpointHost
from mosu.compute.relay.endpoint_entries import LOOKUPS_MAX, Entries
from mosu.compute.relay.endpoint_notes import EndpointNotes
from mosu.compute.relay.grants import Unfinished
from mosu.compute.relay.joining import Full
from mosu.compute.relay.kept import Kept
from mosu.compute.relay.renewing import ASK_S_MAX, UNSURE_S, again_for_ever
from mosu.compute.relay.request_log import RequestLog
from mosu.compute.relay.served import Served
from mosu.compute.relay.tunnels import Tunnels
from mosu.compute.services import EndpointRoute
from mosu.compute.stream_doors import in_thread
from mosu.kernel.refusals import DomainError, NotFound

REFRESH_S: Final = 2.0
NOTE_S: Final = 2.0
BREATH_S: Final = 0.2
"""Between two of them, however much they are hurried."""
REQUESTS_MAX: Final = 2_000
"""Of all endpoints at once: each may hold a window of bytes each way."""
REQUESTS_PER_ENDPOINT_MAX: Final = 1_000
REQUESTS_PER_ORGANISATION_MAX: Final = 1_500
WAITING_MAX: Final = 200
"""For a replica, at one endpoint."""
_THREADS_MAX: Final = 4
_ENDED: Final = "the endpoint has ended"
_STOPPED: Final = "the relay stops"
_UNSURE: Final = "the hub could not say whether it still answers"


class EndpointGone(DomainError):
    """There was an endpoint at this address."""

    code = "endpoint_gone"
    status = 410


class Endpoints:
    """All of this relay."""

    def __init__(self, tunnels: Tunnels) -> None:
        self.executor = ThreadPoolExecutor(_THREADS_MAX, "endpoints")
        """Whoever comes in, however many, does not keep us from asking and noting."""
        self.entries, self.log, self.unfinished = Entries(self.executor), RequestLog(), Unfinished()
        self._tunnels, self.kept = tunnels, Kept()
        self._served: dict[UUID, Served] = {}
        self._notes = EndpointNotes(self._served, self.log, self.executor)
        self._labelled: dict[str, Served] = {}
        self._finding: dict[str, asyncio.Task[Served]] = {}
        self._in_flight = 0
        self._in_flight_of: Counter[UUID] = Counter()
        """By organisation."""
        self._hurry_refresh, self._hurry_note = asyncio.Event(), asyncio.Event()
        self._log = structlog.get_logger("relay")

    def __len__(self) -> int:
        return len(self._served)

    async def at(self, host: EndpointHost) -> Served:
        """The endpoint at this host.

        Raises:
            NotFound: there never was one.
            EndpointGone: it has ended, or its organisation is no longer active.
            Full: too many are being looked for.
        """
        found = self._labelled.get(host.label)
        if found is None:
            if (finding := self._finding.get(host.label)) is None:
                if len(self._finding) >= LOOKUPS_MAX:
                    raise Full("The relay is full.", hint="Try again in a while.", retry_after_s=10)
                finding = self._finding[host.label] = asyncio.create_task(self._found(host))
                finding.add_done_callback(partial(self._forget_finding, host.label))
            found = await asyncio.shield(finding)
        found.used_at = asyncio.get_running_loop().time()  # it stays while we look who asks
        return found

    @contextmanager
    def asked(self, served: Served) -> Iterator[None]:
        """While a request is under way there, waiting or not.

        Raises:
            Full: as many as may be are.
        """
        organisation_id = served.route.organisation_id
        for so_many, limit in (
            (self._in_flight, REQUESTS_MAX),
            (served.in_flight, REQUESTS_PER_ENDPOINT_MAX),
            (self._in_flight_of[organisation_id], REQUESTS_PER_ORGANISATION_MAX),
        ):
            if so_many >= limit:
                raise Full("Too many requests are under way.", hint="Try again in a while.", retry_after_s=5)
        served.asked_at = timezone.now()
        served.in_flight += 1
        served.most = max(served.most, served.in_flight)
        self._in_flight += 1
        self._in_flight_of[organisation_id] += 1
        try:
            yield
        finally:
            served.in_flight -= 1
            served.used_at = asyncio.get_running_loop().time()
            self._in_flight -= 1
            self._in_flight_of[organisation_id] -= 1
            if not self._in_flight_of[organisation_id]:
                del self._in_flight_of[organisation_id]

    @contextmanager
    def waiting(self, served: Served) -> Iterator[None]:
        """While a request there waits for a replica; the keeper is told at once.

        Raises:
            Full: as many as may wait do.
        """
        if served.waiting >= WAITING_MAX:
            raise Full(
                f"{WAITING_MAX} requests wait for this endpoint.", hint="Try again in a while.", retry_after_s=30
            )  # fmt: skip
        served.waiting += 1
        if served.waiting == 1:
            served.wants_keeper = True
            self._hurry_note.set()
            for way in served.ways.values():
                way.look()
        self._hurry_refresh.set()
        try:
            yield
        finally:
            served.waiting -= 1

    async def keep_for_ever(self) -> None:
        """Look what replicas there are, and write down what was asked, every 2 s; and who may ask, every 30 s."""
        self._hurry_refresh, self._hurry_note = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(self.refresh, REFRESH_S, self._hurry_refresh))
            tasks.create_task(self._again(self._notes.write, NOTE_S, self._hurry_note))
            tasks.create_task(again_for_ever(self.entries.renew))

    async def end(self) -> None:
        """The relay stops: what was asked is written down, if that can be done soon."""
        for served in list(self._served.values()):
            self._end(served, _STOPPED)
        with suppress(Exception):
            async with asyncio.timeout(ASK_S_MAX):
                await self._notes.write()
        self.entries.end(_STOPPED)
        self.log.take()

    async def refresh(self) -> None:
        """Once: which replicas there are of those that are asked at, and whether they still answer."""
        known = dict(self._served)
        used = [key for key, served in known.items() if not served.is_unused]
        try:
            async with asyncio.timeout(ASK_S_MAX):
                routes = await in_thread(services.endpoint_routes, executor=self.executor, ids=used)
        except Exception:  # noqa: BLE001 - the database is away: what is known stays so for a while
            self._log.exception("endpoints could not be asked for")
            now = asyncio.get_running_loop().time()
            for served in known.values():
                if now + REFRESH_S + ASK_S_MAX > served.checked_at + UNSURE_S:
                    self._end(served, _UNSURE)
            return
        for key, route in routes.items():
            found = self._served.get(key)
            if found is None:
                if route.is_open:
                    self._serve(route)
            elif route.is_open:
                found.update(route)
            else:
                self._end(found, _ENDED)
        for key, served in known.items():
            if key not in routes and served.is_unused:
                self._end(served, _ENDED)
        if any(served.is_awaited for served in self._served.values()):
            self._hurry_refresh.set()

    async def _again(self, once: Callable[[], Awaitable[None]], pause_s: float, hurry: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await hurry.wait()
            hurry.clear()
            try:
                await once()
            except Exception:  # noqa: BLE001 - whatever fails once is tried again
                self._log.exception("what is asked at endpoints could not be looked after")
            await asyncio.sleep(BREATH_S)

    async def _found(self, host: EndpointHost) -> Served:
        route = await in_thread(services.endpoint_labelled, label=host.label)
        if route is None:
            raise NotFound("There is no endpoint at this address.", hint="Ask its owner for the address.")
        if not route.is_open:
            raise EndpointGone("This endpoint has ended.", hint="Ask its owner for another address.")
        return self._served.get(route.id) or self._serve(route)

    def _serve(self, route: EndpointRoute) -> Served:
        served = self._served[route.id] = self._labelled[route.label] = Served(
            route, self._tunnels, self.kept
        )
        return served

    def _end(self, served: Served, why: str) -> None:
        self._served.pop(served.route.id, None)
        if self._labelled.get(served.route.label) is served:
            del self._labelled[served.route.label]
        served.end(why)

    def _forget_finding(self, label: str, done: asyncio.Task[Served]) -> None:
        del self._finding[label]
        if not done.cancelled():
            done.exception()  # heard here too: all who waited for it may have left
