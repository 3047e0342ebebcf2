"""A tunnel: the one connection that a site agent opens to the hub's relay, and the streams in it.

It is a WebSocket at `GET /agent/v1/tunnel`, authenticated as every call of the agent's. Each binary message is one
frame: its kind (1 byte), its stream (4 bytes, big-endian, chosen by the relay, never again in this tunnel), its body.

| kind | by | body | meaning |
|---|---|---|---|
| `OPEN` | relay | `Target` as JSON | join this stream to a port of an attempt |
| `OPENED` | agent | | it is joined |
| `REFUSED` | agent | why, UTF-8 | it is not, and never was |
| `DATA` | both | bytes, at most `CHUNK_BYTES` | |
| `CREDIT` | both | 4 bytes, big-endian | so many bytes more may be sent to me |
| `END` | both | | no more `DATA` from me; the other direction goes on |
| `RESET` | both | why, UTF-8 | the stream is over, now |

Each side may send `WINDOW_BYTES` of a stream before it is given credit, so what a slow reader leaves is bounded.
Frames of a stream that is over are passed over: they were on their way.
"""

from enum import IntEnum
from struct import Struct
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from mosu.wire.agent import AttemptId, Message

CHUNK_BYTES: Final = 256 * 1024
WINDOW_BYTES: Final = 1024 * 1024
WORDS_MAX: Final = 500
"""Characters of a reason."""
_HEAD: Final = Struct(">BI")


class FrameKind(IntEnum):
    OPEN = 1
    OPENED = 2
    REFUSED = 3
    DATA = 4
    CREDIT = 5
    END = 6
    RESET = 7


_KINDS: Final = {int(kind): kind for kind in FrameKind}
FRAME_BYTES_MAX: Final = _HEAD.size + CHUNK_BYTES


class Target(Message):
    """What a stream is joined to: a TCP port of the attempt's own loopback."""

    attempt_id: AttemptId
    port: Annotated[int, Field(ge=1, le=65_535)]


class Garbled(Exception):
    """The other side broke the protocol: nothing that it says can be trusted, and the tunnel ends."""


class Frame(NamedTuple):
    kind: FrameKind
    stream: int
    body: memoryview

    @property
    def words(self) -> str:
        """The body as a reason, cut and cleaned of what cannot be shown."""
        said = bytes(self.body[: 4 * WORDS_MAX]).decode("utf-8", "replace")[:WORDS_MAX]
        return "".join(letter if letter.isprintable() else " " for letter in said)

    @property
    def credit(self) -> int:
        """
        Raises:
            Garbled: the body is no number.
        """
        if len(self.body) != 4:
            raise Garbled(f"credit of {len(self.body)} bytes")
        return int.from_bytes(self.body, "big")


def head_of(kind: FrameKind, stream: int) -> bytes:
    """What comes before a frame's body."""
    return _HEAD.pack(kind, stream)


def packed(kind: FrameKind, stream: int, body: bytes = b"") -> bytes:
    """One frame as a message."""
    return head_of(kind, stream) + body


def packed_credit(stream: int, count: int) -> bytes:
    """`CREDIT` of `count` bytes as a message."""
    return packed(FrameKind.CREDIT, stream, count.to_bytes(4, "big"))


def frame_of(message: bytes | bytearray | memoryview) -> Frame:
    """
    Raises:
        Garbled: it is none, or holds more than a frame may.
    """
    if not _HEAD.size <= len(message) <= FRAME_BYTES_MAX:
        raise Garbled(f"a frame of {len(message)} bytes")
    number, stream = _HEAD.unpack_from(message)
    kind = _KINDS.get(number)
    if kind is None:
        raise Garbled(f"a frame of kind {number}")
    return Frame(kind, stream, memoryview(message)[_HEAD.size :])
