"""The side that opens a WebSocket: the site agent's and the command line's."""

from ipaddress import ip_address
from typing import Any, Final, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from mosu.wire.websocket import MESSAGE_BYTES_MAX, Listener, Way

_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_HEAD_END: Final = b"\r\n\r\n"
_SWITCHED: Final = b"HTTP/1.1 101 "
_HEAD_BYTES_MAX: Final = 64 * 1024
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class ClientWay(Way, ClientConnection):
    """A connection of the library's `connect`. What comes right behind the relay's answer waits until `begin`."""

    masks = True
    _answer: bytes | None = b""
    _early = b""

    def begin(self, listener: Listener) -> None:
        super().begin(listener)
        self._begun, self._parts = bytearray(self._early), bytearray()
        self._fall_behind()

    def is_over(self) -> bool:
        return self.protocol.state is not State.OPEN

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            super().data_received(data)
            return
        self._answer += data
        head, mark, rest = self._answer.partition(_HEAD_END)
        if mark and head.startswith(_SWITCHED):
            self.transport.pause_reading()
            self._answer, self._early = None, rest
            ClientConnection.data_received(self, head + mark)
        elif mark or len(head) > _HEAD_BYTES_MAX:
            said, self._answer = self._answer, None
            ClientConnection.data_received(self, said)

    def process_event(self, event: Event) -> None:
        """A message in parts, or a text: both are rare."""
        if not isinstance(event, Frame) or event.opcode not in _DATA:
            super().process_event(event)
        elif event.opcode is Opcode.TEXT:
            self._heard(None)
        else:
            self._parts += event.data
            if event.fin:
                whole, self._parts = self._parts, bytearray()
                self._heard(whole)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.silence()
        await super().close(code, reason)


class _Straight(connect):
    """Follows no redirect: a token goes where the hub said, and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def opened(url: str, **options: Any) -> ClientWay:
    """The way to `url`, with the library's own options for `connect`. To this machine it goes by no proxy, elsewhere as
    the environment says.

    Raises:
        OSError, TimeoutError, WebSocketException: as the library's `connect`.
    """
    is_here = urlsplit(url).hostname in _HERE
    way = cast(
        ClientWay,
        await _Straight(
            url,
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            create_connection=ClientWay,
            proxy=None if is_here else True,
            **options,
        ),
    )
    way.is_unseen = is_unseen(url, peer=way.remote_address[0])
    return way


def is_unseen(url: str, *, peer: str) -> bool:
    """Whether nobody reads what goes to `url` at the address `peer`: it is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "wss" or (parts.hostname in _HERE and ip_address(peer).is_loopback)
