"""A WebSocket after its opening, as a way for messages: callbacks in one event loop, no task, no queue.

Nearly all that comes is binary messages in one frame each. Those are read and written here, since the libraries' own
reading and their queues take most of the time of a small message, and copy a large one three times more. Every other
frame goes to the library whole and as it came, and what it does with it is what counts.
"""

import asyncio
import os
import secrets
from contextlib import suppress
from typing import ClassVar, Final, Protocol, TypeAlias

try:
    from websockets.speedups import apply_mask
except ImportError:  # on an architecture for which there is no wheel
    from websockets.utils import apply_mask

Bytes: TypeAlias = bytes | bytearray | memoryview

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""A longer one ends its connection before it came."""
READ_BYTES: Final = MESSAGE_BYTES_MAX + 4096
"""Taken at once, where asyncio would take 256 KiB: a piece of that size and its head are then not read in two."""
_WHOLE_BINARY: Final = 0x82
_FIN: Final = 0x80
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_KEY_BYTES: Final = 4
_ZERO_KEY: Final = bytes(_KEY_BYTES)
"""Leaves every byte as it is."""
_HEAD_BYTES_MIN: Final = 2
_SMALL_MAX: Final = 125
_SHORT: Final = 126
_SHORT_MAX: Final = 0xFFFF
_AT_ONCE_BYTES: Final = 512 * 1024
"""What is sent in one turn of the loop is written together, up to so much."""
_PARTS_MAX: Final = 64
"""More are small, and cost less put together than one by one."""
_WAITS_BYTES_MAX: Final = 4 * 1024 * 1024
"""What may be sent to a full way at all (credit, answers) is far less. Who makes us wait with more wants our memory."""
_BREATH_FRAMES: Final = 64
"""So many are taken before others have their turn: their sender chooses how small they are."""


class Listener(Protocol):
    """Who has a way."""

    def taken(self, message: Bytes) -> None:
        """It came, whole; it may be kept."""

    def text_came(self) -> None:
        """What came is a text; it is not given."""

    def has_room(self) -> None:
        """The way is no longer full."""

    def lost(self) -> None:
        """Nothing comes any more, and nothing goes. Called once."""


class Way(asyncio.Protocol):
    """One side's end, for a library's protocol class to inherit before its own base.

    `put` never waits: who has more to send while the way `is_full` waits for `has_room`.
    """

    masks: ClassVar[bool]
    """Whether this side masks what it sends, and the other one does not (RFC 6455 section 5.1)."""
    is_unseen = False
    """Whether nobody on the way reads what is sent. Masks keep those from taking it for something else (section 10.3):
    where there are none, the key is zero, and neither side passes over the bytes."""
    transport: asyncio.Transport
    full_since: float | None = None
    """The loop's time from which on what is sent only waits."""
    listener: Listener | None = None
    _loop: asyncio.AbstractEventLoop
    _is_held = _is_behind = _is_parted = _is_silent = _is_lost = _is_due = False
    _lacks = 0
    _leaving_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether what is sent now would only wait."""
        return self.full_since is not None

    def begin(self, listener: Listener) -> None:
        """From now on what comes goes to `listener`."""
        self._loop = asyncio.get_running_loop()
        self.transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of a socket; TLS has its own
        self._begun = bytearray()
        self._leaving: list[Bytes] = []
        of = self.transport.get_extra_info
        self._fd: int | None = None if of("sslcontext") else of("socket").fileno()
        self.listener = listener
        if self.is_over():
            self._loop.call_soon(self.lose)

    def is_over(self) -> bool:
        """Whether either side has closed it."""
        raise NotImplementedError

    def put(self, *parts: Bytes) -> None:
        """All of them as one message."""
        if self._is_silent:
            return
        size = sum(map(len, parts))
        leaving = self._leaving
        if not self.masks:
            leaving.append(_head(size, 0))
            leaving.extend(parts)
        elif self.is_unseen:
            leaving.append(_head(size, _MASKED) + _ZERO_KEY)
            leaving.extend(parts)
        else:
            key = secrets.token_bytes(_KEY_BYTES)
            leaving.append(_head(size, _MASKED) + key)
            for part in parts:
                leaving.append(apply_mask(part, key))
                turn = len(part) % _KEY_BYTES
                key = key[turn:] + key[:turn]
        self._leaving_bytes += size
        if self._leaving_bytes >= _AT_ONCE_BYTES:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write now what was sent in this turn of the loop."""
        self._is_due = False
        if self._leaving:
            leaving, self._leaving = self._leaving, []
            self._leaving_bytes = 0
            if not self.transport.is_closing():
                self._write(leaving)
                if self.full_since is not None and self.transport.get_write_buffer_size() > _WAITS_BYTES_MAX:
                    self.transport.abort()

    def _write(self, parts: list[Bytes]) -> None:
        """Straight to the kernel, as the parts are: asyncio would first make one of them. What it does not take now,
        and what is encrypted, is the transport's."""
        if len(parts) > _PARTS_MAX or self._fd is None or self.transport.get_write_buffer_size():
            self.transport.write(b"".join(parts))
            return
        went = 0
        with suppress(OSError):  # it takes nothing now, or never again: the transport learns which
            went = os.writev(self._fd, parts)
        for part in parts:
            if went >= len(part):
                went -= len(part)
            else:
                self.transport.write(memoryview(part)[went:])
                went = 0

    def silence(self) -> None:
        """What was sent goes; nothing is sent or taken after it."""
        if self.listener is not None:
            self.flush()
            self._is_silent = True
            self.go_on()

    def lose(self) -> None:
        """It is over, whatever waits."""
        self._is_silent = True
        if self.listener is not None and not self._is_lost:
            self._is_lost = True
            self.listener.lost()

    def hold(self) -> None:
        """Take nothing for a while."""
        self._is_held = True
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Take what comes again."""
        if self._is_held:
            self._is_held = False
            self._fall_behind()

    def data_received(self, data: bytes) -> None:
        if self.listener is None:
            super().data_received(data)
        else:
            self._read(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.full_since = asyncio.get_running_loop().time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.full_since = None
        # Not from here: asyncio loses its count of a connection that breaks as more is written to it.
        asyncio.get_running_loop().call_soon(self._tell_room)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lose()

    def _tell_room(self) -> None:
        if self.listener is not None and not (self.is_full or self._is_lost):
            self.listener.has_room()

    def _fall_behind(self) -> None:
        """The rest of what came is taken in the next turn, and before it nothing more is read."""
        if not self._is_behind:
            self._is_behind = True
            self.transport.pause_reading()
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        self._is_behind = False
        if self._is_lost:
            return
        if not self._is_held:
            self._read(b"")
        if not (self._is_held or self._is_behind):
            self.transport.resume_reading()

    def _read(self, data: Bytes) -> None:
        begun, lacks = self._begun, self._lacks
        if lacks > len(data):
            begun += data
            self._lacks -= len(data)
            return
        if begun:
            self._begun, self._lacks = bytearray(), 0
            if lacks and not self._is_held:
                view = memoryview(data)
                begun += view[:lacks]
                self._frames(begun, 1)
                data = view[lacks:]
            else:
                data = bytes(begun) + data
        if data:
            self._frames(data, _BREATH_FRAMES)

    def _frames(self, data: Bytes, frames_max: int) -> None:
        """Take those that are whole, keep the rest."""
        view, at, size = memoryview(data), 0, len(data)
        for _ in range(frames_max):
            if self._is_held or (body := _body_of(view, at)) == 0:
                break
            length = _length_of(view, at)
            if length > MESSAGE_BYTES_MAX:
                self._left_to_library(bytes(view[at:]))
                at = size
                break
            if body + length > size:
                self._lacks = body + length - size
                break
            self._take(view[at : body + length], body - at)
            at = body + length
        else:
            if at < size:
                self._fall_behind()
        if at < size:
            self._begun = bytearray(view[at:])

    def _take(self, frame: memoryview, head_bytes: int) -> None:
        is_masked = bool(frame[1] & _MASKED)
        if frame[0] == _WHOLE_BINARY and is_masked is not self.masks and not self._is_parted:
            body: Bytes = frame[head_bytes:]
            if is_masked and (key := bytes(frame[head_bytes - _KEY_BYTES : head_bytes])) != _ZERO_KEY:
                body = apply_mask(body, key)
            self._heard(body)
            return
        if not frame[0] & _CONTROL:
            self._is_parted = not frame[0] & _FIN
        self._left_to_library(bytes(frame))

    def _heard(self, message: Bytes | None) -> None:
        """A message; None for a text."""
        if self.listener is None or self._is_silent:
            return
        if message is None:
            self.listener.text_came()
        else:
            self.listener.taken(message)

    def _left_to_library(self, frame: bytes) -> None:
        super().data_received(frame)
        if self.is_over():
            self.lose()


def _body_of(data: memoryview, at: int) -> int:
    """Where the body begins of the frame that begins at `at`; 0 if its head is not there yet (RFC 6455 section 5.2)."""
    left = len(data) - at
    if left < _HEAD_BYTES_MIN:
        return 0
    second = data[at + 1]
    length = second & ~_MASKED
    head = _HEAD_BYTES_MIN if length <= _SMALL_MAX else 4 if length == _SHORT else 10
    if second & _MASKED:
        head += _KEY_BYTES
    return at + head if head <= left else 0


def _length_of(data: memoryview, at: int) -> int:
    """Of its body, whose head is there."""
    length = data[at + 1] & ~_MASKED
    if length <= _SMALL_MAX:
        return length
    end = at + (4 if length == _SHORT else 10)
    return int.from_bytes(data[at + 2 : end], "big")


def _head(size: int, masked: int) -> bytes:
    if size <= _SMALL_MAX:
        return bytes((_WHOLE_BINARY, masked | size))
    if size <= _SHORT_MAX:
        return bytes((_WHOLE_BINARY, masked | _SHORT)) + size.to_bytes(2, "big")
    return bytes((_WHOLE_BINARY, masked | 127)) + size.to_bytes(8, "big")


class ServedWay(Protocol):
    """A way as who serves it has it."""

    @property
    def full_since(self) -> float | None:
        """The loop's time from which on what is sent only waits."""

    @property
    def is_full(self) -> bool:
        """Whether it does."""

    def begin(self, listener: Listener) -> None:
        """From now on what comes goes to `listener`."""

    def put(self, *parts: Bytes) -> None:
        """All of them as one message."""

    def flush(self) -> None:
        """Write now what was sent in this turn of the loop."""

    def hold(self) -> None:
        """Take nothing for a while."""

    def go_on(self) -> None:
        """Take what comes again."""

    def close(self, code: int, why: str) -> None:
        """Close it behind what was sent; waits for nobody."""
