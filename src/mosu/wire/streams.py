"""The streams of one side of a tunnel, over whatever carries its messages (`mosu.wire.tunnel` says which).

One event loop, no task, nothing waits: what comes is given on at once to what the stream is joined to, its `End`. While
an end is full, what comes for it is kept here, never more than its window; while the other side has given no credit, or
the way is full, what an end sent is kept here, and the end is held, so it is never more than one read of it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from mosu.wire.tunnel import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    Frame,
    FrameKind,
    Garbled,
    Target,
    frame_of,
    head_of,
    packed,
    packed_credit,
)
from mosu.wire.websocket import READ_BYTES, Bytes

_GIVE_BACK_BYTES: Final = WINDOW_BYTES // 4
_SMALL_BYTES: Final = READ_BYTES // 8
"""Less than this is copied if it is kept."""
_STREAMS_MAX: Final = (1 << 32) - 1


class Refused(Exception):
    """The agent did not join the stream; the message says why."""


class Broken(Exception):
    """The stream is over before its end; the message says why."""


class Carrier(Protocol):
    """What carries the messages of one side. What it no longer carries is dropped: `Streams.close` is near."""

    @property
    def is_full(self) -> bool:
        """Whether what is sent now would only wait. `Streams.has_room` is called when it no longer is."""

    def put(self, *parts: Bytes) -> None:
        """All of them as one message; never waits."""


class End(Protocol):
    """What a stream is joined to on this side. None of these waits, and none raises."""

    @property
    def is_full(self) -> bool:
        """Whether it can take no more for now. It calls `Stream.has_room` when it can again."""

    def give(self, data: Bytes) -> None:
        """It came."""

    def give_end(self) -> None:
        """No more comes."""

    def hold(self) -> None:
        """Send no more for a while: what was sent is still here."""

    def go_on(self) -> None:
        """What was sent has gone."""

    def ended(self) -> None:
        """Both ways have ended."""

    def broken(self, why: str) -> None:
        """It is over before its end."""


class _Kept:
    """Bytes that wait, in at most twice their size of memory. Small ones are put together, since a window of single
    bytes would hold a hundred times its size; so is a small part of what was read at once.
    """

    def __init__(self) -> None:
        self._parts: deque[memoryview | bytearray] = deque()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def keep(self, data: Bytes) -> None:
        last = self._parts[-1] if self._parts else None
        if isinstance(last, bytearray) and len(last) + len(data) <= CHUNK_BYTES:
            last += data
        elif len(data) >= _SMALL_BYTES and 2 * len(data) >= _memory_bytes(data):
            self._parts.append(memoryview(data))
        elif data:
            self._parts.append(bytearray(data))

    def next(self, most: int = CHUNK_BYTES) -> Bytes:
        """The first of them, as one piece, at most so many."""
        first = self._parts.popleft()
        if len(first) > most:
            view = memoryview(first)
            self._parts.appendleft(view[most:])
            return view[:most]
        return first

    def clear(self) -> None:
        self._parts.clear()


def _memory_bytes(data: Bytes) -> int:
    """Of what is kept with it: of a view, all that was read with it."""
    return memoryview(data.obj).nbytes if isinstance(data, memoryview) else len(data)


class Stream:
    """One joined connection: bytes both ways, each way ended on its own."""

    def __init__(self, number: int, streams: "Streams", carrier: Carrier) -> None:
        self.number = number
        self.bytes_in = self.bytes_out = 0
        """Of `DATA` taken from the tunnel and given to it."""
        self._streams, self._carrier, self._head = streams, carrier, head_of(FrameKind.DATA, number)
        self._end: End | None = None
        self._arrived, self._leaving = _Kept(), _Kept()
        self._may_send = self._may_come = WINDOW_BYTES
        self._given = 0
        self._is_held = False
        self._ending = self._ended = self._peer_ended = self._end_given = False
        self._why_broken: str | None = None

    @property
    def is_broken(self) -> bool:
        """Whether it is over before its end."""
        return self._why_broken is not None

    @property
    def is_waiting(self) -> bool:
        """Whether what was sent is still here."""
        return bool(self._leaving)

    def join(self, end: End) -> None:
        """From now on what comes goes to `end`, and what came before."""
        self._end = end
        if self._why_broken is not None:
            end.broken(self._why_broken)
        else:
            self.has_room()

    def send(self, data: Bytes) -> None:
        """Send it as soon as it may go; `end` is held meanwhile."""
        if self._why_broken is not None or self._ending:
            return
        if 0 < len(data) <= min(self._may_send, CHUNK_BYTES) and not (self._leaving or self._carrier.is_full):
            self._go(data)
        elif data:
            self._leaving.keep(data)
            self._streams.wait(self)
            if self._leaving and not self._is_held and self._end is not None:
                self._is_held = True
                self._end.hold()

    def end(self) -> None:
        """No more from us; what comes may still be taken. Once is enough."""
        if not self._ending and self._why_broken is None:
            self._ending = True
            if not self._leaving:
                self._tell_end()

    def reset(self, why: str) -> None:
        """End it now, both ways; nothing is told if it is over."""
        if self._why_broken is None:
            was_over = self._ended and self._peer_ended
            self.break_off(why)
            if not was_over:
                self._carrier.put(packed(FrameKind.RESET, self.number, why.encode()))

    def break_off(self, why: str) -> None:
        """It is over, and its end learns why."""
        if self._why_broken is None:
            self._why_broken = why
            self._arrived.clear()
            self._leaving.clear()
            self._streams.forget(self)
            if self._end is not None:
                self._end.broken(why)

    def has_room(self) -> None:
        """Its end can take more: give it what came, and credit to the other side."""
        if self._why_broken is not None:
            return
        end = self._end
        while self._arrived and end is not None and not end.is_full:
            self._give(end, self._arrived.next())
        self._credit()
        if self._peer_ended and not self._arrived and not self._end_given and end is not None:
            self._end_given = True
            end.give_end()
            self._tell_if_over()

    def go_on(self) -> bool:
        """Send one chunk of what waits, if it may go; whether more of it may go."""
        if self._leaving and self._may_send:
            self._go(self._leaving.next(min(self._may_send, CHUNK_BYTES)))
        if self._leaving:
            return self._may_send > 0
        if self._ending and not self._ended:
            self._tell_end()
        if self._is_held and self._end is not None:
            self._is_held = False
            self._end.go_on()
        return False

    def take(self, frame: Frame) -> None:
        """What came of it.

        Raises:
            Garbled: more than it was allowed, or after its end.
        """
        if frame.kind is FrameKind.DATA:
            self._take_data(frame.body)
        elif frame.kind is FrameKind.CREDIT:
            self._may_send += frame.credit
            if self._may_send > WINDOW_BYTES:
                raise Garbled("more credit than the window")
            if self._leaving:
                self._streams.wait(self)
        elif frame.kind is FrameKind.END:
            self._peer_ended = True
            if self._ended:
                self._streams.forget(self)
            self.has_room()
        else:
            self.break_off(frame.words or "reset by the other side")

    def _take_data(self, body: memoryview) -> None:
        count = len(body)
        if self._peer_ended or count > self._may_come:
            raise Garbled(f"{count} bytes of a stream that may send {self._may_come}")
        self._may_come -= count
        self.bytes_in += count
        end = self._end
        if end is None or end.is_full or self._arrived:
            self._arrived.keep(body)
        elif count:
            self._give(end, body)
            self._credit()

    def _give(self, end: End, data: Bytes) -> None:
        self._given += len(data)
        end.give(data)

    def _credit(self) -> None:
        """For what its end has taken; a full one has not yet taken what it was given last."""
        if self._given >= _GIVE_BACK_BYTES and not self._peer_ended and not (self._end and self._end.is_full):
            count, self._given = self._given, 0
            self._may_come += count
            self._carrier.put(packed_credit(self.number, count))

    def _go(self, data: Bytes) -> None:
        self._may_send -= len(data)
        self.bytes_out += len(data)
        self._carrier.put(self._head, data)

    def _tell_end(self) -> None:
        self._ended = True
        if self._peer_ended:
            self._streams.forget(self)
        self._carrier.put(packed(FrameKind.END, self.number))
        self._tell_if_over()

    def _tell_if_over(self) -> None:
        if self._ended and self._end_given and self._end is not None:
            self._end.ended()


class Streams:
    """All of this side. The relay opens them; the agent has `asked`, which is told of each of them and sees that
    `accept` or `refuse` is called for it.
    """

    def __init__(self, carrier: Carrier, *, asked: Callable[[Stream, Target], None] | None = None) -> None:
        self._carrier, self._asked = carrier, asked
        self._streams: dict[int, Stream] = {}
        self._opening: dict[int, asyncio.Future[Stream]] = {}
        self._waiting: dict[Stream, None] = {}
        """Those with something to send that may go: each a chunk, in turn."""
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
            self._carrier.put(packed(FrameKind.OPEN, number, target.model_dump_json().encode()))
            return await answer
        except asyncio.CancelledError:
            # Whether the agent joined it or will: it is over.
            if (stream := self._streams.get(number)) is not None:
                stream.break_off("given up")
            if self._why_closed is None:
                self._carrier.put(packed(FrameKind.RESET, number, b"given up"))
            raise
        finally:
            self._opening.pop(number, None)

    def accept(self, stream: Stream) -> None:
        """Tell that the stream is joined."""
        self._carrier.put(packed(FrameKind.OPENED, stream.number))

    def refuse(self, stream: Stream, why: str) -> None:
        """Tell that the stream is not joined, and forget it."""
        stream.break_off(why)
        self._carrier.put(packed(FrameKind.REFUSED, stream.number, why.encode()))

    def take(self, message: Bytes) -> None:
        """
        Raises:
            Garbled: the other side broke the protocol; close the tunnel.
        """
        frame = frame_of(message)
        if (stream := self._streams.get(frame.stream)) is not None and frame.kind > FrameKind.REFUSED:
            stream.take(frame)
        elif frame.kind is FrameKind.OPEN:
            self._opened_by_peer(frame)
        elif frame.kind in (FrameKind.OPENED, FrameKind.REFUSED):
            self._answered(frame)

    def has_room(self) -> None:
        """The carrier has: who waits sends, in turn."""
        while self._waiting and not self._carrier.is_full:
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            if stream.go_on():
                self._waiting[stream] = None

    def wait(self, stream: Stream) -> None:
        """It has something to send: at once, or when its turn comes."""
        self._waiting[stream] = None
        self.has_room()

    def forget(self, stream: Stream) -> None:
        """It is over: what still comes of it is passed over."""
        self._streams.pop(stream.number, None)
        self._waiting.pop(stream, None)

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
        stream = self._streams[number] = Stream(number, self, self._carrier)
        return stream
