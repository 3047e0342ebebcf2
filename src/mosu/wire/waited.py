"""A stream for who asks for its bytes and waits: where there is a parser behind it, or a socket without a transport."""

import asyncio
from collections import deque

from mosu.wire.streams import Broken, Stream
from mosu.wire.websocket import Bytes


class WaitedStream:
    """The end of a stream that one reader and one writer wait for. Its bytes wait in the stream, within its window."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._before = stream.bytes_in, stream.bytes_out
        self._arrived: deque[Bytes] = deque()
        self._is_held = self._peer_ended = False
        self._why_broken: str | None = None
        self._moved = asyncio.Event()
        stream.join(self)

    @property
    def bytes_in(self) -> int:
        """Of what came since this began to wait for it."""
        return self.stream.bytes_in - self._before[0]

    @property
    def bytes_out(self) -> int:
        """Of what was sent since then."""
        return self.stream.bytes_out - self._before[1]

    @property
    def is_quiet(self) -> bool:
        """Whether it is open both ways, and nothing waits in it."""
        is_over = self._peer_ended or self._why_broken is not None
        return not (is_over or self._arrived or self.stream.is_waiting)

    async def read(self) -> Bytes:
        """The next bytes; none once the other side has ended.

        What came before it broke may still be read: an answer, though nobody takes the rest of the question.

        Raises:
            Broken: it was reset, or the tunnel is gone.
        """
        while not self._arrived:
            self._check()
            if self._peer_ended:
                return b""
            await self._wait()
        part = self._arrived.popleft()
        self.stream.has_room()
        return part

    async def write(self, data: Bytes) -> None:
        """Send all of it, as fast as the other side takes it.

        Raises:
            Broken: it was reset, or the tunnel is gone.
        """
        self._check()
        self.stream.send(data)
        while self._is_held:
            await self._wait()
            self._check()

    def end(self) -> None:
        """No more from us; what comes may still be read."""
        self.stream.end()

    def reset(self, why: str) -> None:
        """End it now, both ways; nothing is told if it is over."""
        self.stream.reset(why)

    # What the stream says.

    @property
    def is_full(self) -> bool:
        return bool(self._arrived)

    def give(self, data: Bytes) -> None:
        self._arrived.append(data)
        self._moved.set()

    def give_end(self) -> None:
        self._peer_ended = True
        self._moved.set()

    def hold(self) -> None:
        self._is_held = True

    def go_on(self) -> None:
        self._is_held = False
        self._moved.set()

    def ended(self) -> None:
        """Reader and writer know it."""

    def broken(self, why: str) -> None:
        self._why_broken = why
        self._moved.set()

    def _check(self) -> None:
        if self._why_broken is not None:
            raise Broken(self._why_broken)

    async def _wait(self) -> None:
        """Until anything came of it."""
        self._moved.clear()
        await self._moved.wait()
