"""The streams of one side of a tunnel, over whatever carries its messages (`mosu.wire.tunnel` says which).

One event loop, no task of its own: `take` is called with each message that comes, in their order, and `send` is
awaited for each that goes. What waits to be read of a stream is never more than its window.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from mosu.wire.tunnel import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    Frame,
    FrameKind,
    Garbled,
    Target,
    frame_of,
    packed,
    packed_credit,
)

_GIVE_BACK_BYTES: Final = WINDOW_BYTES // 4
_SMALL_BYTES: Final = 4096
_STREAMS_MAX: Final = (1 << 32) - 1

Send = Callable[[bytes], Awaitable[None]]
"""Passes a message on, waiting while the way is full. What the tunnel no longer carries is dropped: `close` is near."""
Part = memoryview | bytearray


class Refused(Exception):
    """The agent did not join the stream; the message says why."""


class Broken(Exception):
    """The stream is over before its end; the message says why."""


class Stream:
    """One joined connection: bytes both ways, each way ended on its own."""

    def __init__(self, number: int, send: Send, forget: Callable[[int], None]) -> None:
        self.number = number
        self.bytes_in = self.bytes_out = 0
        """Of `DATA` taken from the tunnel and given to it."""
        self._send, self._forget = send, forget
        self._arrived: deque[Part] = deque()
        self._may_send = self._may_come = WINDOW_BYTES
        self._read = 0
        self._ended = self._peer_ended = False
        self._why_broken: str | None = None
        self._moved, self._over = asyncio.Event(), asyncio.Event()

    @property
    def is_broken(self) -> bool:
        """Whether it is over before its end."""
        return self._why_broken is not None

    async def read(self) -> Part:
        """The next bytes; none once the other side has ended.

        Raises:
            Broken: it was reset, or the tunnel is gone.
        """
        while not self._arrived:
            self._check()
            if self._peer_ended:
                return bytearray()
            await self._wait()
        part = self._arrived.popleft()
        self._read += len(part)
        if self._read >= _GIVE_BACK_BYTES and not self._peer_ended:
            count, self._read = self._read, 0
            self._may_come += count
            await self._send(packed_credit(self.number, count))
        return part

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of it, as fast as the other side reads.

        Raises:
            Broken: it was reset, or the tunnel is gone.
        """
        rest = memoryview(data)
        while rest:
            while not self._may_send:
                self._check()
                await self._wait()
            self._check()
            part = rest[: min(self._may_send, CHUNK_BYTES)]
            rest = rest[len(part) :]
            self._may_send -= len(part)
            self.bytes_out += len(part)
            await self._send(packed(FrameKind.DATA, self.number, part))

    async def end(self) -> None:
        """No more from us; what comes may still be read. Once is enough."""
        if not self._ended and self._why_broken is None:
            self._ended = True
            self._forget_if_over()
            await self._send(packed(FrameKind.END, self.number))

    async def reset(self, why: str) -> None:
        """End it now, both ways; nothing is told if it is over."""
        if self._why_broken is None:
            self.break_off(why)
            if not (self._ended and self._peer_ended):
                await self._send(packed(FrameKind.RESET, self.number, why.encode()))

    async def broken(self) -> None:
        """Wait until it is, which may be never: for who waits for something else than its bytes.

        Raises:
            Broken: it was reset, or the tunnel is gone.
        """
        await self._over.wait()
        self._check()

    def break_off(self, why: str) -> None:
        """Who reads or writes it learns that it is over."""
        self._why_broken = self._why_broken or why
        self._arrived.clear()
        self._forget(self.number)
        self._moved.set()
        self._over.set()

    def take(self, frame: Frame) -> None:
        """What came of it.

        Raises:
            Garbled: more than it was allowed, or after its end.
        """
        if frame.kind is FrameKind.DATA:
            if self._peer_ended or len(frame.body) > self._may_come:
                raise Garbled(f"{len(frame.body)} bytes of a stream that may send {self._may_come}")
            self._may_come -= len(frame.body)
            self.bytes_in += len(frame.body)
            self._keep(frame.body)
        elif frame.kind is FrameKind.CREDIT:
            self._may_send += frame.credit
            if self._may_send > WINDOW_BYTES:
                raise Garbled("more credit than the window")
        elif frame.kind is FrameKind.END:
            self._peer_ended = True
            self._forget_if_over()
        else:
            self.break_off(frame.words or "reset by the other side")
        self._moved.set()

    def _keep(self, body: memoryview) -> None:
        """Small parts are put together: a window of single bytes would hold a hundred times its size."""
        last = self._arrived[-1] if self._arrived else None
        if isinstance(last, bytearray) and len(last) + len(body) <= CHUNK_BYTES:
            last += body
        elif len(body) >= _SMALL_BYTES:
            self._arrived.append(body)
        elif body:
            self._arrived.append(bytearray(body))

    def _forget_if_over(self) -> None:
        if self._ended and self._peer_ended:
            self._forget(self.number)

    def _check(self) -> None:
        if self._why_broken is not None:
            raise Broken(self._why_broken)

    async def _wait(self) -> None:
        """Until anything came of it: one reader and one writer may wait at once."""
        self._moved.clear()
        await self._moved.wait()


