"""A leg that comes to the agent: what joins people to a session on another machine than the agent's.

Started as `python -I -S leg.py FOLDER` beside the session's supervisor, outside the sandbox. It connects to where
`FOLDER/leg.json` says that the agent listens, and the two prove themselves (`proof.py`). Then the connection waits:

| by | bytes | what |
|---|---|---|
| agent | 2, big-endian | the port that somebody is to be joined to |
| leg | 1 | 0: joined; what follows, both ways, is theirs alone. Or the length of the reason |
| leg | so many | why nobody is joined, UTF-8; and the connection ends |

A connection that was asked is followed by the next, so one always waits. It is dialled again while there is the file,
and ends with its standard input, which is its supervisor's. A leg listens nowhere and dials `FOLDER/dial.sock` alone.
Standard library only: a node has Python and the shared folder.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/mosu/site_agent/")[0])

import asyncio
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from struct import pack
from typing import Final, TypedDict

from mosu.kernel.reaching import CROWDED, NotReached
from mosu.site_agent.engines.dialling import dialled
from mosu.site_agent.engines.ray.proof import Unproven, bound, exactly, prove_to_agent
from mosu.site_agent.files import Garbled, read_json

LEG_FILE: Final = "leg.json"
JOINED_MAX: Final = 128
"""At once: what waits to be read takes room on the node, up to a buffer each way."""
WORDS_BYTES_MAX: Final = 250
AGAIN_S: Final = (0.2, 3.0)
"""Between two attempts to come to the agent."""
_REBORN_S: Final = 1.0
_COMES_S_MAX: Final = 10.0
_DIALS_MAX: Final = 4
_BUFFER_BYTES: Final = 128 * 1024
_END_S_MAX: Final = 5.0
_RESET: Final = pack("ii", 1, 0)
_ALIVE: Final = (
    (socket.TCP_KEEPIDLE, 10),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
)
"""Who vanished is known after 25 s, also where nothing is said."""

Join = Callable[[int], socket.socket]
"""A connected socket to a port of the session; raises `NotReached`."""


class LegFile(TypedDict):
    """For the leg alone: as the session's other files, it is neither in the sandbox nor open to its user."""

    at: tuple[str, int]
    key: str


def prepare(door: socket.socket) -> None:
    """A connection between leg and agent: neither sits on small pieces, and both find out when the other is gone."""
    door.setblocking(False)
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _ALIVE:
        door.setsockopt(socket.IPPROTO_TCP, option, value)


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """A leg stands meanwhile, if the session in `folder` is to have one. It ends with us, however we end."""
    if not (folder / LEG_FILE).exists():
        yield
        return
    try:
        leg = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", __file__, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
    except OSError as error:  # the session runs, and nobody comes to it
        print(f"mosu leg: it could not be started: {error}", file=sys.stderr, flush=True)  # noqa: T201
        yield
        return
    assert leg.stdin  # noqa: S101 - a pipe, as asked
    try:
        yield
    finally:
        (folder / LEG_FILE).unlink(missing_ok=True)
        leg.stdin.close()
        try:
            leg.wait(_END_S_MAX)
        except subprocess.TimeoutExpired:
            leg.kill()
            leg.wait()


