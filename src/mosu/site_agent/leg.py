"""A leg: what joins people to the ports of a session on a node that is not the agent's own.

Started as `python -I leg.py FOLDER` on the session's node, by whatever runs things there, in the session's own
allocation. It speaks with the agent over its standard input and output and dials `FOLDER/dial.sock`; it listens
nowhere. Each message is one frame of a tunnel (`mosu.wire.tunnel`) in which the agent opens the streams.

| bytes | what |
|---|---|
| `SIGN` | once, by the leg: what came before was not ours, such as words of a prolog |
| 4, big-endian | the length of the message; 0: it says only that its sender lives |
| so many | the message |
| 1 | a line's end: Slurm passes on a task's output by the line |

It ends with the agent: at the end of its input, or once it has heard nothing for `SILENT_S_MAX`.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/mosu/site_agent/")[0])

import asyncio
import os
import socket
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.site_agent.engines.dialling import dialled
from mosu.wire.streams import Stream, Streams
from mosu.wire.tunnel import CHUNK_BYTES, Garbled, Target
from mosu.wire.waited import WaitedStream
from mosu.wire.websocket import Bytes

SIGN: Final = b"\nmosu leg\n"
STREAMS_MAX: Final = 128
"""Of one leg: what a stream may leave unread takes room in the session's own memory, up to a window each."""
BEAT_S: Final = 5.0
SILENT_S_MAX: Final = 30.0
_DIALS_MAX: Final = 4
_LENGTH_BYTES: Final = 4
_MESSAGE_BYTES_MAX: Final = CHUNK_BYTES + 64
_LINE_END: Final = b"\n"


class Pipes:
    """Messages over one pipe each way."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._heard_at = monotonic()
        self._draining: asyncio.Task[None] | None = None
        self._streams: Streams | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the other side has said nothing for too long, not even that it lives."""
        return monotonic() > self._heard_at + SILENT_S_MAX

    def begin(self, streams: Streams) -> None:
        """They are told when there is room again."""
        self._streams = streams

    @property
    def is_full(self) -> bool:
        """Whether what is sent now would only wait."""
        return self._draining is not None

    def put(self, *parts: Bytes) -> None:
        """All of them as one message, which never waits; what the pipe no longer takes is dropped."""
        length = sum(map(len, parts))
        self._writer.write(b"".join((length.to_bytes(_LENGTH_BYTES, "big"), *parts, _LINE_END)))
        if self._draining is None and self._writer.transport.get_write_buffer_size() > CHUNK_BYTES:
            self._draining = asyncio.create_task(self._drained())

    async def _drained(self) -> None:
        with suppress(ConnectionError):
            await self._writer.drain()
        self._draining = None
        if self._streams is not None:
            self._streams.has_room()

    def beat(self) -> None:
        """Say that we live: so few bytes, and not for long, if nobody takes them."""
        self.put()

    async def messages(self) -> AsyncIterator[bytes]:
        """What comes, until the pipe ends.

        Raises:
            Garbled: what comes is no message.
        """
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
                if length > _MESSAGE_BYTES_MAX:
                    raise Garbled(f"a message of {length} bytes")
                message = await self._reader.readexactly(length + 1)
                if message[-1:] != _LINE_END:
                    raise Garbled("a message without its end")
                self._heard_at = monotonic()
                if length:
                    yield message[:-1]


async def carried(joined: Stream, door: socket.socket) -> None:
    """Bytes both ways between them, each way ended on its own; if either breaks, both do."""
    stream = WaitedStream(joined)
    ways = {asyncio.create_task(_out(stream, door)), asyncio.create_task(_in(stream, door))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        stream.reset("the connection is broken")


async def _out(stream: WaitedStream, door: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while part := await stream.read():
        await loop.sock_sendall(door, part)
    door.shutdown(socket.SHUT_WR)


async def _in(stream: WaitedStream, door: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := await loop.sock_recv_into(door, buffer):
        await stream.write(view[:count])
    stream.end()


class _Leg:
    """The node's side."""

    def __init__(self, folder: Path, pipes: Pipes) -> None:
        self._folder, self._pipes = folder, pipes
        self._streams = Streams(pipes, asked=self._begin)
        pipes.begin(self._streams)
        self._tasks: set[asyncio.Task[None]] = set()

    async def work(self) -> None:
        """Until the agent is gone."""
        ways = {asyncio.create_task(self._take()), asyncio.create_task(self._until_silent())}
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in done:
            way.result()

    async def _take(self) -> None:
        async for message in self._pipes.messages():
            self._streams.take(message)

    async def _until_silent(self) -> None:
        while not self._pipes.is_silent:
            self._pipes.beat()
            await asyncio.sleep(BEAT_S)

    def _begin(self, stream: Stream, target: Target) -> None:
        task = asyncio.create_task(self._joined(stream, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _joined(self, stream: Stream, target: Target) -> None:
        try:
            door = await self._door(target)
        except NotReached as why:
            self._streams.refuse(stream, str(why))
            return
        with door:
            door.setblocking(False)
            door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._streams.accept(stream)
            await carried(stream, door)

    async def _door(self, target: Target) -> socket.socket:
        """
        Raises:
            NotReached: nothing answers there, or it is not this leg's to reach.
        """
        if target.attempt_id != self._folder.name:
            raise NotReached("This leg goes to another session.")
        if len(self._streams) > STREAMS_MAX:
            raise NotReached(CROWDED)
        return await asyncio.get_running_loop().run_in_executor(None, dialled, self._folder, target.port)


async def _serve(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_DIALS_MAX, "dial"))
    reader = StreamReader(limit=4 * CHUNK_BYTES)
    await loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), sys.stdin.buffer)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else prints does not print into the messages
    transport, protocol = await loop.connect_write_pipe(lambda: StreamReaderProtocol(StreamReader()), out)
    writer = StreamWriter(transport, protocol, None, loop)
    writer.write(SIGN)
    await _Leg(folder, Pipes(reader, writer)).work()


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(_serve(Path(sys.argv[1])))
