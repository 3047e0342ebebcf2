"""Ends of streams for tests that read and write as they go, and a carrier that a test drives."""

import asyncio
from collections import deque
from collections.abc import Callable

from mosu.wire.streams import Stream
from mosu.wire.waited import WaitedStream
from mosu.wire.websocket import Bytes


class Reading(WaitedStream):
    """An end that takes `parts_max` pieces and waits until they are read."""

    def __init__(self, stream: Stream, *, parts_max: int = 1) -> None:
        self.stream, self._parts_max = stream, parts_max
        super().__init__(stream)

    @property
    def is_full(self) -> bool:
        return len(self._arrived) >= self._parts_max

    async def everything(self) -> bytes:
        """Until the other side ends."""
        parts = []
        while part := await self.read():
            parts.append(bytes(part))
        return b"".join(parts)


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