async def come(folder: Path, join: Join) -> None:
    """Stand as the leg of the session in `folder`, until its file is gone."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_DIALS_MAX, "dial"))
    await _Leg(folder, join).work()


class _Leg:
    def __init__(self, folder: Path, join: Join) -> None:
        self._folder, self._join = folder, join
        self._joined: set[asyncio.Task[None]] = set()
        self._said = ""

    async def work(self) -> None:
        least, most = AGAIN_S
        wait_s = least
        while True:
            try:
                door = await self._come()
            except FileNotFoundError:
                return
            except (OSError, TimeoutError, Garbled, Unproven) as why:
                self._tell(f"{why}" or type(why).__name__)
                await asyncio.sleep(wait_s)
                wait_s = min(most, 2 * wait_s)
                continue
            wait_s = least
            try:
                port = int.from_bytes(await exactly(door, 2), "big")
            except OSError:  # the agent has ended, or lets this one go for a newer one
                door.close()
                await asyncio.sleep(least)
                continue
            task = asyncio.create_task(self._serve(door, port))
            self._joined.add(task)
            task.add_done_callback(self._joined.discard)

    async def _come(self) -> socket.socket:
        """A connection to the agent on which both have proved themselves.

        Raises:
            FileNotFoundError: nobody wants this leg any more.
            OSError, TimeoutError, Garbled, Unproven: there is none now.
        """
        loop = asyncio.get_running_loop()
        told: LegFile | None = read_json(self._folder / LEG_FILE)
        if told is None:
            raise FileNotFoundError
        host, port = told["at"]
        try:
            async with asyncio.timeout(_COMES_S_MAX):
                [(family, _, _, _, address), *_] = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                door = socket.socket(family, socket.SOCK_STREAM)
                try:
                    prepare(door)
                    await loop.sock_connect(door, address)
                    key = bound(bytes.fromhex(told["key"]), (host, port))
                    await prove_to_agent(door, self._folder.name, key)
                except BaseException:
                    door.close()
                    raise
        except TimeoutError:
            raise TimeoutError(f"{host}:{port}: nothing answers within {_COMES_S_MAX:.0f} s") from None
        except OSError as error:
            raise ConnectionError(f"{host}:{port}: {error.strerror or error}") from error
        return door

    def _tell(self, why: str) -> None:
        """Into the job's own output, where it is another reason than last."""
        if why != self._said:
            self._said = why
            print(f"mosu leg: {why}", file=sys.stderr, flush=True)  # noqa: T201

    async def _serve(self, door: socket.socket, port: int) -> None:
        loop = asyncio.get_running_loop()
        with door:
            try:
                if len(self._joined) > JOINED_MAX:
                    raise NotReached(CROWDED)
                session = await loop.run_in_executor(None, self._join, port)
            except NotReached as why:
                words = str(why).encode()[:WORDS_BYTES_MAX]
                with suppress(OSError):
                    await loop.sock_sendall(door, bytes([len(words)]) + words)
                return
            with session:
                session.setblocking(False)
                if not await _carried(door, session):
                    # So that what was broken off does not look whole.
                    door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _carried(door: socket.socket, session: socket.socket) -> bool:
    """Bytes both ways, each way ended on its own; False if either broke, and so both did.

    Who has ended their way may still read: they left only where their kernel says so, which `gone` hears though
    nothing is sent to them.
    """
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        await loop.sock_sendall(door, b"\0")
    inward, outward = asyncio.create_task(_copied(door, session)), asyncio.create_task(_copied(session, door))
    with select.epoll() as gone:
        gone.register(door, 0)
        inward.add_done_callback(lambda _: gone.closed or loop.add_reader(gone, outward.cancel))
        try:
            done, going = await asyncio.wait({inward, outward}, return_when=asyncio.FIRST_EXCEPTION)
            for way in going:
                way.cancel()
            await asyncio.gather(*going, return_exceptions=True)
        finally:
            loop.remove_reader(gone)
    return not going and not any(way.cancelled() or way.exception() for way in done)


async def _copied(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(target, view[:count])
    target.shutdown(socket.SHUT_WR)


def _keep(folder: Path, input_fd: int) -> None:
    """Start a worker and, where it dies, the next; until the input ends or the worker says that it is over."""
    while True:
        try:
            worker = os.fork()
        except OSError:  # there are too many processes just now
            if select.select([input_fd], [], [], _REBORN_S)[0]:
                return
            continue
        if worker == 0:
            asyncio.run(_until_alone(folder, input_fd))
            os._exit(0)
        ended = os.pidfd_open(worker)
        ready, _, _ = select.select([input_fd, ended], [], [])
        if input_fd in ready:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        _, status = os.waitpid(worker, 0)
        os.close(ended)
        if input_fd in ready or status == 0 or select.select([input_fd], [], [], _REBORN_S)[0]:
            return


async def _until_alone(folder: Path, input_fd: int) -> None:
    """A worker whose keeper was killed still ends with the supervisor."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(input_fd, over.set)
    ways = {
        asyncio.create_task(come(folder, partial(dialled, folder))),
        asyncio.create_task(over.wait()),
    }
    done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in done:
        way.result()
    os._exit(0)  # a dial that just waits keeps nobody


if __name__ == "__main__":
    os.umask(0o077)
    _keep(Path(sys.argv[1]), sys.stdin.fileno())
