"""The agent's side of legs: one step of a session's job each, begun when somebody is to be joined to it.

`srun` carries the leg's standard input and output over Slurm's own authenticated connections. All legs have one
event loop, in a thread of its own.
"""

import asyncio
import os
import signal
import socket
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.site_agent import leg
from mosu.site_agent.engines.slurm import commands
from mosu.site_agent.leg import BEAT_S, SIGN, STREAMS_MAX, Pipes, carried
from mosu.wire.streams import Broken, Refused, Stream, Streams
from mosu.wire.tunnel import CHUNK_BYTES, Garbled, Target

PATIENCE_S: Final = 9.0
"""Whoever asks waits no longer; the relay gives an agent ten seconds."""
OPEN_S_MAX: Final = 20.0
"""A step that has not begun by then is given up."""
AGAIN_S: Final = 5.0
"""No sooner after a leg was begun is the next one: neither buyers nor faults ask Slurm for step after step."""
IDLE_S_MAX: Final = 600.0
_END_S_MAX: Final = 3.0
_SAID_BYTES: Final = 2000
_WORDS_MAX: Final = 300


class Legs:
    """All of one engine."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._legs: dict[str, _Leg] = {}
        """Of the loop's thread alone."""
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def connect(self, folder: Path, *, job_id: int, port: int) -> socket.socket:
        """A connection to the port of the session in `folder`, which the job has.

        Raises:
            NotReached: there is none; it says why within `PATIENCE_S`.
        """
        asked = self._connected(folder, job_id, port)
        return asyncio.run_coroutine_threadsafe(asked, self._running_loop()).result()

    def open(self, folder: Path, *, job_id: int) -> None:
        """Return once a leg stands in the job.

        Raises:
            NotReached: none does; it says why within `OPEN_S_MAX`.
        """
        asyncio.run_coroutine_threadsafe(self._opened(folder, job_id), self._running_loop()).result()

    def end(self, name: str) -> None:
        """The session of this name is over, and so is its leg."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, name)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="legs", daemon=True).start()
            return self._loop

    async def _connected(self, folder: Path, job_id: int, port: int) -> socket.socket:
        target = Target(attempt_id=folder.name, port=port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await (await self._leg(folder, job_id)).connected(target)
        except TimeoutError:
            found = self._legs.get(folder.name)
            raise NotReached(_late("" if found is None else found.said)) from None

    async def _opened(self, folder: Path, job_id: int) -> None:
        await (await self._leg(folder, job_id)).opened()

    async def _leg(self, folder: Path, job_id: int) -> "_Leg":
        """The session's leg, begun if there is none.

        Raises:
            NotReached: the last one did not come so far, and it is too early for the next.
        """
        while True:
            known = self._legs.get(folder.name)
            if known is not None and not known.why_over:
                return known
            wait_s = 0.0 if known is None else known.began_at + AGAIN_S - monotonic()
            if wait_s <= 0:
                self._legs[folder.name] = begun = _Leg(self._command(folder, job_id))
                return begun
            assert known is not None  # noqa: S101 - or nothing is waited for
            known.check()
            await asyncio.sleep(wait_s)

    def _end(self, name: str) -> None:
        found = self._legs.pop(name, None)
        if found is not None:
            found.end()

    def _command(self, folder: Path, job_id: int) -> Sequence[str]:
        return (
            *("srun", "--job-name=mosu_leg", *commands.step_of(job_id)),
            *(self._python, "-I", leg.__file__, str(folder)),
        )


class _Leg:
    """One: a process of `srun`, and the streams over its pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self.began_at = self._used_at = monotonic()
        self.said = ""
        """The last words of `srun`, or of the leg's own trouble."""
        self.why_over = ""
        self._command = command
        self._streams: Streams | None = None
        """There once the leg stands."""
        self._moved, self._unwanted = asyncio.Event(), asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()
        self._work = asyncio.create_task(self._until_over())

    def end(self) -> None:
        """Nobody wants it any more."""
        self._unwanted.set()

    def check(self) -> None:
        """
        Raises:
            NotReached: it is over without ever having stood.
        """
        if self.why_over and self._streams is None:
            raise NotReached(self.why_over)

    async def opened(self) -> Streams:
        """Its streams, once it stands.

        Raises:
            NotReached: it is over; it says why.
        """
        await self._moved.wait()
        if self._streams is None or self.why_over:
            raise NotReached(self.why_over)
        return self._streams

    async def connected(self, target: Target) -> socket.socket:
        """One end of a pair; the other is carried to the target.

        Raises:
            NotReached: nothing answers there, or the leg is over; it says why.
        """
        self._used_at = monotonic()
        streams = await self.opened()
        if len(streams) >= STREAMS_MAX:
            raise NotReached(CROWDED)
        try:
            stream = await streams.open(target)
        except (Refused, Broken) as why:
            raise NotReached(str(why)) from None
        ours, theirs = socket.socketpair()
        task = asyncio.create_task(_carried(stream, theirs))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        return ours

    async def _until_over(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=4 * CHUNK_BYTES,
                cwd="/",
                env=commands.environment(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            self._is_over(f"{self._command[0]}: {error.strerror}")
            return
        assert process.stdin and process.stdout and process.stderr  # noqa: S101 - pipes, as asked
        hearing = asyncio.create_task(self._hear(process.stderr))
        pipes = Pipes(process.stdout, process.stdin)
        ways = {
            asyncio.create_task(self._taken(process.stdout, pipes)),
            asyncio.create_task(self._watched(pipes)),
            asyncio.create_task(self._until_unwanted()),
        }
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        why = done.pop().result()
        for way in ways:
            way.cancel()
        if self._streams is not None:
            self._is_over(why)
        await _ended(process)
        await asyncio.wait({hearing}, timeout=_END_S_MAX)
        hearing.cancel()
        if self._streams is None:
            self._is_over(f"{why} {self.said}".strip())

    async def _taken(self, reader: asyncio.StreamReader, pipes: Pipes) -> str:
        """Pass on what comes until nothing does; why it is over then."""
        try:
            await reader.readuntil(SIGN)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return "Slurm opens no way to its node:"
        self._streams = streams = Streams(pipes)
        pipes.begin(streams)
        self._moved.set()
        try:
            async for message in pipes.messages():
                streams.take(message)
        except Garbled as garbled:
            return f"The way to its node broke the protocol: {garbled}."
        return "The way to its node has ended; try again."

    async def _watched(self, pipes: Pipes) -> str:
        """Why it is given up."""
        while True:
            pipes.beat()
            await asyncio.sleep(BEAT_S)
            now = monotonic()
            if self._streams is None:
                if now > self.began_at + OPEN_S_MAX:
                    return f"Slurm opened no way to its node within {OPEN_S_MAX:.0f} s:"
            elif pipes.is_silent:
                return "The way to its node has gone silent; try again."
            elif len(self._streams):
                self._used_at = now
            elif now > self._used_at + IDLE_S_MAX:
                return "Nobody used the way to its node; try again."

    async def _until_unwanted(self) -> str:
        await self._unwanted.wait()
        return "Its session is over."

    async def _hear(self, errors: asyncio.StreamReader) -> None:
        """Keep the last two lines of what `srun` and the leg complain of: what went wrong, and that it did."""
        kept = b""
        while part := await errors.read(_SAID_BYTES):
            kept = (kept + part)[-_SAID_BYTES:]
            lines = [line for line in kept.decode(errors="replace").splitlines() if line.strip()]
            last = "; ".join(lines[-2:])
            self.said = "".join(letter for letter in last if letter.isprintable())[-_WORDS_MAX:]

    def _is_over(self, why: str) -> None:
        self.why_over = why
        if self._streams is not None:
            self._streams.close(why)
        self._moved.set()


def _late(said: str) -> str:
    return f"The way to its node is not open yet; try again. {said}".strip()


async def _carried(stream: Stream, door: socket.socket) -> None:
    with door:
        door.setblocking(False)
        await carried(stream, door)


async def _ended(process: Process) -> None:
    """Let it end by the end of its input; ask it to, then make it, if it does not."""
    assert process.stdin and process.stdout  # noqa: S101 - pipes, as asked
    process.stdin.close()
    draining = asyncio.create_task(_drained(process.stdout))  # what waits to be written keeps nobody
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S_MAX):
                await process.wait()
                break
        with suppress(ProcessLookupError):
            if number is not None:
                os.killpg(process.pid, number)
    draining.cancel()


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(CHUNK_BYTES):
        pass
