"""The agent's side of legs that come: one port of the cluster's network, where each session's leg leaves a connection.

Nothing listens before a node was found to which the socket in a session's folder does not lead. All of it has one event
loop, in a thread of its own; what it gives is the TCP connection itself, whose other end the leg carries.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from mosu.kernel.reaching import NotReached
from mosu.site_agent.engines.ray.leg import LEG_FILE, WORDS_BYTES_MAX, LegFile, prepare
from mosu.site_agent.engines.ray.proof import Unproven, bound, exactly, new_key, prove_to_leg
from mosu.site_agent.files import read_json_if_whole, write_durably

STRANGERS_MAX: Final = 32
"""At once. Of more the longest waiting goes: a leg proves itself in an instant, so only who says nothing waits."""
PROVEN_S_MAX: Final = 5.0
WAITING_MAX: Final = 4
"""Of one session. The newest is asked first: where a leg was followed by another, it is the living one's."""
TOLD_EVERY_S: Final = 60.0
_BACKLOG: Final = 128


class Legs:
    """All of one engine."""

    def __init__(self, at: tuple[str, int] | None) -> None:
        self._wanted = at
        self._at: tuple[str, int] | None = None
        self._guard = threading.Lock()
        self._keys: dict[str, bytes] = {}
        """By session, of those that may come."""
        self._loop: asyncio.AbstractEventLoop | None = None
        # The rest is the loop's thread's alone.
        self._strangers: dict[asyncio.Task[None], None] = {}
        self._waiting: dict[str, list[socket.socket]] = {}
        self._came = asyncio.Event()
        """Another one with each leg that comes."""
        self._told_at = -TOLD_EVERY_S

    def listen(self, toward: str) -> tuple[str, int]:
        """Where it listens: at the address from which this machine speaks with `toward`, if the settings name none.

        Raises:
            OSError: it cannot.
        """
        with self._guard:
            if self._at is None:
                host, port = self._wanted or (_own_address(toward), 0)
                [(family, _, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
                listener.setblocking(False)
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="legs", daemon=True).start()
                asyncio.run_coroutine_threadsafe(self._listen(listener), self._loop)
                self._at = host, listener.getsockname()[1]
            return self._at

    def invite(self, folder: Path) -> None:
        """The session in `folder` shall have a leg; after a restart of ours it learns where we are now.

        Raises:
            OSError: it could not be written down.
        """
        assert self._at is not None  # noqa: S101 - the session's node was met by a leg
        with self._guard:
            key, at = _known_in(folder) or (new_key(), None)
            if at != self._at:
                write_durably(folder / LEG_FILE, LegFile(at=self._at, key=key.hex()))
            self._keys[folder.name] = bound(key, self._at)

    def welcome(self, folder: Path) -> None:
        """The session in `folder` may have been invited by an agent before us: it is by us, too."""
        if self._at is not None and folder.name not in self._keys and (folder / LEG_FILE).exists():
            with suppress(OSError):  # whoever is to be joined asks again
                self.invite(folder)

    def connect(self, folder: Path, port: int, *, patience_s: float) -> socket.socket:
        """A connection to the port of the session in `folder`.

        Raises:
            NotReached: there is none; it says why within `patience_s`.
        """
        if self._loop is None:
            raise NotReached("The way to its node is not open yet; try again.")
        try:
            self.invite(folder)
        except OSError as error:
            raise NotReached(f"Its leg cannot be told where to come: {error.strerror}.") from error
        asked = self._connected(folder.name, port, patience_s)
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    def end(self, folder: Path) -> None:
        """The session is over, and its leg is wanted no more."""
        (folder / LEG_FILE).unlink(missing_ok=True)
        if self._keys.pop(folder.name, None) is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._let_go, folder.name)

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                door, address = await loop.sock_accept(listener)
            except OSError:  # no descriptor is free, or who came is gone
                await asyncio.sleep(0.1)
                continue
            if len(self._strangers) >= STRANGERS_MAX:
                longest = next(iter(self._strangers))
                del self._strangers[longest]
                longest.cancel()
            task = asyncio.create_task(self._greet(door, str(address[0])))
            self._strangers[task] = None
            task.add_done_callback(lambda done: self._strangers.pop(done, None))
            await asyncio.sleep(0)  # however many come, the others have their turn, and this one has begun

    async def _greet(self, door: socket.socket, address: str) -> None:
        try:
            prepare(door)
            async with asyncio.timeout(PROVEN_S_MAX):
                name = await prove_to_leg(door, self._keys.get)
        except (OSError, TimeoutError):
            door.close()
        except Unproven as why:
            door.close()
            self._tell(address, str(why))
        except BaseException:
            door.close()
            raise
        else:
            self._stand(name, door)

    def _tell(self, address: str, why: str) -> None:
        """Seldom, however many come."""
        if monotonic() >= self._told_at + TOLD_EVERY_S:
            self._told_at = monotonic()
            structlog.get_logger().warning("who came is no leg of ours", address=address, why=why)

    def _stand(self, name: str, door: socket.socket) -> None:
        """It waits to be asked; what it says before, also that it ends, ends it."""
        waiting = self._waiting.setdefault(name, [])
        waiting.append(door)
        asyncio.get_running_loop().add_reader(door, self._drop, name, door)
        if len(waiting) > WAITING_MAX:
            self._drop(name, waiting[0])
        if name not in self._keys:  # over meanwhile
            self._let_go(name)
        came, self._came = self._came, asyncio.Event()
        came.set()

    def _drop(self, name: str, door: socket.socket) -> None:
        self._take(name, door)
        door.close()

    def _take(self, name: str, door: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(door)
        waiting = self._waiting[name]
        waiting.remove(door)
        if not waiting:
            del self._waiting[name]

    def _let_go(self, name: str) -> None:
        for door in list(self._waiting.get(name, ())):
            self._drop(name, door)

    async def _connected(self, name: str, port: int, patience_s: float) -> socket.socket:
        asked = False
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    door = await self._next(name)
                    asked = True
                    with suppress(OSError):  # it was dead: the next
                        return await self._joined(door, port)
        except TimeoutError:
            if asked:
                raise NotReached("Its leg did not answer in time; try again.") from None
            host, port = self._at or ("", 0)
            raise NotReached(f"No leg has come from its node to {host}:{port}; try again.") from None

    async def _next(self, name: str) -> socket.socket:
        while name not in self._waiting:
            await self._came.wait()
        door = self._waiting[name][-1]
        self._take(name, door)
        return door

    async def _joined(self, door: socket.socket, port: int) -> socket.socket:
        """The connection, joined.

        Raises:
            NotReached: it is not; the node says why.
            OSError: its leg is gone.
        """
        # Once we close it, and not only end our way, our kernel says so to the leg at once, not after a minute.
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, -1)
        try:
            await asyncio.get_running_loop().sock_sendall(door, port.to_bytes(2, "big"))
            if length := (await exactly(door, 1))[0]:
                said = await exactly(door, min(length, WORDS_BYTES_MAX))
                words = said.decode(errors="replace")
                raise NotReached("".join(letter if letter.isprintable() else " " for letter in words))
        except BaseException:
            door.close()
            raise
        door.setblocking(True)
        return door


def _known_in(folder: Path) -> tuple[bytes, tuple[str, int]] | None:
    """Key and address that the session's leg was told; None if it was told none, or the file is garbled."""
    told: LegFile | None = read_json_if_whole(folder / LEG_FILE)
    if told is None:
        return None
    try:
        host, port = told["at"]
        return bytes.fromhex(told["key"]), (host, port)
    except (KeyError, TypeError, ValueError):
        return None


def _own_address(toward: str) -> str:
    """
    Raises:
        OSError: no way leads there.
    """
    [(family, kind, _, _, address), *_] = socket.getaddrinfo(toward, 9, type=socket.SOCK_DGRAM)
    with socket.socket(family, kind) as asked:
        asked.connect(address)  # sends nothing
        return str(asked.getsockname()[0])
