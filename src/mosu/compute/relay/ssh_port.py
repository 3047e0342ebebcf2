"""The hub's own port for ssh, where it has one: a way to sessions for who has plain OpenSSH and no `mosu`.

It is what `ssh -J` comes through and no more: whoever shows a certificate of the hub is joined to the ssh of a session,
end to end; there is no shell here, no other port and no other host. Who may is asked as of everybody (`run.connect`).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncssh
from django.utils import timezone

from mosu.compute import services
from mosu.compute.models import Run
from mosu.compute.relay.joining import Joining
from mosu.compute.services import Granted
from mosu.compute.session_apps.ssh import authority_line, hub_host_key
from mosu.compute.stream_doors import in_thread
from mosu.kernel.refusals import DomainError
from mosu.platform.doors import ATTRIBUTE
from mosu.platform.problems import refusal_of
from mosu.wire.ssh import SSH_PORT
from mosu.wire.streams import Stream
from mosu.wire.websocket import Bytes, Listener

PEOPLE_MAX: Final = 500
"""Connections of this port at once; 100 of them may still have to say who they are."""
STRANGERS_MAX: Final = 100
"""Of more the one that has said nothing for longest goes: who comes in says it within a second."""
PER_NAME_MAX: Final = 50
"""Of one name, so that one person does not take all places."""
LOGIN_S_MAX: Final = 20
SESSIONS_MAX: Final = 10
"""Of one connection at once: whoever shares it among several terminals needs one."""
KEEPALIVE_S: Final = 30
_KEX: Final = "-diffie-hellman-*,rsa*,gss-*"
"""Key exchanges that we leave out, since any stranger may ask for them: drawing an RSA key or raising to powers of
8192 bits takes the relay's one loop far longer than them. No `ssh` of the last ten years needs one."""


class Place:
    """How many are in, and how many of them have not said who they are."""

    def __init__(self) -> None:
        self.people: set[Entrance] = set()
        self.strangers: dict[Entrance, None] = {}
        """In the order in which they came."""
        self.of_name: Counter[str] = Counter()


class Entrance(asyncssh.SSHServer):
    """One connection of `ssh`: its person, and the sessions that they are joined to."""

    def __init__(self, joining: Joining, place: Place) -> None:
        self._joining, self._place = joining, place
        self._conn: asyncssh.SSHServerConnection | None = None
        self._name = self._counted = ""
        self._joined = 0
        self._passages: set[Passage] = set()
        self._is_full = self._is_lost = False

    # What asyncssh tells.

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        # asyncssh itself does nothing there: whoever grants a large window and reads nothing would fill our memory.
        conn.pause_writing = self._hold  # type: ignore[method-assign]
        conn.resume_writing = self._go_on  # type: ignore[method-assign]
        if len(self._place.strangers) >= STRANGERS_MAX:
            next(iter(self._place.strangers)).leave()
        if len(self._place.people) >= PEOPLE_MAX:
            conn.abort()
            return
        self._place.people.add(self)
        self._place.strangers[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._forget()

    def begin_auth(self, username: str) -> bool:
        self._name = username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether the certificate is the hub's; asyncssh then sees whether it is for this name, and whether now."""
        return key.export_public_key("openssh").strip() == authority_line().encode()

    def auth_completed(self) -> None:
        self._place.strangers.pop(self, None)
        if self._is_lost or self._place.of_name[self._name] >= PER_NAME_MAX:
            self.leave()
            return
        self._counted = self._name
        self._place.of_name[self._counted] += 1

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Coroutine[Any, Any, "Passage"]:
        return self._opened(dest_host, dest_port)

    async def _opened(self, run: str, port: int) -> "Passage":
        """
        Raises:
            ChannelOpenError: they may not, or it cannot be reached; with the reason.
        """
        if port != SSH_PORT or self._joined >= SESSIONS_MAX:
            words = (
                f"Here is a way to port {SSH_PORT} of a session, {SESSIONS_MAX} at once, and to nothing else."
            )
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, words)
        self._joined += 1
        try:
            granted = await in_thread(_granted, name=self._name, run=run)
            stream = await self._joining.opened(granted, port)
        except Exception as error:
            self._joined -= 1
            refusal = error if isinstance(error, DomainError) else refusal_of(error)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, refusal.message) from error
        except BaseException:
            self._joined -= 1
            raise
        passage = Passage(self._joining, granted, stream, self._left)
        self._passages.add(passage)
        if self._is_full:
            passage.fill(self)
        if self._is_lost:
            passage.begin_alone()
        return passage

    def leave(self) -> None:
        """Now: its place is somebody else's."""
        self._is_lost = True
        self._forget()
        if self._conn is not None:
            self._conn.abort()

    def _forget(self) -> None:
        self._place.people.discard(self)
        self._place.strangers.pop(self, None)
        if self._counted:
            self._place.of_name[self._counted] -= 1
            if not self._place.of_name[self._counted]:
                del self._place.of_name[self._counted]
            self._counted = ""

    def _left(self, passage: "Passage") -> None:
        self._joined -= 1
        self._passages.discard(passage)

    def _hold(self) -> None:
        """They do not read: nothing more is written, and nothing read that would be answered."""
        self._is_full = True
        if (transport := self._transport) is not None:
            transport.pause_reading()
        for passage in tuple(self._passages):
            passage.fill(self)

    def _go_on(self) -> None:
        self._is_full = False
        if (transport := self._transport) is not None:
            transport.resume_reading()
        for passage in tuple(self._passages):
            if self._is_full:  # by what the one before had to say
                return
            passage.drain(self)

    @property
    def _transport(self) -> asyncio.Transport | None:
        transport = self._conn._transport if self._conn is not None else None
        return None if transport is None or transport.is_closing() else transport


