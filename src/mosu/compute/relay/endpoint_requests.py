"""One request at an endpoint: it waits for a replica if it must, goes to one, and is written down."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

from django.utils import timezone
from starlette.types import Message, Receive, Send

from mosu.compute.models import EndpointRequest
from mosu.compute.relay.app_headers import values_of
from mosu.compute.relay.cutting import Cut
from mosu.compute.relay.endpoint_entries import Pass
from mosu.compute.relay.endpoints import Endpoints
from mosu.compute.relay.joining import Crowded, NotJoined
from mosu.compute.relay.kept import Lent
from mosu.compute.relay.proxy import Answer, Asked, Left, NoAnswer, TooSlow, exchanged, is_unheard
from mosu.compute.relay.proxy_websocket import bridged
from mosu.compute.relay.replicas import ReplicaWay
from mosu.compute.relay.request_log import latency_class
from mosu.compute.relay.served import Served
from mosu.kernel.refusals import DomainError

HELD_S_MAX: Final = 120.0
REASON_S: Final = 8.0
"""So long the keeper has to find another word than the one that stands there: it looks every 5 s."""
FIRST_BYTE_S_MAX: Final = 600.0
"""A model that answers in one piece may take minutes; an app's page may not."""
DIALS_MAX: Final = 10
KEPT_BYTES_MAX: Final = 64 * 1024
"""Of a body, while its request waits: we learn that its sender has left only by reading on."""
_LOOK_S: Final = 1.0
_FAILED: Final = 500
_METHOD_CHARS: Final = 20
_PATH_CHARS: Final = 300
_DISCONNECTS: Final = frozenset({"http.disconnect", "websocket.disconnect"})


class NoneAnswers(DomainError):
    """No replica of the endpoint is well, and none came in time."""

    code = "none_answers"
    status = 503


class Reading:
    """What a request's sender sends. While the request waits little of it is read, and kept."""

    def __init__(self, receive: Receive, asked: Asked) -> None:
        self._receive, self._kept = receive, deque[Message]()
        lengths = values_of(asked.headers, b"content-length")
        is_short = not lengths or int(lengths[0]) <= KEPT_BYTES_MAX
        self._may_read = is_short and not values_of(asked.headers, b"transfer-encoding")

    async def receive(self) -> Message:
        """The next of it."""
        return self._kept.popleft() if self._kept else await self._receive()

    async def left(self) -> None:
        """Until its sender has gone. Whose body is long, or may be, is not heard to go."""
        while self._may_read:
            message = await self._receive()
            self._kept.append(message)
            if message["type"] in _DISCONNECTS:
                return
        await asyncio.Event().wait()