class Streams:
    """All of this side. The relay opens them; the agent has `asked`, which is told of each of them and sees that
    `accept` or `refuse` is called for it.
    """

    def __init__(self, send: Send, *, asked: Callable[[Stream, Target], None] | None = None) -> None:
        self._send, self._asked = send, asked
        self._streams: dict[int, Stream] = {}
        self._opening: dict[int, asyncio.Future[Stream]] = {}
        self._next = 1
        self._why_closed: str | None = None

    def __len__(self) -> int:
        return len(self._streams)

    async def open(self, target: Target) -> Stream:
        """A stream that the other side has joined to `target`.

        Raises:
            Refused: it has not; the message says why.
            Broken: the tunnel is gone.
        """
        if self._why_closed is not None:
            raise Broken(self._why_closed)
        if self._next > _STREAMS_MAX:
            raise Broken("the tunnel has no numbers left")
        number, self._next = self._next, self._next + 1
        answer: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self._opening[number] = answer
        try:
            await self._send(packed(FrameKind.OPEN, number, target.model_dump_json().encode()))
            return await answer
        except asyncio.CancelledError:
            # Whether the agent joined it or will: it is over.
            if (stream := self._streams.get(number)) is not None:
                stream.break_off("given up")
            if self._why_closed is None:
                await self._send(packed(FrameKind.RESET, number, b"given up"))
            raise
        finally:
            self._opening.pop(number, None)

    async def accept(self, stream: Stream) -> None:
        """Tell that the stream is joined."""
        await self._send(packed(FrameKind.OPENED, stream.number))

    async def refuse(self, stream: Stream, why: str) -> None:
        """Tell that the stream is not joined, and forget it."""
        stream.break_off(why)
        await self._send(packed(FrameKind.REFUSED, stream.number, why.encode()))

    def take(self, message: bytes) -> None:
        """
        Raises:
            Garbled: the other side broke the protocol; close the tunnel.
        """
        frame = frame_of(message)
        if frame.kind is FrameKind.OPEN:
            self._opened_by_peer(frame)
        elif frame.kind in (FrameKind.OPENED, FrameKind.REFUSED):
            self._answered(frame)
        elif (stream := self._streams.get(frame.stream)) is not None:
            stream.take(frame)

    def close(self, why: str) -> None:
        """The tunnel is gone, and every stream with it."""
        self._why_closed = self._why_closed or why
        for stream in list(self._streams.values()):
            stream.break_off(why)
        for answer in self._opening.values():
            if not answer.done():
                answer.set_exception(Broken(why))

    def _opened_by_peer(self, frame: Frame) -> None:
        if self._asked is None or frame.stream in self._streams:
            raise Garbled("opened a stream that it may not open")
        try:
            target = Target.model_validate_json(bytes(frame.body))
        except ValueError as error:
            raise Garbled("a target that is none") from error
        self._asked(self._new(frame.stream), target)

    def _answered(self, frame: Frame) -> None:
        answer = self._opening.get(frame.stream)
        if answer is None or answer.done():
            return  # given up meanwhile
        if frame.kind is FrameKind.OPENED:
            answer.set_result(self._new(frame.stream))
        else:
            answer.set_exception(Refused(frame.words))

    def _new(self, number: int) -> Stream:
        stream = self._streams[number] = Stream(number, self._send, self._forget)
        return stream

    def _forget(self, number: int) -> None:
        self._streams.pop(number, None)