class Passage(asyncssh.SSHTCPSession[bytes]):
    """A way (`mosu.wire.websocket.ServedWay`) to a session, over a channel of ssh."""

    def __init__(
        self, joining: Joining, granted: Granted, stream: Stream, left: Callable[["Passage"], None]
    ) -> None:
        self._joining, self._granted, self._stream, self._left = joining, granted, stream, left
        self._chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self._listener: Listener | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._full_since: float | None = None
        self._full_of: set[object] = set()
        """The channel whose window is used up, the connection that is not read from."""
        self._is_lost = False

    # What asyncssh tells.

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._chan = chan

    def session_started(self) -> None:
        self._begin()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._listener is not None:
            self._listener.taken(data)

    def eof_received(self) -> bool:
        if self._listener is not None:
            self._listener.taken(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._listener is not None:
            self._listener.lost()

    def pause_writing(self) -> None:
        self.fill(self)

    def resume_writing(self) -> None:
        self.drain(self)

    # What its entrance tells.

    def fill(self, by: object) -> None:
        """Nothing more goes there until it is drained."""
        self._full_of.add(by)
        if self._full_since is None:
            self._full_since = asyncio.get_running_loop().time()

    def drain(self, by: object) -> None:
        """What filled it has room again."""
        if by not in self._full_of:
            return
        self._full_of.discard(by)
        if not self._full_of:
            self._full_since = None
            if self._listener is not None:
                self._listener.has_room()

    # What it is joined to asks.

    @property
    def full_since(self) -> float | None:
        return self._full_since

    @property
    def is_full(self) -> bool:
        return self._full_since is not None

    def begin(self, listener: Listener) -> None:
        self._listener = listener
        if self._is_lost:
            listener.lost()

    def put(self, *parts: Bytes) -> None:
        if self._chan is None or self._is_lost:
            return
        data = b"".join(parts)
        if data:
            self._chan.write(data)
        else:
            self._chan.write_eof()

    def flush(self) -> None:
        """It was written at once."""

    def hold(self) -> None:
        if self._chan is not None:
            self._chan.pause_reading()

    def go_on(self) -> None:
        if self._chan is not None:
            self._chan.resume_reading()

    def close(self, code: int, why: str) -> None:
        if self._chan is not None:
            self._chan.close()

    def begin_alone(self) -> None:
        """Who asked for it has left meanwhile: it is noted as over."""
        self._is_lost = True
        self._begin()

    def _begin(self) -> None:
        self._carrying = asyncio.create_task(self._carried())

    async def _carried(self) -> None:
        try:
            await self._joining.carry(self._granted, self, self._stream)
        finally:
            self._left(self)


async def listening(joining: Joining, *, host: str, port: int) -> asyncssh.SSHAcceptor:
    """Take connections of `ssh` there; none of them is handed a shell, a file or a port of this machine."""
    logging.getLogger("asyncssh").setLevel(logging.ERROR)  # below it writes down who comes from where
    place = Place()
    return await asyncssh.listen(
        host,
        port,
        server_factory=lambda: Entrance(joining, place),
        server_host_keys=[asyncssh.import_private_key(hub_host_key())],
        server_version="mosu",
        login_timeout=LOGIN_S_MAX,
        keepalive_interval=KEEPALIVE_S,
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        x11_forwarding=False,
        agent_forwarding=False,
        kex_algs=_KEX,
        compression_algs=None,
        encoding=None,
        reuse_address=True,
    )


def _granted(*, name: str, run: str) -> Granted:
    now = timezone.now()
    actor = services.entering(name, now=now)
    if actor is None:
        raise services.not_entered()
    return services.open_connection(actor=actor, run_id=Run.key_of(run), port=SSH_PORT, now=now)


setattr(Entrance, ATTRIBUTE, "run.connect")
