"""Ends of streams for tests that read and write as they go, and a carrier that a test drives."""

import asyncio
from collections import deque
from collections.abc import Callable

from mosu.wire.streams import Broken, Stream
from mosu.wire.websocket import Bytes


class Reading:
    """An end that takes `parts_max` pieces and waits until they are read."""

    def __init__(self, stream: Stream, *, parts_max: int = 1) -> None:
        self.stream = stream
        self._parts: deque[bytes] = deque()
        self._parts_max = parts_max
        self._has_come_to_end = self._is_held = False
        self._why = ""
        self._moved = asyncio.Event()
        stream.join(self)

    @property
    def is_full(self) -> bool:
        return len(self._parts) >= self._parts_max

    async def read(self) -> bytes:
        """The next bytes; none once the other side has ended.

        Raises:
            Broken: the stream is over.
        """
        while not self._parts:
            if self._why:
                raise Broken(self._why)
            if self._has_come_to_end:
                return b""
            await self._move()
        part = self._parts.popleft()
        self.stream.has_room()
        return part

    async def write(self, data: Bytes) -> None:
        """Send all of it, as fast as the other side reads.

        Raises:
            Broken: the stream is over.
        """
        if self._why:
            raise Broken(self._why)
        self.stream.send(bytes(data))
        while self._is_held:
            await self._move()
            if self._why:
                raise Broken(self._why)

    async def everything(self) -> bytes:
        """Until the other side ends."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    async def _move(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def give(self, data: Bytes) -> None:
        self._parts.append(bytes(data))
        self._moved.set()

    def give_end(self) -> None:
        self._has_come_to_end = True
        self._moved.set()

    def hold(self) -> None:
        self._is_held = True

    def go_on(self) -> None:
        self._is_held = False
        self._moved.set()

    def ended(self) -> None: ...

    def broken(self, why: str) -> None:
        self._why = why
        self._moved.set()


class Wire:
    """Carries each message to `take` in the loop's next turn: what waits is `messages`."""

    take: Callable[[bytes], None]

    def __init__(self) -> None:
        self.is_full = False
        self.messages: deque[bytes] = deque()

    def put(self, *parts: Bytes) -> None:
        self.messages.append(b"".join(parts))
        asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        self.take(self.messages.popleft())