class Passing:
    """One request of somebody who may ask."""

    def __init__(self, endpoints: Endpoints, served: Served, one: Pass, asked: Asked) -> None:
        self._endpoints, self._served, self._one, self._asked = endpoints, served, one, asked
        self._cut, self._clock = Cut(), asyncio.get_running_loop().time
        self._at, self._began = timezone.now(), self._clock()
        self._waited_s = 0.0
        self._way: ReplicaWay | None = None
        self._bytes_in = self._bytes_out = 0

    async def http(self, receive: Receive, answer: Answer) -> None:
        """Answer it; returns early, the answer incomplete, if its right ends or its sender left.

        Raises:
            Full: as many as may be are under way, or wait.
            NoneAnswers, NotJoined: no replica is well, and none became so in time.
            NoAnswer, TooSlow: what the replica answers is none; part of it may have gone on.
        """
        reading = Reading(receive, self._asked)
        with self._noted(answer), self._under_way():
            try:
                kept_s_max = self._asked.kept_s_max if self._one.is_known else 0.0
                while not self._cut.is_set():
                    async with self._replica(reading, kept_s_max=kept_s_max) as lent:
                        if await self._exchanged(lent, reading, answer):
                            return
                    kept_s_max = 0.0
            except Left:
                answer.left = True

    async def websocket(self, receive: Receive, send: Send) -> None:
        """Carry messages until either side closes, the sender leaves, or their right ends.

        Raises:
            as `http`.
        """
        reading, answer = Reading(receive, self._asked), Answer(send)
        with self._noted(answer), self._under_way():
            try:
                async with self._replica(reading) as lent:
                    answer.status = await bridged(
                        self._asked, lent.stream, self._endpoints.unfinished,
                        receive=reading.receive, send=send, cut=self._cut,
                    )  # fmt: skip
                    answer.complete = True
            except Left:
                answer.left = True

    async def _exchanged(self, lent: Lent, reading: Reading, answer: Answer) -> bool:
        """Whether that was it; else it may be asked once more: nothing was changed by it, and nothing was answered."""
        try:
            await exchanged(
                self._asked, lent, reading.receive, answer, cut=self._cut, first_byte_s_max=FIRST_BYTE_S_MAX
            )
        except NoAnswer:
            if answer.started or not self._asked.may_be_repeated:
                raise
            if self._way is None or self._clock() > self._began + HELD_S_MAX:
                raise
            if not (lent.was_kept and is_unheard(self._asked, lent)):  # else it only closed what it kept
                self._way.failed()
            return False
        lent.is_free &= self._one.is_known
        return True

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        with (
            self._one.in_use(),
            self._endpoints.asked(self._served),
            self._one.hold.carrying(self._cut),
            self._served.hold.carrying(self._cut),
        ):
            yield

    @asynccontextmanager
    async def _replica(self, reading: Reading, *, kept_s_max: float = 0) -> AsyncIterator[Lent]:
        """A connection to one, for this request."""
        dials = 0
        while dials < DIALS_MAX:
            dials += 1
            way = self._served.best() or await self._awaited(reading)
            with way.busy():
                try:
                    lent = await way.lent(self._one, kept_s_max=kept_s_max)
                except Crowded:
                    if self._clock() > self._began + HELD_S_MAX:
                        raise
                    dials -= 1  # it waits for another replica, or until there is room at one
                    continue
                except NotJoined:
                    continue
                self._way = way
                try:
                    if way.hold.has_ended:  # while it was dialled
                        continue
                    with way.hold.carrying(self._cut):
                        yield lent
                    return
                finally:
                    self._bytes_in += lent.stream.bytes_out
                    self._bytes_out += lent.stream.bytes_in
                    way.take_back(self._one, lent)
        raise NotJoined("No replica is reached.", hint="Try again in a minute.", retry_after_s=10)

    async def _awaited(self, reading: Reading) -> ReplicaWay:
        """
        Raises:
            Left: its sender did.
            Full: as many as may wait do.
            NoneAnswers: no replica came in time, or none will, or the right to ask ended.
        """
        since = self._clock()
        left, cut = asyncio.create_task(reading.left()), asyncio.create_task(self._cut.wait())
        try:
            with self._endpoints.waiting(self._served):
                while (way := self._served.best()) is None:
                    self._check_hope(since)
                    change = asyncio.create_task(self._served.changed())
                    try:
                        await asyncio.wait(
                            {left, cut, change}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                        )
                    finally:
                        change.cancel()
                    if left.done():
                        left.result()
                        raise Left
                    if cut.done():
                        raise NoneAnswers(
                            "This endpoint no longer answers you.", hint=self._cut.why, retry_after_s=5
                        )  # fmt: skip
            return way
        finally:
            self._waited_s += self._clock() - since
            left.cancel()
            cut.cancel()
            await asyncio.gather(left, cut, return_exceptions=True)

    def _check_hope(self, since: float) -> None:
        waited_s, reason = self._clock() - since, self._served.route.reason
        nothing_comes = bool(reason) and not any(
            not way.route.is_drained for way in self._served.ways.values()
        )
        if waited_s > HELD_S_MAX or (nothing_comes and waited_s > REASON_S):
            hint = reason or "Try again in a minute; its owner sees its log."
            raise NoneAnswers("Nothing answers at this endpoint now.", hint=hint, retry_after_s=30)

    @contextmanager
    def _noted(self, answer: Answer) -> Iterator[None]:
        status, has_failed = 0, False
        try:
            yield
        except DomainError as refusal:
            status, has_failed = refusal.status, isinstance(refusal, NoAnswer | TooSlow)
            raise
        finally:
            self._note(answer, answer.status or status, has_failed=has_failed)

    def _note(self, answer: Answer, status: int, *, has_failed: bool) -> None:
        now = self._clock()
        minute = self._endpoints.log.minute(
            self._served.route.id, self._at + timedelta(seconds=now - self._began)
        )
        minute.requests += 1
        if answer.status:
            minute.latencies[latency_class((answer.started_at or now) - self._began)] += 1
            broken_off = not (answer.complete or answer.left or self._cut.is_set())
            minute.failed += answer.status >= _FAILED or has_failed or broken_off
        else:
            minute.failed += has_failed
            minute.refused += bool(status) and not has_failed
        self._endpoints.log.add(
            EndpointRequest(
                endpoint_id=self._served.route.id,
                at=self._at,
                method=self._asked.method[:_METHOD_CHARS],
                path=self._asked.target.partition(b"?")[0].decode("ascii")[:_PATH_CHARS],
                status=status,
                waited_ms=round(self._waited_s * 1000),
                took_ms=round((now - self._began) * 1000),
                bytes_in=self._bytes_in,
                bytes_out=self._bytes_out,
                key_id=self._one.entry.key_id,
                user_id=self._one.entry.user_id,
                run_id=self._way.run_id if self._way else None,
            )
        )
